"""The steps of an update, from a believed clock to a note for the ledger.

    1  the clock is believed                      else nothing is asked
    2  the list of releases is verified           else nothing is changed
    3  both packages are here, by digest          else nothing is changed
    4  begun is noted, the new one installed      a power cut from here on: ``resume``
    5  it accepts the configuration, says READY   else the package before is installed again
    6  the outcome is noted for the ledger

Back goes only to the version that ran when this update began, only if the new one did not get READY, and only while the
list allows it: the package before is fetched from the same list, which holds none below its minimum.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import UpdateError
from edge_agent.host.clock import Clock
from edge_agent.units import ClockState
from edge_agent.update.journal import BEFORE, NEXT, Begun, Journal
from edge_agent.update.machine import Machine
from edge_agent.update.release_list import UpdateStep, find_step
from edge_agent.update.repository import Repository

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an update; noted for the owner's ledger."""

    what: str
    """``installed``, ``went back`` or ``offered``."""
    before: str
    after: str
    why: str = ""


class Procedure:
    """Carries updates out.

    Args:
        repository: Opens the web folder; called only once the clock is believed.
        journal: The note of an update that was begun.
        machine: On which.
        clock: Must be synchronised: an expiry date means nothing to a clock that is not.
        note: Takes the outcome for the ledger; called before the journal forgets, maybe twice for one update.
        package_kind: ``bookworm/amd64``: which of the list's packages fit.
    """

    def __init__(
        self,
        repository: Callable[[], Repository],
        journal: Journal,
        machine: Machine,
        clock: Clock,
        note: Callable[[Outcome], None],
        package_kind: str,
    ) -> None:
        self._repository, self._journal, self._machine = repository, journal, machine
        self._clock, self._note, self._package_kind = clock, note, package_kind

    def look(self) -> UpdateStep | None:
        """Return the update that there is, if there is one. Changes nothing but the metadata of the last visit."""
        step, _ = self._look()
        return step

    def carry_out(self, *, without_way_back: bool = False) -> Outcome | None:
        """Install the newest release; None if it runs already.

        Raises:
            UpdateError: Nothing was changed; the message says why.
        """
        if self._journal.read() is not None:
            return self.resume()
        step, repository = self._look()
        if step is None:
            return None
        if step.way_back is None and not without_way_back:
            hint = "to update all the same, with no way back: edge-agent update --without-way-back"
            raise UpdateError(f"the list of releases holds no package of {step.before}, which runs now", hint)
        package = repository.fetch(step.package)
        way_back = None if step.way_back is None else repository.fetch(step.way_back)
        begun = Begun(step.before, step.after, False, self._machine.running_services())
        self._journal.begin(begun, package, way_back)
        repository.forget_downloads()
        return self._finish(begun)

    def resume(self) -> Outcome | None:
        """End what a power cut or a kill left in the middle; None if there was nothing."""
        begun = self._journal.read()
        return None if begun is None else self._finish(begun)

    def _look(self) -> tuple[UpdateStep | None, Repository]:
        if self._clock.state() is not ClockState.SYNCHRONISED:
            raise UpdateError("the clock is not believed: an update could be an old one", "edge-agent clock says why")
        running = self._machine.installed_version()
        if not running:
            raise UpdateError("no package of the edge agent is wholly installed here", "apt install ./edge-agent_….deb")
        repository = self._repository()
        return find_step(repository.read_list(), running, self._package_kind), repository

    def _finish(self, begun: Begun) -> Outcome:
        why = "the machine stopped in the middle" if begun.is_going_back else self._go_forward(begun)
        if not why:
            return self._end(Outcome("installed", begun.before, begun.after))
        if not self._journal.path(BEFORE).exists():
            # Nothing to go back to: the installed version stays, and the owner is told.
            return self._end(Outcome("failed", begun.before, begun.after, why))
        log.error("update failed, going back after=%s why=%s", begun.after, why)
        self._journal.go_back(begun)
        self._machine.install(self._journal.path(BEFORE))
        if not self._machine.restart(begun.services):
            why = f"{why}; the version before does not start either: journalctl -u 'edge-agent-*'"
        return self._end(Outcome("went back", begun.before, begun.after, why))

    def _go_forward(self, begun: Begun) -> str:
        """Install and start the new version; return why that failed, or nothing."""
        try:
            if self._machine.installed_version() != begun.after:
                self._machine.install(self._journal.path(NEXT))
        except UpdateError as error:
            return str(error)
        if self._machine.installed_version() != begun.after:
            return f"the package says that it is another version than {begun.after}"
        # Asked before the restart: until then the version before goes on recording.
        if not self._machine.accepts_configuration():
            return "it does not accept this gateway's configuration"
        return "" if self._machine.restart(begun.services) else "it did not start"

    def _end(self, outcome: Outcome) -> Outcome:
        # The note first: a power cut between the two notes the update twice, and never not at all.
        self._note(outcome)
        self._journal.end()
        return outcome

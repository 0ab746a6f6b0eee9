"""Meets every open request with ``consent.yaml`` as soon as the file changes (PROTOCOL 6.2, O9).

Without it an edit would count at a request's next step, and one that was taken back before then never.
"""

from pathlib import Path

from edge_agent.errors import ConfigError
from edge_agent.units import ClockState
from edge_agent.uplink.inbound.consent_files import read_owners_file
from edge_agent.uplink.inbound.evaluator import Evaluator
from edge_agent.uplink.inbound.register import Aftermath
from edge_agent.uplink.release.recheck import Reauthorization
from edge_agent.uplink.store.database import Database

EVERY_S = 5.0
"""A look costs one read of a small file, and no more if nothing has changed."""


class TermsWatch:
    """Looks at the file.

    Args:
        path: ``consent.yaml``.
        store: One transaction for all that an edit stops.
        evaluator: Reads the house.
        reauthorization: Decides again.
    """

    def __init__(self, path: Path, store: Database, evaluator: Evaluator, reauthorization: Reauthorization) -> None:
        self._path, self._store = path, store
        self._evaluator, self._reauthorization = evaluator, reauthorization
        self._seen: bytes | None = None

    def look(self) -> None:
        """Evaluate all open requests and waiting keys, if the file has changed; the first time in any case.

        A file that cannot be read takes nothing away by that, nor does one that is read by a clock that is not
        believed: it is looked at again.
        """
        try:
            found = read_owners_file(self._path)
        # Swallowed on purpose: an editor may be in the middle of a save. The next look judges the
        # file (O9).
        except (OSError, ConfigError):
            return
        if found == self._seen:
            return
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            moment = self._evaluator.moment()
            # Not marked as seen: by such a clock every camera is unknown (O4), and the edit has not
            # counted yet.
            if moment.clock_state is not ClockState.SYNCHRONISED or moment.trust is None:
                return
            self._reauthorization.evaluate_all(connection, self._evaluator.look(moment), aftermath)
        self._reauthorization.clear_up(aftermath)
        # Only after the commit: if the transaction failed, the next look evaluates the same edit
        # again.
        self._seen = found

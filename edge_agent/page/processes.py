"""The page asks the two processes for all that it shows: through the sockets that are its own, and in no other way.

Owns the calls. A process that does not answer costs its part of a page and no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.errors import EdgeAgentError, UnavailableError
from edge_agent.host.control_socket import call, stream
from edge_agent.page.settings import PageSettings

Process = Literal["recorder", "releaser"]
_PARTS: Mapping[Process, str] = {"recorder": "records your cameras", "releaser": "answers requests"}
_READ_TIMEOUT_S = 20.0
"""A ring that is full and broken takes the releaser seconds to look over."""


@dataclass(frozen=True, slots=True)
class Said:
    """The answer of a process; ``problem`` instead if it did not."""

    members: Mapping[str, Any]
    problem: str = ""


class Processes:
    """The two processes, as the page may ask them.

    Args:
        settings: Names the folder of their sockets.
    """

    def __init__(self, settings: PageSettings) -> None:
        self._settings = settings

    def ask(self, process: Process, command: str, **members: Any) -> dict[str, Any]:
        """Send one command and return its one answer.

        Raises:
            UnavailableError: The process does not answer, said for residents.
            EdgeAgentError: It refuses, in its words.
        """
        try:
            return call(self._settings.process_socket(process), command, timeout_s=_READ_TIMEOUT_S, **members)
        except UnavailableError as error:
            raise say_silence(process) from error

    def look(self, process: Process, command: str, **members: Any) -> Said:
        """Ask for something that a page can do without."""
        try:
            return Said(self.ask(process, command, **members))
        except EdgeAgentError as error:
            return Said({}, str(error))

    def end_tickets(self, device_id: str) -> None:
        """End a device's tickets for the desk.

        Raises:
            UnavailableError: The process does not answer, so that the outcome is unknown.
        """
        try:
            self.ask("releaser", "end-tickets", device=device_id)
        except UnavailableError as error:
            raise UnavailableError(
                "The device is taken off. What it opened at your desk could not be ended, and is good for an hour.",
                "Your passphrase and a code are needed there. To end it now, at the gateway: sudo edge-agent page off",
            ) from error

    def entries(self, last: int) -> list[dict[str, Any]]:
        """Return the last entries of the ledger, oldest first."""
        path = self._settings.process_socket("releaser")
        answers = stream(path, "ledger", timeout_s=_READ_TIMEOUT_S, last=last)
        try:
            return [entry for answer in answers for entry in answer.get("entries", ())]
        except UnavailableError as error:
            raise say_silence("releaser") from error


def say_silence(process: Process) -> UnavailableError:
    """Say to a resident, to whom a socket's path says nothing, which part of the gateway does not answer."""
    return UnavailableError(
        f"The part of the gateway that {_PARTS[process]} does not answer.",
        "It may be starting: wait a minute. If this stays, at the gateway: sudo edge-agent status",
    )

"""A program of the city in a process of its own, with its log in a file: started, waited for, killed, ended."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_agent.demo.interrupts import hold_interrupts
from edge_agent.errors import UnavailableError

_START_S, _STOP_S = 60.0, 20.0
_POLL_S = 0.05
_TOLD_LINES = 8

log = logging.getLogger(__name__)


class CityProgram:
    """Starts with the object.

    Args:
        name: For people; the log is beside it as ``NAME.log``.
        words: The command.
        folder: For the log, and as working folder.
        environment: Variables beyond those of this process.
        user: Number of the user that it runs as; None for our own.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
    ) -> None:
        self.name, self.log_path = name, folder / f"{name}.log"
        with self.log_path.open("ab") as log_file, hold_interrupts():
            self._process = subprocess.Popen(
                list(words), stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, cwd=folder, user=user,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def is_running(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

    def has_said(self, text: str) -> bool:
        """Tell whether its log holds these words."""
        return text in self.log_path.read_text(errors="replace")

    def wait_said(self, text: str, limit_s: float = _START_S) -> "CityProgram":
        """Wait until its log holds these words.

        Raises:
            UnavailableError: It ended, or did not say so in time; the message holds the end of its log.
        """
        deadline = time.monotonic() + limit_s
        while not self.has_said(text):
            if not self.is_running() or time.monotonic() > deadline:
                lines = self.log_path.read_text(errors="replace").splitlines()[-_TOLD_LINES:]
                self.kill()
                raise UnavailableError(f"{self.name} does not start:\n" + "\n".join(lines))
            time.sleep(_POLL_S)
        return self

    def kill(self) -> None:
        """Take it away at once, as a power cut would; again does nothing."""
        self._end(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it in order; again does nothing."""
        self._end(how)

    def _end(self, how: signal.Signals) -> None:
        if self.is_running():
            self._process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
            return
        log.warning("process does not end by itself: name=%s pid=%d", self.name, self.pid)
        self._process.kill()
        self._process.wait(_STOP_S)

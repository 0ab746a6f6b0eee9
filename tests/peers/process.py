"""A peer as a process that a test kills, freezes and starts again."""

import signal
import subprocess


class PeerProcess:
    """One process, where it runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, also where it is frozen; nothing where it does not run."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """End it without a chance to save anything."""
        self.stop(signal.SIGKILL)

    def signal(self, how: signal.Signals) -> None:
        """Tell it something while it runs."""
        assert self._process
        self._process.send_signal(how)

    def freeze(self) -> None:
        """Stop answering while the connections stay open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

"""``edge-agent run``: starts the recorder and the releaser as processes of their own and starts them again.

So it does with the page and the desk while `edge-agent page on` has left their settings, anew with each change of them.

For a gateway without systemd, and for trials. Knows nothing of footage, keys or requests. A process that ends is
started again after 1 s, doubling to 60 s, indefinitely; one that ran for ten minutes starts over at 1 s. One that hangs
is killed first: both tell systemd that they are alive (``sd_notify``), and here this process listens in its place.
"""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ConfigError
from edge_agent.host.hardening import stop_on_signals
from edge_agent.page.settings import settings_path
from edge_agent.settings.gateway import load_config

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
GOOD_RUN_S = 600.0
STOP_TIMEOUT_S = 10.0
START_TIMEOUT_S = 180.0
"""So long may a process take until it says that it is ready."""
WATCHDOG_S = 30.0
"""So long may it be silent from then on."""
PROCESSES = {"record": WATCHDOG_S, "release": 90.0}
"""The command of each process, and its own watchdog: as under systemd. A broker that is away is no hang."""
HOME = {"serve-page": "page", "serve-desk": "desk"}
"""The commands of the processes for browsers, and their folders."""
_POLL_S = 0.1
_SLEPT_S = 5.0
"""A supervisor that did not look for so long cannot say that others hang."""
_MAX_NOTE_BYTES = 4096
_FINAL = frozenset({os.EX_CONFIG, os.EX_NOPERM, os.EX_USAGE})
"""Exit codes that starting again cannot mend: a wrong configuration, a key that others can read."""


@dataclass(slots=True)
class Watched:
    """One child process: its words, its line to say that it is alive, and when it may be started again."""

    name: str
    words: list[str]
    line: socket.socket
    """A bound datagram socket that never blocks; the child knows its address as ``NOTIFY_SOCKET``."""
    start_timeout_s: float = START_TIMEOUT_S
    watchdog_s: float = WATCHDOG_S
    wanted_by: Path | None = None
    """It runs while this file is there, and starts anew when it changes; None: always."""
    process: "subprocess.Popen[bytes] | None" = None
    stamp_ns: int = 0
    started_s: float = 0.0
    start_at_s: float = 0.0
    silent_until_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    gave_up: bool = False

    def step(self, now_s: float) -> None:
        """Start the process if it is due; kill it if it hangs; note that it has ended."""
        stamp_ns = self._read_stamp()
        if stamp_ns != self.stamp_ns:
            self.stamp_ns, self.gave_up, self.start_at_s = stamp_ns, False, now_s
            if self.process is not None:
                self.process.terminate()
        if self.gave_up:
            return
        if self.process is None:
            if now_s >= self.start_at_s and stamp_ns:
                self._start(now_s)
            return
        self._listen(now_s)
        code = self.process.poll()
        if code is None:
            if now_s > self.silent_until_s:
                log.error("process hangs and is killed name=%s pid=%d", self.name, self.process.pid)
                os.killpg(self.process.pid, signal.SIGKILL)
                self.silent_until_s = now_s + self.watchdog_s
            return
        self._note_end(code, now_s)

    def _read_stamp(self) -> int:
        """Return what changes with the file that wants this process; 0 if it is not there."""
        if self.wanted_by is None:
            return 1
        try:
            return self.wanted_by.stat().st_mtime_ns
        except OSError:
            # Without that file nobody wants the process.
            return 0

    def forgive(self, now_s: float) -> None:
        """Begin to wait anew: this process itself did not run for a while, and maybe nothing did."""
        self.silent_until_s = max(self.silent_until_s, now_s + self.watchdog_s)

    def _start(self, now_s: float) -> None:
        self._listen(now_s)  # what the one before it said last
        # WATCHDOG_PID would be this process's own, where systemd watches it in turn.
        environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
        environment |= {"NOTIFY_SOCKET": self.line.getsockname(), "WATCHDOG_USEC": str(int(self.watchdog_s * 1e6))}
        self.process = subprocess.Popen(
            self.words,
            env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 (one thread)
        )
        self.started_s = now_s
        self.silent_until_s = now_s + self.start_timeout_s
        log.info("process started name=%s pid=%d", self.name, self.process.pid)

    def _listen(self, now_s: float) -> None:
        while True:
            try:
                lines = self.line.recv(_MAX_NOTE_BYTES).splitlines()
            except BlockingIOError:
                # All that was said is read.
                return
            if b"READY=1" in lines or b"WATCHDOG=1" in lines:
                self.silent_until_s = now_s + self.watchdog_s

    def _note_end(self, code: int, now_s: float) -> None:
        self.process = None
        if code in _FINAL:
            self.gave_up = True
            log.error("process cannot run name=%s exit=%d", self.name, code)
            return
        if now_s - self.started_s >= GOOD_RUN_S:
            self.pause_s = FIRST_PAUSE_S
        self.start_at_s = now_s + self.pause_s
        log.warning("process ended name=%s exit=%d restart_in_s=%.0f", self.name, code, self.pause_s)
        self.pause_s = min(LONGEST_PAUSE_S, 2 * self.pause_s)


def _end_with_parent() -> None:
    """Have the kernel end this child when the supervisor dies, be it by SIGKILL (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def main(config_path: Path, only: str | None = None) -> int:
    """Watch both processes, or one, until SIGTERM or SIGINT, then stop; 0, or the code of configuration errors."""
    stop = stop_on_signals()
    # Only this user gets into the folder: no other can say that a process is alive.
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as folder:
        watched = [
            Watched(
                name,
                [sys.executable, "-m", "edge_agent", name, "--config", str(config_path)],
                open_line(folder, name),
                watchdog_s=watchdog_s,
            )
            for name, watchdog_s in PROCESSES.items()
            if only in (None, name)
        ]
        watched += _list_home(config_path, folder) if only is None else []
        try:
            _watch(watched, stop)
        finally:
            _stop_all(watched)
    return os.EX_CONFIG if any(child.gave_up for child in watched if child.wanted_by is None) else os.EX_OK


def _list_home(config_path: Path, lines: str) -> list[Watched]:
    """Return the processes for browsers; none if the configuration cannot be read, which the two others will say."""
    try:
        state_dir = load_config(config_path).state_dir
    except ConfigError:
        return []
    return [
        Watched(
            name,
            [sys.executable, "-m", "edge_agent", name, "--folder", str(state_dir / folder)],
            open_line(lines, name),
            watchdog_s=60.0,
            wanted_by=settings_path(state_dir / folder),
        )
        for name, folder in HOME.items()
    ]


def open_line(folder: str | Path, name: str) -> socket.socket:
    """Return a datagram socket in a folder on which a process says how it does (``sd_notify``)."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.setblocking(False)
    line.bind(str(Path(folder) / name))
    return line


def _watch(watched: list[Watched], stop: threading.Event) -> None:
    looked_s = time.monotonic()
    while not stop.wait(_POLL_S) and not all(child.gave_up for child in watched if child.wanted_by is None):
        now_s = time.monotonic()
        for child in watched:
            if now_s - looked_s > _SLEPT_S:
                child.forgive(now_s)
            child.step(now_s)
        looked_s = now_s


def _stop_all(watched: list[Watched]) -> None:
    running = [child.process for child in watched if child.process is not None]
    for process in running:
        process.terminate()
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    for process in running:
        try:
            process.wait(max(0.1, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("process did not stop in time and is killed pid=%d", process.pid)
            process.kill()
            process.wait()
    for child in watched:
        child.line.close()

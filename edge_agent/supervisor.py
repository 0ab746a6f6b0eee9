"""``edge-agent run``: starts the recorder and the releaser as processes of their own and starts them again.

For a gateway without systemd, and for trials. Knows nothing of footage, keys or requests. A process that ends is
started again after 1 s, doubling to 60 s, for ever; one that ran for ten minutes starts over at 1 s.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.process import stop_on_signals

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
GOOD_RUN_S = 600.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1
_FINAL = frozenset({os.EX_CONFIG, os.EX_NOPERM, os.EX_USAGE})
"""Exit codes that starting again cannot mend: a wrong configuration, a key that others can read."""


@dataclass(slots=True)
class Watched:
    """One child process: its words, and when it may be started again."""

    name: str
    words: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    started_s: float = 0.0
    start_at_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    gave_up: bool = False
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def step(self, now_s: float) -> None:
        """Start the process where it is due; note where it has ended."""
        if self.gave_up:
            return
        if self.process is None:
            if now_s >= self.start_at_s:
                self.process = subprocess.Popen(
                    self.words,
                    env=self.environment,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,  # noqa: PLW1509 (one thread)
                )
                self.started_s = now_s
                log.info("process started name=%s pid=%d", self.name, self.process.pid)
            return
        code = self.process.poll()
        if code is None:
            return
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


def main(config_path: Path) -> int:
    """Watch both processes until SIGTERM or SIGINT, then stop them; 0, or the code of configuration errors."""
    stop = stop_on_signals()
    watched = [
        Watched(name, [sys.executable, "-m", "edge_agent", name, "--config", str(config_path)])
        for name in ("record", "release")
    ]
    while not stop.wait(_POLL_S):
        now_s = time.monotonic()
        for child in watched:
            child.step(now_s)
        if all(child.gave_up for child in watched):
            return os.EX_CONFIG
    _stop_all(watched)
    return os.EX_CONFIG if any(child.gave_up for child in watched) else os.EX_OK


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

"""A child process that listens for events, and its life: started, fed its settings, read, started again.

Owns the pipe. What listens (MQTT; later ONVIF, motion) has libraries and parsers that must not live in the recorder:
the child gets one line of JSON with its settings on standard input, and prints the number of a trigger per event.
"""

import contextlib
import json
import logging
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.capture.backoff import Backoff
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 2.0


class EventListener:
    """Runs one listening child for ever.

    Args:
        module: Run with ``python -m``.
        settings: Sent as JSON on standard input, never on the command line: there are passwords in it.
        fires: What to do for trigger 0, 1, …
    """

    def __init__(self, module: str, settings: Mapping[str, Any], fires: Sequence[Callable[[], None]]) -> None:
        self._module, self._settings, self._fires = module, settings, tuple(fires)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._main, name=f"listener-{module.rpartition('.')[2]}", daemon=True)

    def start(self) -> None:
        """Start the child."""
        self._thread.start()

    def close(self) -> None:
        """End the child and the thread."""
        self._stop.set()
        with self._lock:
            if self._child is not None:
                self._child.terminate()
        self._thread.join(_STOP_TIMEOUT_S)

    def _main(self) -> None:
        backoff = Backoff(random.SystemRandom())
        while not self._stop.is_set():
            if self._run_child():
                backoff.reset()
            if not self._stop.is_set():
                log.warning("event listener ended and is started again module=%s", self._module)
            self._stop.wait(backoff.next_ns() / SECOND_NS)

    def _run_child(self) -> bool:
        """Run one child to its end; tell whether it ever reported an event."""
        with self._lock:
            if self._stop.is_set():
                return False
            child = self._child = subprocess.Popen(
                [sys.executable, "-m", self._module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert child.stdin is not None
        assert child.stdout is not None
        has_reported = False
        with child:
            with contextlib.suppress(OSError):
                # The pipe stays open: its end tells the child that the recorder is gone.
                child.stdin.write(json.dumps(self._settings) + "\n")
                child.stdin.flush()
            for line in child.stdout:
                has_reported = True
                if line.strip().isdecimal() and int(line) < len(self._fires):
                    self._fires[int(line)]()
            child.terminate()
        return has_reported

"""A child process that listens for events, and its life: started, fed its settings, read, started again.

Owns the pipe. Listeners (MQTT, ONVIF) have libraries and parsers that must not live in the recorder: the child gets
one line of JSON with its settings on standard input, and prints a line for each piece of news:

    7               trigger 7 fired
    listening       events can come
    trouble WORDS   they cannot, and why
"""

import contextlib
import json
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.capture.backoff import Backoff
from edge_agent.host.sandbox import bound_memory
from edge_agent.printable_text import show_line
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)

LISTENING = "listening"
TROUBLE = "trouble"
_STOP_TIMEOUT_S = 2.0
_MAX_LINE_CHARACTERS = 1024
_MAX_TROUBLE_CHARACTERS = 160


def begin_child(memory_bytes: int) -> None:
    """Prepare a listening child: its log, no more memory than that, and no life without one of its threads."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    threading.excepthook = _end_child
    bound_memory(memory_bytes)


def _end_child(failed: threading.ExceptHookArgs) -> None:
    # A thread that listened and fell over leaves a child that is deaf and does not say so.
    try:
        log.error("listening thread ended: %s", failed.exc_type.__name__)
    finally:
        os._exit(1)


def tell_trouble(words: str) -> None:
    """Print a child's news: why no events can come; an empty text for that they can."""
    print(f"{TROUBLE} {words}" if words else LISTENING, flush=True)


class EventListener:
    """Runs one listening child for ever.

    Args:
        module: Run with ``python -m``.
        settings: Sent as JSON on standard input, never on the command line: there are passwords in it.
        fires: The act for trigger 0, 1, …
        tell: Takes why no events come; an empty text once they can.
    """

    def __init__(
        self,
        module: str,
        settings: Mapping[str, Any],
        fires: Sequence[Callable[[], None]],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._module, self._settings, self._fires, self._tell = module, settings, tuple(fires), tell
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
                self._tell("the listening process ended; it is started again")
            self._stop.wait(backoff.next_ns() / SECOND_NS)

    def _run_child(self) -> bool:
        """Run one child to its end; tell whether it ever listened."""
        # Under the lock: `close` either finds this child and ends it, or no child begins.
        with self._lock:
            if self._stop.is_set():
                return False
            try:
                child = self._child = subprocess.Popen(
                    [sys.executable, "-m", self._module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
            except OSError as error:  # no process, memory or descriptor is left: there may be one later
                log.warning("event listener cannot be started module=%s: %s", self._module, error.strerror)
                return False
        assert child.stdin is not None
        assert child.stdout is not None
        has_listened = False
        with child:
            with contextlib.suppress(OSError):
                # The pipe stays open: its end tells the child that the recorder is gone.
                child.stdin.write(json.dumps(self._settings) + "\n")
                child.stdin.flush()
            # Bounded: a child without line ends fills no memory of the recorder.
            while line := child.stdout.readline(_MAX_LINE_CHARACTERS):
                has_listened = self._take(line.strip()) or has_listened
            child.terminate()
        return has_listened

    def _take(self, line: str) -> bool:
        """Act on a line; tell whether it proves that the child listens."""
        word, _, rest = line.partition(" ")
        if word == TROUBLE:
            # A camera's own words may be in it.
            self._tell(show_line(rest, _MAX_TROUBLE_CHARACTERS) or "for no known reason")
            return False
        if word == LISTENING:
            self._tell("")
        elif line.isdecimal() and int(line) < len(self._fires):
            self._fires[int(line)]()
        return True

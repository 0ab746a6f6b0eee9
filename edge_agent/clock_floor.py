"""The last time that the recorder knew to be right: the floor below which no later wall clock is believed.

Owns one small file. A gateway without a battery-backed clock starts hours or years back; what it records before its
clock is set must not claim to be older than what it recorded before the power went.
"""

import json
import logging
from pathlib import Path

from edge_agent.clock import Clock, ClockState
from edge_agent.small_file import write_small_file
from edge_agent.units import MINUTE_NS, MonoNs, UtcNs

log = logging.getLogger(__name__)

PERSIST_EVERY_NS = 10 * MINUTE_NS


class ClockFloor:
    """Keeps the floor.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = MonoNs(0)

    def load(self) -> UtcNs:
        """Return the floor; 0 where there is none, or none that can be read."""
        try:
            return UtcNs(max(0, int(json.loads(self._path.read_bytes())["utc_ns"])))
        except FileNotFoundError:
            return UtcNs(0)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("clock floor not read path=%s: %s", self._path, type(error).__name__)
            return UtcNs(0)

    def persist(self, clock: Clock, *, now: bool = False) -> None:
        """Write the time where it is synchronised: every ``PERSIST_EVERY_NS``, or at once; durable on return."""
        boot = clock.boot()
        if (boot < self._due and not now) or clock.state() is not ClockState.SYNCHRONISED:
            return
        self._due = MonoNs(boot + PERSIST_EVERY_NS)
        try:
            write_small_file(self._path, json.dumps({"utc_ns": clock.utc()}).encode(), durable=True)
        except OSError as error:
            log.warning("clock floor not written path=%s: %s", self._path, error.strerror)

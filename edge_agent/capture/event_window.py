"""When an event-only camera is recorded: from a trigger until its time is over, and not too often.

Owns the open time of one camera's recording. Safe from any thread; reads no clock.
"""

import threading
from collections import deque

from edge_agent.units import HOUR_NS, MonoNs


class EventGate:
    """Opens on an event, stays open for a while, is extended by further events.

    Args:
        per_hour: So often may it open within an hour (a battery camera is asked for a stream each time); further
            events while it is open extend it and do not count.
    """

    def __init__(self, per_hour: int) -> None:
        self._per_hour = per_hour
        self._lock = threading.Lock()
        self._opened: deque[MonoNs] = deque()
        self._until = MonoNs(0)
        self.events = 0
        self.refused = 0

    def fire(self, now: MonoNs, for_ns: int) -> bool:
        """Take an event; tell whether the camera is to be recorded because of it."""
        with self._lock:
            self.events += 1
            if now >= self._until:
                # Only an opening counts: that is what wakes a battery camera.
                while self._opened and self._opened[0] <= now - HOUR_NS:
                    self._opened.popleft()
                if len(self._opened) >= self._per_hour:
                    self.refused += 1
                    return False
                self._opened.append(now)
            self._until = max(self._until, MonoNs(now + for_ns))
            return True

    def is_open(self, now: MonoNs) -> bool:
        """Tell whether the camera is to be recorded now."""
        with self._lock:
            return now < self._until

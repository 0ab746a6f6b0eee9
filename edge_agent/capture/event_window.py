"""When an event-only camera is recorded: from a trigger until its time is over, and not too often.

Owns the open time of one camera's recording. Safe from any thread; reads no clock.
"""

import threading
from collections import deque

from edge_agent.units import HOUR_NS, MonoNs


class EventGate:
    """Opens on an event, stays open for a while, is extended by further events.

    A camera that sleeps is woken first: then the time counts from the first record that is stored, not from the event.

    Args:
        per_hour: So often may it open within an hour (a battery camera is asked for a stream each time); further
            events while it is open extend it and do not count.
        wake_ns: So long after an event a stream may take until its first record is stored.
    """

    def __init__(self, per_hour: int, wake_ns: int = 0) -> None:
        self._per_hour, self._wake_ns = per_hour, wake_ns
        self._lock = threading.Lock()
        self._opened: deque[MonoNs] = deque()
        self._until, self._wake_until, self._for_ns = MonoNs(0), MonoNs(0), 0
        self._ends: dict[str, MonoNs] = {}
        """By stream, when its recording ends; only of streams that have stored something since the opening."""
        self._closed: set[str] = set()
        """The streams that were told to end: what is stored of them yet is of the session before."""
        self.events = 0
        self.refused = 0

    def fire(self, now: MonoNs, for_ns: int) -> bool:
        """Take an event; tell whether the camera is to be recorded because of it."""
        with self._lock:
            self.events += 1
            if now >= max([self._until, *(self._ends.values() or [self._wake_until])]):
                # Only an opening counts: that is what wakes a battery camera.
                while self._opened and self._opened[0] <= now - HOUR_NS:
                    self._opened.popleft()
                if len(self._opened) >= self._per_hour:
                    self.refused += 1
                    return False
                self._opened.append(now)
                self._for_ns = 0
                self._ends.clear()
            if not self._ends:
                self._wake_until = MonoNs(now + self._wake_ns)
            self._for_ns = max(self._for_ns, for_ns)
            self._until = max(self._until, MonoNs(now + for_ns))
            return True

    def is_open(self, now: MonoNs, stream: str = "", *, is_stored: bool = False) -> bool:
        """Tell whether a stream of the camera is to be recorded now.

        Args:
            now: The time since boot.
            stream: Which of the camera's.
            is_stored: Whether its session has stored something.
        """
        with self._lock:
            if not is_stored:
                self._closed.discard(stream)
            elif stream not in self._closed and now < self._wake_until:
                self._ends.setdefault(stream, MonoNs(now + self._for_ns))
            is_open = now < max(self._until, self._ends.get(stream, self._wake_until))
            if is_stored and not is_open:
                self._closed.add(stream)
            return is_open

"""When an event-only camera is recorded: from a trigger until its time is over, and not too often.

Owns the open time of one camera's recording. Safe from any thread; reads no clock.
"""

import threading
from collections import deque

from edge_agent.units import HOUR_NS, MonoNs

_MOST_PER_HOUR = 360


class EventGate:
    """Opens on an event, stays open for a while, is extended by further events.

    A camera that sleeps is woken first: then the time counts from the first record that is stored, not from the event.
    Only an opening that somebody asks for while its event lasts counts: during a pause nobody does, and a camera is not
    woken for what was then.

    Args:
        wake_ns: So long after an event a stream may take until its first record is stored.
    """

    def __init__(self, wake_ns: int = 0) -> None:
        self._wake_ns = wake_ns
        self._lock = threading.Lock()
        self._opened: deque[MonoNs] = deque()
        self._opening: MonoNs | None = None
        """The last opening, until somebody asks for it."""
        self._until, self._wake_until, self._for_ns = MonoNs(0), MonoNs(0), 0
        self._ends: dict[str, MonoNs] = {}
        """By stream, when its recording ends; only of streams that have stored something since the opening."""
        self._stored: set[str] = set()
        """The streams whose session has stored something, as last told."""
        self._closed: set[str] = set()
        """Those of them that were told to end: what is stored yet is not of a new opening."""
        self.events = 0
        self.refused = 0

    def fire(self, now: MonoNs, for_ns: int, per_hour: int = _MOST_PER_HOUR) -> bool:
        """Take an event; tell whether the camera is to be recorded because of it.

        Args:
            now: The time since boot.
            for_ns: How long to record.
            per_hour: An event of this kind opens if so many openings within an hour are not reached: a battery camera
                is asked for a stream each time. One that comes while it is open extends it and does not count.
        """
        with self._lock:
            self.events += 1
            if now >= self._latest_end():
                while self._opened and self._opened[0] <= now - HOUR_NS:
                    self._opened.popleft()
                if len(self._opened) >= per_hour:
                    self.refused += 1
                    return False
                self._opening, self._for_ns = now, 0
                self._ends.clear()
            # A stream whose session was lost meanwhile has to be woken again.
            self._ends = {stream: end for stream, end in self._ends.items() if stream in self._stored}
            self._wake_until = MonoNs(now + self._wake_ns)
            self._for_ns = max(self._for_ns, for_ns)
            self._until = max(self._until, MonoNs(now + for_ns))
            return True

    def is_open(self, now: MonoNs, stream: str = "", *, is_stored: bool = False) -> bool:
        """Tell whether a stream of the camera is to be recorded now; call it only if nothing else forbids that.

        Args:
            now: The time since boot.
            stream: Which of the camera's.
            is_stored: Whether its session has stored something.
        """
        with self._lock:
            self._take_opening(now)
            if not is_stored:
                self._stored.discard(stream)
                self._closed.discard(stream)
            else:
                self._stored.add(stream)
                if self._wake_ns and stream not in self._closed and now < max(self._until, self._wake_until):
                    self._ends.setdefault(stream, MonoNs(now + self._for_ns))
            is_open = now < max(self._until, self._ends.get(stream, self._wake_until))
            if is_stored and not is_open:
                self._closed.add(stream)
            return is_open

    def _latest_end(self) -> MonoNs:
        return MonoNs(max([self._until, *(self._ends.values() or [self._wake_until])]))

    def _take_opening(self, now: MonoNs) -> None:
        opening, self._opening = self._opening, None
        if opening is not None and now < self._until:
            self._opened.append(opening)
        elif opening is not None:
            self._wake_until = self._until

"""When an event-only camera is recorded: from a trigger until its time is over, and not too often.

Owns the open time of each stream of one camera. Safe from any thread; reads no clock.
"""

import threading
from collections import deque
from collections.abc import Iterable

from edge_agent.units import HOUR_NS, SECOND_NS, MonoNs

_MOST_PER_HOUR = 360
_NOTICED_NS = 15 * SECOND_NS
"""So long after an event it may turn out that the camera was gone already."""


class _Stream:
    """The open time of one stream.

    Args:
        wake_ns: As of ``EventGate``.
    """

    def __init__(self, wake_ns: int) -> None:
        self._wake_ns = wake_ns
        self.until = MonoNs(0)
        """End of its recording, by events and records so far."""
        self.waking: dict[int, MonoNs] = {}
        """The last event by how long to record from the first record on; empty if the camera is not being woken."""
        self.has_stored = False
        """It has stored something since the last opening."""
        self.stores = False
        """Its session has stored something, as last told."""
        self.is_ending = False
        """It was told to end; what its session still stores is not of a new event."""
        self._events: dict[int, MonoNs] = {}
        """The last event by how long to record because of it."""

    @property
    def end(self) -> MonoNs:
        """Return until when it is to be recorded, or to be woken."""
        return max([self.until, *map(self._give_up_at, self.waking)])

    def take(self, now: MonoNs, for_ns: int) -> None:
        """Take an event."""
        self._events[for_ns] = now
        self.until = max(self.until, MonoNs(now + for_ns))
        if self._wake_ns and (self.is_ending or not self.stores):
            self.waking[for_ns] = now

    def note(self, now: MonoNs, *, stores: bool) -> None:
        """Take in whether its session has stored something."""
        was_storing, self.stores = self.stores and not self.is_ending, stores
        self.is_ending = self.is_ending and stores
        if stores and not self.is_ending:
            self.has_stored = True
            due = [for_ns for for_ns in self.waking if now < self._give_up_at(for_ns)]
            self.until = max([self.until, *(MonoNs(now + for_ns) for for_ns in due)])
            self.waking.clear()
        elif was_storing and self._wake_ns and now < self.until:
            # The last events may have come when the camera was gone already.
            self.waking |= {for_ns: at for for_ns, at in self._events.items() if now < at + _NOTICED_NS}

    def _give_up_at(self, for_ns: int) -> MonoNs:
        return MonoNs(self.waking[for_ns] + max(self._wake_ns, for_ns))


class EventGate:
    """Opens on an event, stays open for a while, is extended by further events.

    A camera that sleeps is woken first: then the time counts from the first record that is stored, not from the event.
    An event that is over before a pause ends counts for nothing.

    Args:
        wake_ns: So long after an event a stream may take until its first record is stored; 0 for a camera that does not
            sleep.
        streams: Of the camera.
    """

    def __init__(self, wake_ns: int = 0, streams: Iterable[str] = ("main",)) -> None:
        self._lock = threading.Lock()
        self._streams = {name: _Stream(wake_ns) for name in streams}
        self._opened: deque[MonoNs] = deque()
        self._opening: MonoNs | None = None
        """The last opening; it counts once a stream is to be recorded because of it."""
        self.events = 0
        self.refused = 0

    def fire(self, now: MonoNs, for_ns: int, per_hour: int = _MOST_PER_HOUR) -> bool:
        """Take an event; tell whether the camera is to be recorded because of it.

        Args:
            now: The time since boot.
            for_ns: How long to record.
            per_hour: It opens only if fewer openings were counted in the last hour: a battery camera is asked for a
                stream each time. While the gate is open an event extends that, and is no opening.
        """
        with self._lock:
            self.events += 1
            # One that does not wake, while another one has, makes no event an extension.
            woken = [stream for stream in self._streams.values() if stream.has_stored] or self._streams.values()
            if all(now >= stream.end for stream in woken):
                while self._opened and self._opened[0] <= now - HOUR_NS:
                    self._opened.popleft()
                if len(self._opened) >= per_hour:
                    self.refused += 1
                    return False
                self._opening = now
                for stream in self._streams.values():
                    stream.has_stored = False
            for stream in self._streams.values():
                stream.take(now, for_ns)
            return True

    def is_open(self, now: MonoNs, name: str = "main", *, stores: bool = False) -> bool:
        """Tell whether a stream is to be recorded now, if nothing else forbids it.

        Args:
            now: The time since boot.
            name: Of the stream.
            stores: Whether its session has stored something.
        """
        with self._lock:
            stream = self._streams[name]
            stream.note(now, stores=stores)
            is_open = now < stream.end
            if is_open and self._opening is not None:
                self._opened.append(self._opening)
                self._opening = None
            stream.is_ending = stream.is_ending or (stores and not is_open)
            return is_open

    def pass_over(self, now: MonoNs, name: str = "main") -> None:
        """Take in that a stream is not recorded now whatever the events: a pause, or its hours."""
        with self._lock:
            stream = self._streams[name]
            stream.stores = stream.is_ending = False
            if now >= stream.until:
                stream.waking.clear()
                if all(now >= each.end for each in self._streams.values()):
                    self._opening = None

"""What a camera sent just before an event, in memory only.

Owns the packets of an open session that is looked at but not recorded: whole GOPs, of the last few seconds. What gets
too old is forgotten; nothing of it is ever written unless an event asks for it.
"""

from collections import deque

from edge_agent.capture.session.interface import Arrival, size_in_memory
from edge_agent.units import MonoNs, UtcNs

MAX_BYTES = 16 << 20
"""Of memory, what each packet takes besides its bytes included. One GOP may be larger: see ``MAX_GOP_BYTES``."""
MAX_GOP_BYTES = 32 << 20
"""Of the GOP in which an event would fall: half a minute of 8 Mbit/s. It is of use as a whole alone."""


class PreRoll:
    """The packets since the last keyframe, and those of the GOPs before it that are young enough.

    Args:
        before_ns: So far back; with 0 it is the GOP in which the event falls.
    """

    def __init__(self, before_ns: int) -> None:
        self._before_ns = before_ns
        self._gops: deque[list[Arrival]] = deque()
        self._bytes = 0
        self.is_short = False
        """The last GOP was larger than what is kept: had an event come, it would begin with the next keyframe."""

    def push(self, arrival: Arrival) -> None:
        """Keep a packet, and forget what is too old for it."""
        if arrival.track == 0 and arrival.is_keyframe:
            # The GOP behind a forgotten one has nothing before it: still short. The keyframe after that ends it.
            self.is_short = self.is_short and not self._gops
            self._gops.append([])
        # Before the first keyframe nothing can be decoded.
        if not self._gops:
            return
        self._gops[-1].append(arrival)
        self._bytes += size_in_memory(arrival)
        # The oldest GOP goes once the one behind it begins early enough; the open one always stays.
        while len(self._gops) > 1 and (self._bytes > MAX_BYTES or self._is_past(self._gops[1][0].boot, arrival.boot)):
            self._forget()
        if self._bytes > MAX_GOP_BYTES:
            self._forget()
            self.is_short = True

    @property
    def since(self) -> tuple[UtcNs, MonoNs] | None:
        """Arrival of the oldest packet, by both clocks."""
        return (self._gops[0][0].utc, self._gops[0][0].boot) if self._gops else None

    def packets(self) -> list[Arrival]:
        """Return what is kept, oldest first."""
        return [arrival for gop in self._gops for arrival in gop]

    def _is_past(self, next_gop: MonoNs, now: MonoNs) -> bool:
        return next_gop <= now - self._before_ns

    def _forget(self) -> None:
        self._bytes -= sum(map(size_in_memory, self._gops.popleft()))

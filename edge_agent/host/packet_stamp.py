"""The moment at which bytes came to this machine, by the kernel's own stamp (``SO_TIMESTAMPNS``, socket(7)).

Owns the stamp's form and its age. The stamp is of the wall clock, which may be set while bytes
wait; and the length of that wait has no bound: a busy machine or a slow disk keeps its reader away
for many seconds. One thing is certain: bytes that are read now came after the socket was last found
empty. An age is believed within that bound only, by the wall clock as it is now, or else as it was
then.
"""

import time
from collections.abc import Callable
from struct import Struct

SO_TIMESTAMPNS = 35
"""Of Linux, on every machine that this runs on; Python does not name it."""
# struct timespec: seconds, nanoseconds.
_STAMP = Struct("@ll")
STAMP_BYTES = _STAMP.size
_SLACK_NS, _SLACK_SHARE = 1_000_000, 1000
"""The wall clock is slewed by up to 1/2000 (adjtimex(2)), and both clocks are not read at the same moment."""


def _read_clocks() -> tuple[int, int]:
    """Return wall clock and time since boot, in nanoseconds."""
    return time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class StampAges:
    """The ages of the stamps of one socket. One thread only; make it when the socket is connected.

    Args:
        read_clocks: Returns wall clock and time since boot, in nanoseconds, read together.
    """

    def __init__(self, read_clocks: Callable[[], tuple[int, int]] = _read_clocks) -> None:
        self._read_clocks = read_clocks
        self._emptied = self._looked = read_clocks()

    def look(self) -> None:
        """Note that the socket is about to be read."""
        self._looked = self._read_clocks()

    def note_empty(self) -> None:
        """Note that since ``look`` the socket was found empty."""
        self._emptied = self._looked

    def take(self, stamp: bytes, *, is_all: bool) -> int:
        """Return how long ago, in nanoseconds, the bytes came that were read since ``look``; 0 if nothing tells.

        Args:
            stamp: As the kernel gave it; empty if it gave none.
            is_all: There were no more of them.
        """
        age_ns = self._find_age_ns(stamp) if len(stamp) >= STAMP_BYTES else 0
        if is_all:
            self.note_empty()
        return age_ns

    def _find_age_ns(self, stamp: bytes) -> int:
        seconds, rest_ns = _STAMP.unpack_from(stamp)
        wall, boot = self._read_clocks()
        wall_then, boot_then = self._emptied
        most_ns = boot - boot_then
        slack_ns = _SLACK_NS + most_ns // _SLACK_SHARE
        by_wall_now: int = wall - (seconds * 1_000_000_000 + rest_ns)
        by_wall_then = by_wall_now + (wall_then - boot_then) - (wall - boot)
        for age_ns in (by_wall_now, by_wall_then):
            if -slack_ns <= age_ns <= most_ns + slack_ns:
                return min(max(age_ns, 0), most_ns)
        return 0

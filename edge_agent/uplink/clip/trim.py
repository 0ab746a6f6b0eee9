"""The beginning and the end of a clip: the grant, applied to one access unit after the other.

Owns the rule of the grant (PROTOCOL 9, R6): a run of pictures begins with the first keyframe whose PTS is at or after
the window's start, without the leading pictures before it, and ends before the first access unit, in decode order,
whose PTS is at or after the end. Also the DTS of the units that are kept. Pure.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.units import Window


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The verdict on one access unit of the video."""

    ended: bool
    """The run that was open ends before this unit."""
    started: bool
    """A run starts with this unit."""
    kept: bool


class Cutter:
    """Applies the windows of a grant to the video's access units in decode order."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows
        self._at = 0
        self._first_pts: int | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether a run is open."""
        return self._first_pts is not None

    @property
    def is_done(self) -> bool:
        """Tell whether every window is behind."""
        return self._at == len(self._windows)

    @property
    def window(self) -> Window:
        """The window that the open run lies in."""
        return self._windows[self._at]

    def close(self) -> None:
        """End the open run: the next run does not continue it, and may be earlier if a clock was set back."""
        self._first_pts, self._at = None, 0

    def step(self, utc_ns: int, pts: int, is_keyframe: bool) -> Trimmed:
        """Judge the next access unit."""
        ended = False
        while not self.is_done and utc_ns >= self.window.end:
            ended, self._first_pts, self._at = ended or self.is_open, None, self._at + 1
        if self.is_done or utc_ns < self.window.start:
            return Trimmed(ended, False, False)
        if self._first_pts is not None:
            # A picture shown before the keyframe that the run began with refers to units that were left out.
            return Trimmed(ended, False, pts >= self._first_pts)
        if is_keyframe:
            self._first_pts = pts
        return Trimmed(ended, is_keyframe, is_keyframe)


def find_depth(pts: Sequence[int]) -> int:
    """Return by how many places pictures are reordered: the least delay with which no DTS exceeds its PTS."""
    ordered = sorted(pts)
    depth = 0
    for position, value in enumerate(pts):
        while ordered[max(position - depth, 0)] > value:
            depth += 1
    return depth


class DtsClock:
    """Gives every access unit its DTS: the PTS in rising order, ``depth`` places late."""

    def __init__(self, pts: Sequence[int]) -> None:
        """Learn the delay and the step from the first units of a run (at least one)."""
        ordered = sorted(pts)
        self._depth = find_depth(pts)
        step = max(1, ordered[1] - ordered[0]) if len(ordered) > 1 else 1
        self._lead = [ordered[0] - (self._depth - position) * step for position in range(self._depth)][::-1]
        self._waiting: list[int] = []
        self._last: int | None = None
        self.first = self._lead[-1] if self._lead else ordered[0]

    def next(self, pts: int) -> int | None:
        """Return the DTS of the next unit, or None if reordering got deeper than it was at the beginning."""
        heapq.heappush(self._waiting, pts)
        dts = self._lead.pop() if self._lead else heapq.heappop(self._waiting)
        # In MP4 (ISO/IEC 14496-12, 8.8.8) a DTS is the sum of unsigned durations, so that it must
        # rise; and no picture is shown before it is decoded.
        if dts > pts or (self._last is not None and dts <= self._last):
            return None
        self._last = dts
        return dts

"""The PTS of one video track, as a camera should have sent them.

Owns the repair of missing, doubled and backward PTS, and the decision that repair is hopeless. Pure.
"""

from collections import deque
from fractions import Fraction
from itertools import pairwise

_RECENT = 64
_MAX_REPAIRS_IN_A_ROW = 12
"""More of them, and it is the camera's time that has changed, not a picture that was mislabelled."""
_MAX_STEP_S = 10
_MAX_REORDERED = 16
"""Pictures by which the order of decoding and that of showing may differ (H.264 A.3.1, H.265 A.4.2)."""
_USUAL_RATE = 25


class DiscontinuityError(Exception):
    """The ticks have jumped; begin a new run."""


class Sequencer:
    """Gives every access unit of a run, in decode order, a PTS that no other has.

    Args:
        time_base: Of the track.
        reorders: Whether pictures are known to be shown in another order than they are decoded in (B-frames). An
            encoder that is set anew may begin with it: then the PTS tell.
    """

    def __init__(self, time_base: Fraction, reorders: bool) -> None:
        self._second_ticks = int(1 / time_base)
        self._reorders = reorders
        self._own: deque[int] = deque(maxlen=_RECENT)
        self._given: deque[int] = deque(maxlen=_RECENT)
        self._latest_own = 0
        self._latest: int | None = None
        self._step_ticks = max(1, self._second_ticks // _USUAL_RATE)
        self._accepted = self._repairs_in_a_row = self._behind_in_a_row = 0
        self.repairs = 0

    @property
    def step_ticks(self) -> int:
        """The usual distance of two pictures that are shown one after the other."""
        return self._step_ticks

    def accept(self, pts: int | None, duration_ticks: int) -> int:
        """Return the PTS of the next access unit: the camera's own wherever that can be.

        A PTS that is missing, or that went back in a stream without reordering, becomes the latest one plus a step; one
        that comes twice in a row, plus half a step.

        Args:
            pts: As it came.
            duration_ticks: As FFmpeg says, who believes what the encoder claims; used until two pictures tell.

        Raises:
            DiscontinuityError: It jumped ahead by more than ten seconds, or went back and stayed there.
        """
        latest = self._latest
        if latest is None:
            if 0 < duration_ticks <= self._second_ticks:
                self._step_ticks = duration_ticks
            return self._take_own(pts or 0)
        if pts is not None and pts - latest > _MAX_STEP_S * self._second_ticks:
            raise DiscontinuityError(f"PTS jumped ahead: ticks={pts - latest}")
        if pts is not None and self._is_own(pts):
            return self._take_own(pts)
        self.repairs += 1
        self._repairs_in_a_row += 1
        if self._repairs_in_a_row > _MAX_REPAIRS_IN_A_ROW:
            raise DiscontinuityError(f"PTS went back: latest={latest} pts={pts}")
        # The second of two that share a time, such as a field, lies between it and the next.
        is_doubled = pts is not None and pts == self._latest_own
        return self._give(latest + max(1, self._step_ticks // 2 if is_doubled else self._step_ticks))

    def _is_own(self, pts: int) -> bool:
        """Tell whether a PTS is to be believed: it is later than all before, or in its place among them."""
        if pts > self._latest_own:
            return True
        reach_ticks = max(self._second_ticks, (_MAX_REORDERED + 1) * self._step_ticks)
        if pts <= self._latest_own - reach_ticks or pts in self._own:
            return False
        self._reorders = self._reorders or self._fills_hole(pts)
        return self._reorders

    def _fills_hole(self, pts: int) -> bool:
        # A picture that is shown before one that has come has a free place; a wrong PTS falls between two neighbours.
        # Free means three quarters of a step from each neighbour.
        return pts > min(self._own) and 4 * min(abs(pts - place) for place in self._given) >= 3 * self._step_ticks

    def _take_own(self, pts: int) -> int:
        self._own.append(pts)
        self._latest_own = pts if self._latest is None else max(pts, self._latest_own)
        self._repairs_in_a_row = 0
        self._accepted += 1
        # Often at first, when the step is a guess; then seldom, for it sorts all recent ones.
        if self._accepted < _MAX_REORDERED or not self._accepted % _MAX_REORDERED:
            self._measure()
        # If a repaired one has taken the place, the next free tick is near enough.
        if self._latest is not None and not self._reorders:
            pts = max(pts, self._latest + 1)
        while self._latest is not None and pts <= self._latest and pts in self._given:
            pts += 1
        return self._give(pts)

    def _measure(self) -> None:
        shown = sorted(self._own)
        steps = sorted(after - before for before, after in pairwise(shown))
        # The median: one picture that is missing or mislabelled does not move it.
        if steps:
            self._step_ticks = min(steps[len(steps) // 2], self._second_ticks * _MAX_STEP_S)

    def _give(self, pts: int) -> int:
        is_behind = self._latest is not None and pts < self._latest
        self._behind_in_a_row = self._behind_in_a_row + 1 if is_behind else 0
        if self._behind_in_a_row > _MAX_REORDERED:
            raise DiscontinuityError(f"PTS stay behind: latest={self._latest} pts={pts}")
        self._latest = pts if self._latest is None else max(pts, self._latest)
        self._given.append(pts)
        return pts

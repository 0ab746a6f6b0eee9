"""The PTS of one video track, as a camera should have sent them.

Owns the repair of missing, doubled and backward PTS, and the decision that repair is hopeless. Pure.
"""

from collections import deque
from fractions import Fraction

_RECENT = 64
_MAX_REPAIRS_IN_A_ROW = 12
"""More of them, and it is the camera's time that has changed, not a picture that was mislabelled."""
_MAX_STEP_S = 10


class DiscontinuityError(Exception):
    """The ticks have jumped; begin a new run."""


class Sequencer:
    """Gives every access unit of a run, in decode order, a PTS that no other has.

    Args:
        time_base: Of the track.
        reorders: Whether pictures are shown in another order than they are decoded in (B-frames).
    """

    def __init__(self, time_base: Fraction, reorders: bool) -> None:
        self._second_ticks = int(1 / time_base)
        self._reorders = reorders
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._latest: int | None = None
        self._step_ticks = max(1, self._second_ticks // 25)
        self._repairs_in_a_row = 0
        self.repairs = 0

    @property
    def step_ticks(self) -> int:
        """The usual distance of two pictures."""
        return self._step_ticks

    def accept(self, pts: int | None, duration_ticks: int) -> int:
        """Return the PTS of the next access unit: the camera's own wherever that can be.

        A PTS that is missing, or that went back in a stream without reordering, becomes the latest one plus a step.

        Raises:
            DiscontinuityError: It jumped ahead by more than ten seconds, or went back and stayed there.
        """
        if 0 < duration_ticks <= self._second_ticks:
            self._step_ticks = duration_ticks
        latest = self._latest
        if latest is None:
            return self._take(pts or 0)
        if pts is not None and pts - latest > _MAX_STEP_S * self._second_ticks:
            raise DiscontinuityError(f"PTS jumped ahead: ticks={pts - latest}")
        earliest = latest - self._second_ticks if self._reorders else latest
        if pts is not None and pts > earliest:
            # Without reordering it is above all that went before.
            if not self._reorders or pts not in self._recent:
                self._repairs_in_a_row = 0
                return self._take(pts)
            pts = None
        self.repairs += 1
        self._repairs_in_a_row += 1
        if self._repairs_in_a_row > _MAX_REPAIRS_IN_A_ROW:
            raise DiscontinuityError(f"PTS went back: latest={latest} pts={pts}")
        return self._take(latest + self._step_ticks)

    def _take(self, pts: int) -> int:
        self._recent.append(pts)
        self._latest = pts if self._latest is None else max(pts, self._latest)
        return pts

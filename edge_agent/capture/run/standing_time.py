"""PTS for a track whose RTP time stands still: each packet a duration after the one before, bounded by its arrival.

Owns the finding that media time stands, and the time that is put in its place. Pure: integers in, integers out.

1. Two packets may share a time (fields): the second lies half a step after the first. A third one is proof.
2. From then on a packet comes one step after the one before. The step is the mean distance of the last arrivals: the
   sum of the steps is a moving mean of the arrivals and does not drift. Until there are enough of them, it is the
   distance of the last two, and for what arrives at once at first the duration that the reader tells.
3. No packet is placed further than ``BOUND_NS`` from its arrival: a silence is a hole, and a burst keeps its order.
   Arrivals are counted from where the packets have come to when the reader has handed out what it held back.
4. Media time that moves again goes on where the replacement has come to; one that moves only from keyframe to keyframe
   is believed each time that it lies within the bound.
"""

from collections import deque
from fractions import Fraction

from edge_agent.units import SECOND_NS, MonoNs

BOUND_NS = SECOND_NS
_WINDOW = 250
"""Arrivals of which the mean distance is taken: ten seconds of an ordinary camera."""
_FEWEST = 8
_SETTLE_NS = SECOND_NS // 2
"""What a reader has held back while it opened the session arrives at once, and tells no distance."""
_USUAL_RATE = 25
_REMEMBERED_NS = 10 * SECOND_NS


class StandingTime:
    """The replacement for one track's PTS while they stand still.

    Args:
        time_base: Of the track.
        settle_ns: How long what the reader has held back keeps arriving; 0 if it holds nothing back.
    """

    def __init__(self, time_base: Fraction, settle_ns: int = _SETTLE_NS) -> None:
        self._rate, self._settle_ns = 1 / time_base, settle_ns
        self._bound_ticks = self._ticks(BOUND_NS)
        self._usual_ticks = max(1, int(self._rate / _USUAL_RATE))
        self.own: int | None = None
        """PTS of the last packet, as it came."""
        self.latest = 0
        """PTS of the last packet, as it was given."""
        self._shift_ticks = 0
        self._latest_boot = MonoNs(0)
        self._repeats = 0
        self._anchor: tuple[int, MonoNs] | None = None
        self._began: MonoNs | None = None
        self._stood: MonoNs | None = None
        self._arrivals: deque[MonoNs] = deque(maxlen=_WINDOW)

    @property
    def stands(self) -> bool:
        """Tell whether a packet of the last ten seconds was placed by its arrival."""
        return self._stood is not None and self._latest_boot - self._stood < _REMEMBERED_NS

    def take(self, pts: int, boot: MonoNs, duration_ticks: int) -> int:
        """Return the next packet's PTS: its own plus what has been missed, unless its time stands still.

        Args:
            pts: As it came.
            boot: When it was handed over.
            duration_ticks: As the reader tells; 0 if it does not.
        """
        if self._began is None and self._anchor is None and pts != self.own:  # it moves, as it always has
            self.own, self._latest_boot, self._repeats = pts, boot, 0
            self.latest = pts + self._shift_ticks
            return self.latest
        if self._began is not None and boot - self._began >= self._settle_ns:
            if not self._arrivals and self._anchor is not None:
                self._anchor = self.latest, self._latest_boot
            self._arrivals.append(boot)
        if pts == self.own:
            self._repeats += 1
            placed = self._follow_arrival(boot, duration_ticks or self._usual_ticks)
        else:
            placed = self._follow_own(pts, duration_ticks or self._usual_ticks)
        self.own, self._latest_boot = pts, boot
        return placed

    def move(self, ticks: int) -> None:
        """Take in that everything of this track lies so much later than was known."""
        self.own = None if self.own is None else self.own + ticks
        self.latest += ticks
        self._anchor = None if self._anchor is None else (self._anchor[0] + ticks, self._anchor[1])

    def _follow_arrival(self, boot: MonoNs, duration_ticks: int) -> int:
        # Rule 1: the second field of a picture. The latest stays where it is, for the next picture is a step from it.
        if self._repeats == 1 and self._anchor is None:
            # A tick at least, also in a coarse time base: no two packets may share a PTS.
            return self.latest + max(1, duration_ticks // 2)
        if self._anchor is None:
            self._anchor = self.latest, self._latest_boot
            self.latest += duration_ticks
            self._began = self._began or boot
        self._stood = boot
        ticks, since = self._anchor
        arrived = ticks + self._ticks(boot - since)
        wanted = self.latest + self._step(boot, duration_ticks)
        if self._arrivals:
            wanted = min(arrived + self._bound_ticks, wanted)
        # Always later than the one before, and not further behind its arrival than rule 3 allows.
        self.latest = max(self.latest + 1, arrived - self._bound_ticks, wanted)
        return self.latest

    def _step(self, boot: MonoNs, duration_ticks: int) -> int:
        if not self._arrivals:
            return duration_ticks
        span_ns = self._arrivals[-1] - self._arrivals[0]
        if len(self._arrivals) < _FEWEST or span_ns < _SETTLE_NS:
            return self._ticks(boot - self._latest_boot)
        return self._ticks(span_ns) // (len(self._arrivals) - 1)

    def _follow_own(self, pts: int, duration_ticks: int) -> int:
        placed = pts + self._shift_ticks
        if self._anchor is not None:
            expected = self.latest + duration_ticks
            if abs(placed - expected) > self._bound_ticks:
                self._shift_ticks += expected - placed
                placed = expected
            placed = max(placed, self.latest + 1)
        self._repeats = 0
        self._anchor = None
        self.latest = placed
        return placed

    def _ticks(self, duration_ns: int) -> int:
        return int(duration_ns * self._rate / SECOND_NS)

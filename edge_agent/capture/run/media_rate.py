"""How fast a camera's media clock runs against the wall: an estimate from arrivals, for clocks that are plainly wrong.

Owns the estimate of the rate and the decision whether it is certain. Pure: integers in, integers out; the reader's
times of arrival are UTC by a clock that does not step.

1. Network and camera only ever add to the time between a picture and its arrival. Above media time, arrivals therefore
   lie on or over a line whose slope is the rate, and the lower convex hull of the points touches it. A stall and the
   burst after it lie over the hull and move nothing.
2. The hull's slopes at a quarter and at three quarters of the window must agree that the clock is wrong, and by more
   than the window can mistake; then the rate is the hull's slope in between. A delay that grew once bends the hull at
   one place only.
3. For quartz clocks (``Timeline.MAX_SLEW_PPM``) there is no need of a rate: then it is 0 ppm.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from edge_agent.units import SECOND_NS, UtcNs

WINDOW_NS = 60 * SECOND_NS
CERTAIN_NS = 4 * SECOND_NS
"""So long a window tells a clock wrong by 2 % from arrivals that jitter by 0.3 s."""
LONGEST_DOUBT_NS = 8 * SECOND_NS
"""So long a clock that may be wrong is looked at before it is believed; then certainty takes a longer window."""
SUSPECT_PPM = 30_000
"""From here on a clock may be wrong although the window is too short to be certain."""
_BUCKET_NS = SECOND_NS // 10
_LOOK_EVERY_NS = SECOND_NS // 2
_LOOK_SELDOM_NS = 5 * SECOND_NS
"""Once certainty has had its time: a look at a whole window costs half a millisecond."""
_MISTAKE_PPM_S = 80_000
"""How wrong a rate may be by mistake, times the window: 2 % after 4 s, 0.13 % after a minute."""
_LEAST_PPM, _MOST_PPM = -600_000, 4_000_000
"""Media time that runs 2.5 times as fast as the wall clock, and a fifth as fast."""
_SHORTEST_NS = SECOND_NS
_PARTS = 4

Point = tuple[int, UtcNs]
"""Media time in ns, and arrival."""


class RateEstimator:
    """The rate of one run's media clock. Feed it in order of arrival."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque()
        self._bucket: int | None = None
        self._latest_media_ns: int | None = None
        self._looked: UtcNs | None = None
        self._rate_ppm = self._seen_ppm = 0

    @property
    def rate_ppm(self) -> int:
        """By how much wall time runs faster than media time: 190,476 if 21 steps of 25 are counted."""
        return self._rate_ppm

    @property
    def is_suspect(self) -> bool:
        """Tell whether the clock may be wrong and more pictures are needed to say so."""
        return not self._rate_ppm and self._span_ns < LONGEST_DOUBT_NS and self._seen_ppm > SUSPECT_PPM

    def observe(self, media_ns: int, arrived: UtcNs) -> None:
        """Take in one picture; one that is shown before another that has come is left out."""
        if self._latest_media_ns is not None and media_ns <= self._latest_media_ns:
            return
        self._latest_media_ns = media_ns
        bucket = arrived // _BUCKET_NS
        if bucket != self._bucket:
            self._bucket = bucket
            self._points.append((media_ns, arrived))
        # One point for each tenth of a second: its least late picture, which alone can lie on the hull.
        elif arrived - media_ns < self._points[-1][1] - self._points[-1][0]:
            self._points[-1] = (media_ns, arrived)
        while self._points[0][1] < arrived - WINDOW_NS:
            self._points.popleft()
        span_ns = self._span_ns
        every_ns = _LOOK_EVERY_NS if span_ns < LONGEST_DOUBT_NS else min(span_ns // 4, _LOOK_SELDOM_NS)
        if span_ns < 2 * _SHORTEST_NS:
            # No clock may be believed that was not looked at since the window became long enough.
            every_ns = _BUCKET_NS
        if self._looked is None or arrived - self._looked >= every_ns:
            self._looked = arrived
            self._look()

    def earliest(self, media_ns: int) -> UtcNs:
        """Return when a picture was taken at the latest, by the arrival that was least late at this rate."""
        scale = 1_000_000 + self._rate_ppm
        return UtcNs(min(arrived + (media_ns - media) * scale // 1_000_000 for media, arrived in self._points))

    @property
    def _span_ns(self) -> int:
        return self._points[-1][1] - self._points[0][1] if self._points else 0

    def _look(self) -> None:
        span_ns = self._span_ns
        if span_ns < _SHORTEST_NS:
            return
        early_ppm, late_ppm, whole_ppm = _slopes(lower_hull(self._points), self._points[0][1], span_ns)
        # A short window's slopes differ where arrivals jitter: then it says nothing yet.
        seen = (early_ppm, late_ppm, whole_ppm) if span_ns < CERTAIN_NS else (whole_ppm,)
        self._seen_ppm = max(abs(each) for each in seen)
        if span_ns < CERTAIN_NS:
            return
        mistake_ppm = _MISTAKE_PPM_S * SECOND_NS // span_ns
        # Once certain, half of it keeps it: an estimate at the border must not come and go.
        least_ppm = mistake_ppm // 2 if self._rate_ppm else mistake_ppm
        agree = min(early_ppm, late_ppm) > least_ppm or max(early_ppm, late_ppm) < -least_ppm
        is_rate = agree and self._touches_throughout(whole_ppm, span_ns)
        self._rate_ppm = max(_LEAST_PPM, min(_MOST_PPM, whole_ppm)) if is_rate else 0

    def _touches_throughout(self, rate_ppm: int, span_ns: int) -> bool:
        """Tell whether in each quarter some picture came as early as the rate says; after a step of the delay none."""
        since, scale = self._points[0][1], 1_000_000 + rate_ppm
        late = [arrived - media * scale // 1_000_000 + span_ns for media, arrived in [self._points[-1]] * _PARTS]
        for media, arrived in self._points:
            part = min(_PARTS - 1, (arrived - since) * _PARTS // span_ns)
            late[part] = min(late[part], arrived - media * scale // 1_000_000)
        # Three quarters of the time by which a clock so wrong drifts in one part.
        return max(late) - min(late) <= 3 * abs(rate_ppm) * span_ns // (4 * _PARTS * 1_000_000)


def lower_hull(points: Sequence[Point] | deque[Point]) -> list[Point]:
    """Return the lower convex hull of points whose media times rise (Andrew's monotone chain)."""
    hull: list[Point] = []
    for media, arrived in points:
        while len(hull) > 1:
            (m0, a0), (m1, a1) = hull[-2:]
            # The cross product, without a division: the middle point stays if it lies below the line of the others.
            if (a1 - a0) * (media - m0) < (arrived - a0) * (m1 - m0):
                break
            hull.pop()
        hull.append((media, arrived))
    return hull


def _slopes(hull: Sequence[Point], since: UtcNs, span_ns: int) -> tuple[int, int, int]:
    """Return the slope, in ppm over one, at a quarter and at three quarters of the window, and between them."""
    arrivals = [arrived for _, arrived in hull]
    places = [min(max(bisect_right(arrivals, since + span_ns * part // 4), 1), len(hull) - 1) for part in (1, 3)]
    first, last = places
    # The first and the last point are on the hull however late they came: what lies between is better, if it is long.
    inner = (hull[first], hull[last - 1])
    is_long = inner[1][1] - inner[0][1] >= span_ns // 4
    return (
        _slope_ppm(hull[first - 1], hull[first]),
        _slope_ppm(hull[last - 1], hull[last]),
        _slope_ppm(*inner) if is_long else _slope_ppm(hull[first - 1], hull[last]),
    )


def _slope_ppm(before: Point, after: Point) -> int:
    media_ns = after[0] - before[0]
    return (after[1] - before[1] - media_ns) * 1_000_000 // media_ns

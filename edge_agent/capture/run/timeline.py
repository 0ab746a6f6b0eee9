"""When a picture was taken: from the camera's ticks and the gateway's clock to UTC.

Owns the rule of moonfire-nvr (its ``design/time.md``): the picture that took least time to arrive tells where the
camera's ticks lie in UTC, and later corrections are slewed. Pure: reads no clock.

1. The delay of a picture is its arrival (UTC) minus its media time (the camera's ticks since the run's start, in ns).
   Network and camera only ever add to it, so the least one of the last ``WINDOW_NS`` is the best estimate.
2. The first placed picture takes that estimate as it is; from then on the mapping moves towards the estimate by at
   most ``MAX_SLEW_PPM`` of the media time that has gone by, so that UTC never runs backwards within a run.
   Nothing is placed before the floor; pictures that belong further before it than ``EARLY_NS`` are not to be placed:
   a bridge has kept them for whoever comes next, and all after them would be late by as much.
   A run that goes on in the session of the one before has no such pictures: then all are placed, from the floor on.
3. An estimate that is further away than ``BREAK_NS`` cannot be slewed to: the run ends. Pictures that come too *early*
   end it at once (ticks or clock jumped); pictures that come too late only after ``LATE_NS``, because a stall that
   drains as a burst is late as well and mends itself.
4. A media clock that runs at another rate than the wall (``media_rate``) is followed at that rate, and the rest is
   slewed by up to ``MAX_FAST_SLEW_PPM``. Before the first picture is placed, a clock that may be wrong is looked at for
   longer. The arrivals stay the bound of the error.
"""

from collections import deque

from edge_agent.capture.run.media_rate import RateEstimator
from edge_agent.units import SECOND_NS, UtcNs

WINDOW_NS = 60 * SECOND_NS
MAX_SLEW_PPM = 500
MAX_FAST_SLEW_PPM = 100_000
BREAK_NS = 2 * SECOND_NS
LATE_NS = 30 * SECOND_NS
EARLY_NS = SECOND_NS // 5
"""Estimates of two runs differ by the jitter of arrivals."""
SETTLE_NS = 1_200_000_000
"""What FFmpeg's probing holds back (0.5 s) arrives at once; an estimate is not used before this has gone by."""


class TimelineBreakError(Exception):
    """Media time and arrival have come apart further than slewing mends; begin a new run."""


class Timeline:
    """The mapping of one run from media time to UTC.

    Args:
        floor: No picture is placed before it: the end of the footage that the run before has claimed.
        is_joined: The run before was of the same session (rule 2).
    """

    def __init__(self, floor: UtcNs, *, is_joined: bool = False) -> None:
        self._floor, self._is_joined = floor, is_joined
        self._rate = RateEstimator()
        # Least delays, rising from left to right: (arrival, delay). The leftmost is the least of the window.
        self._least: deque[tuple[UtcNs, int]] = deque()
        self._first_arrival: UtcNs | None = None
        self._late_since: UtcNs | None = None
        self._offset_ns: int | None = None
        self._last_media_ns = 0

    @property
    def is_settled(self) -> bool:
        """Tell whether enough pictures have arrived for an estimate."""
        is_long = bool(self._least) and self._least[-1][0] - (self._first_arrival or 0) >= SETTLE_NS
        return is_long and not self._rate.is_suspect

    @property
    def rate_ppm(self) -> int:
        """By how much wall time runs faster than the camera's media time; 0 for a clock as clocks are."""
        return self._rate.rate_ppm

    @property
    def is_stretched(self) -> bool:
        """Tell whether media time and UTC differ by more than slewing a quartz: PTS that tell UTC need other steps."""
        return self._slew_ppm != MAX_SLEW_PPM

    @property
    def correction_ns(self) -> int:
        """How far the estimate is from the mapping in use; what slewing has yet to do."""
        if self._offset_ns is None or not self._least:
            return 0
        return self._estimate_ns(self._last_media_ns) - self._offset_ns

    def _estimate_ns(self, media_ns: int) -> int:
        if self.rate_ppm:
            return self._rate.earliest(media_ns) - media_ns
        return self._least[0][1] if self._least else 0

    def _offset_at(self, media_ns: int, offset_ns: int) -> int:
        return offset_ns + (media_ns - self._last_media_ns) * self.rate_ppm // 1_000_000

    def observe(self, media_ns: int, arrived: UtcNs) -> None:
        """Take in one picture's arrival.

        Raises:
            TimelineBreakError: Rule 3.
        """
        if self._first_arrival is None:
            self._first_arrival = arrived
        delay_ns = arrived - media_ns
        # A delay that is not less than a later one can never be the window's least again.
        while self._least and self._least[-1][1] >= delay_ns:
            self._least.pop()
        self._least.append((arrived, delay_ns))
        while self._least[0][0] < arrived - WINDOW_NS:
            self._least.popleft()
        self._rate.observe(media_ns, arrived)
        if self._offset_ns is not None:
            self._judge(delay_ns - self._offset_at(media_ns, self._offset_ns), arrived)

    def _judge(self, late_ns: int, arrived: UtcNs) -> None:
        if late_ns < -BREAK_NS:
            raise TimelineBreakError(f"pictures arrive before they are due: by_ns={-late_ns}")
        if late_ns <= BREAK_NS:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = arrived
        elif arrived - self._late_since > LATE_NS:
            raise TimelineBreakError(f"pictures stay late: by_ns={late_ns}")

    def precedes_floor(self, media_ns: int) -> bool:
        """Tell whether a picture, the first to be placed, belongs before the floor and so to no run (rule 2)."""
        if self._offset_ns is not None or self._is_joined:
            return False
        return media_ns + self._estimate_ns(media_ns) < self._floor - EARLY_NS

    def place(self, media_ns: int) -> UtcNs:
        """Return the UTC of a picture, and correct the mapping by what has become due. Call in rising order."""
        estimate_ns = self._estimate_ns(media_ns)
        if self._offset_ns is None:
            self._offset_ns = max(estimate_ns, self._floor - media_ns)
        elif media_ns > self._last_media_ns:
            offset_ns = self._offset_at(media_ns, self._offset_ns)
            # Rule 2: slewed, never stepped, so that UTC does not run backwards.
            most_ns = (media_ns - self._last_media_ns) * self._slew_ppm // 1_000_000
            self._offset_ns = offset_ns + max(-most_ns, min(most_ns, estimate_ns - offset_ns))
        self._last_media_ns = max(self._last_media_ns, media_ns)
        return UtcNs(media_ns + self._offset_ns)

    @property
    def _slew_ppm(self) -> int:
        is_fast = self.rate_ppm or (self._is_joined and abs(self.correction_ns) > EARLY_NS)
        return MAX_FAST_SLEW_PPM if is_fast else MAX_SLEW_PPM

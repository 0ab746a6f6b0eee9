"""From ticks to UTC: the rules of ``capture.run.timeline``, for every delay a network can think of."""

import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.run.timeline import BREAK_NS, LATE_NS, MAX_SLEW_PPM, SETTLE_NS, Timeline, TimelineBreakError
from edge_agent.units import SECOND_NS, UtcNs

START = 1_795_000_000 * SECOND_NS
STEP = SECOND_NS // 10


def feed(timeline: Timeline, pictures: int, *, first: int = 0, delay_ns: int = 0, drift_ppm: int = 0) -> None:
    """Let pictures arrive ten times a second, evenly late, from a camera whose clock drifts."""
    for number in range(first, first + pictures):
        media_ns = number * STEP
        timeline.observe(media_ns, UtcNs(START + media_ns - media_ns * drift_ppm // 1_000_000 + delay_ns))


@given(st.lists(st.integers(0, BREAK_NS), min_size=2, max_size=200))
def test_start_is_the_least_delayed_picture(delays: list[int]) -> None:
    """Before anything is placed, the estimate is the arrival that was delayed least, however late the others were."""
    timeline = Timeline(UtcNs(0))
    arrival = 0
    for number, delay_ns in enumerate(delays):
        arrival = max(arrival, START + number * STEP + delay_ns)
        timeline.observe(number * STEP, UtcNs(arrival))
    arrivals = itertools.accumulate((START + n * STEP + d for n, d in enumerate(delays)), max)
    assert timeline.place(0) == min(at - n * STEP for n, at in enumerate(arrivals))


@given(st.lists(st.tuples(st.integers(1, SECOND_NS), st.integers(0, BREAK_NS // 2)), min_size=3, max_size=100))
def test_utc_never_runs_backwards_and_slews_gently(steps: list[tuple[int, int]]) -> None:
    """Between two placed pictures UTC differs from media time by at most 500 ppm, so it also never runs back."""
    timeline, media_ns, placed = Timeline(UtcNs(0)), 0, []
    for step_ns, delay_ns in steps:
        timeline.observe(media_ns, UtcNs(START + media_ns + delay_ns))
        placed.append((media_ns, timeline.place(media_ns)))
        media_ns += step_ns
    for (media_a, utc_a), (media_b, utc_b) in itertools.pairwise(placed):
        span_ns = media_b - media_a
        assert abs((utc_b - utc_a) - span_ns) <= span_ns * MAX_SLEW_PPM // 1_000_000


@pytest.mark.parametrize("drift_ppm", [-300, -50, 50, 300])
def test_drift_is_followed(drift_ppm: int) -> None:
    """A camera's clock that runs wrong by up to 300 ppm is followed for hours, to within a twentieth of a second."""
    timeline = Timeline(UtcNs(0))
    for number in range(4 * 3600):
        media_ns = number * SECOND_NS
        true = START + media_ns - media_ns * drift_ppm // 1_000_000
        timeline.observe(media_ns, UtcNs(true))
        assert abs(timeline.place(media_ns) - true) < SECOND_NS // 20


def test_burst_after_a_stall_moves_nothing() -> None:
    """A stall of twenty seconds that drains at once leaves every picture where it was taken."""
    timeline = Timeline(UtcNs(0))
    feed(timeline, 100)
    timeline.place(0)
    for number in range(100, 300):
        timeline.observe(number * STEP, UtcNs(START + 30 * SECOND_NS + number))
    feed(timeline, 50, first=300)
    assert timeline.place(350 * STEP) == START + 350 * STEP


def test_early_picture_breaks_the_run_at_once() -> None:
    """A picture that arrives before it was due by more than slewing mends ends the run."""
    timeline = Timeline(UtcNs(0))
    feed(timeline, 20)
    timeline.place(0)
    with pytest.raises(TimelineBreakError, match="before they are due"):
        timeline.observe(3600 * SECOND_NS, UtcNs(START + 21 * STEP))


def test_lasting_lateness_breaks_the_run_in_time() -> None:
    """Ticks that stood still are late for ever: the run ends after half a minute, not before."""
    timeline = Timeline(UtcNs(0))
    feed(timeline, 20)
    timeline.place(0)
    pictures = LATE_NS // STEP
    feed(timeline, pictures, first=20, delay_ns=BREAK_NS + 1)
    with pytest.raises(TimelineBreakError, match="stay late"):
        feed(timeline, 10, first=20 + pictures, delay_ns=BREAK_NS + 1)


def test_floor_keeps_runs_apart() -> None:
    """A new run is never placed into what the run before has claimed, and then slews back to the truth."""
    timeline = Timeline(UtcNs(START + SECOND_NS))
    feed(timeline, 2)
    assert timeline.place(0) == START + SECOND_NS
    assert timeline.place(STEP) < START + SECOND_NS + STEP


def test_settled_after_the_probe_has_drained() -> None:
    """No estimate is used while the client's own probing still delays pictures."""
    timeline = Timeline(UtcNs(0))
    timeline.observe(0, UtcNs(START))
    assert not timeline.is_settled
    timeline.observe(SETTLE_NS, UtcNs(START + SETTLE_NS))
    assert timeline.is_settled


RATES = {
    "25 stamped, 21 sent": Fraction(25, 21),
    "25 stamped, 27 sent": Fraction(25, 27),
    "a fifth slow": Fraction(6, 5),
    "a fifth fast": Fraction(4, 5),
    "half a percent": Fraction(1005, 1000),
    "right": Fraction(1),
}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES.keys())
def test_any_rate_is_followed_within_the_jitter(rate: Fraction, seed: int) -> None:
    """With arrivals that jitter by 0.3 s, 99 of 100 pictures are timed to within the jitter and a picture."""
    dice, fps, jitter_ns = random.Random(seed), 25, 300_000_000
    arrivals: list[tuple[int, int, int]] = []
    for number in range(120 * fps):
        media_ns = number * SECOND_NS // fps
        taken_ns = START + int(media_ns * rate)
        arrived_ns = max(taken_ns + dice.randrange(jitter_ns), arrivals[-1][2] if arrivals else 0)
        arrivals.append((media_ns, taken_ns, arrived_ns))
    timeline, waiting, errors, last = Timeline(UtcNs(0)), [], [], 0
    for media_ns, taken_ns, arrived_ns in arrivals:
        timeline.observe(media_ns, UtcNs(arrived_ns))
        waiting.append((media_ns, taken_ns))
        if timeline.is_settled:
            for media, taken in waiting:
                placed = timeline.place(media)
                assert placed > last
                errors.append(abs(placed - taken))
                last = placed
            waiting = []
    assert len(errors) > 115 * fps
    assert sorted(errors)[len(errors) * 99 // 100] <= jitter_ns + SECOND_NS // fps
    # Half a percent is near what slewing and the window can mistake: it may be followed either way.
    assert timeline.rate_ppm == 0 if rate == 1 else abs(timeline.rate_ppm) > 50_000 or abs(rate - 1) < 0.01


def test_stalls_and_a_longer_way_are_no_rate() -> None:
    """A stall that drains as a burst, and a network that becomes slower for good, leave the clock's rate alone."""
    timeline, number = Timeline(UtcNs(0)), 0
    for second in range(300):
        for _ in range(10):
            media_ns, number = number * STEP, number + 1
            arrived = START + media_ns + (600_000_000 if second >= 100 else 0)
            if second % 20 in (7, 8):
                arrived = max(arrived, START + (second - second % 20 + 9) * SECOND_NS)
            timeline.observe(media_ns, UtcNs(arrived))
            if timeline.is_settled:
                timeline.place(media_ns)
            assert timeline.rate_ppm == 0

"""Time for packets whose own stands still: a model of arrivals, and how far from the truth a packet may come to lie."""

import itertools
import random
from fractions import Fraction

import pytest

from edge_agent.capture.run.standing_time import BOUND_NS, StandingTime
from edge_agent.units import SECOND_NS, MonoNs

RATE = 90_000
TIME_BASE = Fraction(1, RATE)
FPS = 25


def place(arrivals_ns: list[int], own: list[int], duration_ticks: int = RATE // FPS) -> list[int]:
    standing = StandingTime(TIME_BASE)
    return [standing.take(pts, MonoNs(boot), duration_ticks) for pts, boot in zip(own, arrivals_ns, strict=True)]


def in_ms(ticks: int) -> float:
    return ticks * 1000 / RATE


@pytest.mark.parametrize("told", [RATE // FPS, 0, RATE // 60], ids=["told", "not told", "told wrong"])
@pytest.mark.parametrize("jitter_ms", [0, 50, 300])
def test_time_that_stands_follows_the_arrivals(jitter_ms: int, told: int) -> None:
    """After a few seconds no packet is further from its time than the jitter and a step, whatever the reader told."""
    dice = random.Random(jitter_ms)
    true_ms = [number * 1000 / FPS for number in range(FPS * 120)]
    jittered = [int((at + dice.uniform(0, jitter_ms)) * 1_000_000) for at in true_ms]
    arrivals = list(itertools.accumulate(jittered, max))
    placed = place(arrivals, [7] * len(arrivals), told)
    assert all(a < b for a, b in itertools.pairwise(placed))
    late = [in_ms(pts) - at for pts, at in zip(placed, true_ms, strict=True)][FPS * 20 :]
    assert max(late) - min(late) <= jitter_ms + 1000 / FPS


def test_own_time_is_left_alone() -> None:
    """Packets whose time moves keep it, in whatever order they are shown; one of two that share it goes in between."""
    steps = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]
    own = [step * 3600 for step in steps]
    assert place([step * SECOND_NS // FPS for step in range(10)], own) == own
    assert place([0, 1, 2], [0, 0, 3600]) == [0, 1800, 3600]


SILENCES = {"a second": 1, "five seconds": 5, "a minute": 60}


@pytest.mark.parametrize("seconds", SILENCES.values(), ids=SILENCES.keys())
def test_silence_is_a_hole_and_a_burst_keeps_its_order(seconds: int) -> None:
    """Arrivals bound the error: after a silence packets go on within the bound, and a burst moves none beyond it."""
    before = [number * SECOND_NS // FPS for number in range(500)]
    after = [before[-1] + seconds * SECOND_NS + number * SECOND_NS // FPS for number in range(500)]
    burst = [after[-1] + 3 * SECOND_NS] * 75
    arrivals = before + after + burst
    placed = place(arrivals, [7] * len(arrivals))
    assert all(a < b for a, b in itertools.pairwise(placed))
    assert all(abs(in_ms(pts) - at / 1e6) <= BOUND_NS / 1e6 + 100 for pts, at in zip(placed, arrivals, strict=True))


RESUMED = {
    "from where it stood": 0,
    "from where it would be": 50 * 3600,
    "from anywhere": 10**9,
    "from before": -(10**6),
}


@pytest.mark.parametrize("ahead", RESUMED.values(), ids=RESUMED.keys())
def test_time_that_moves_again_goes_on_without_a_jump(ahead: int) -> None:
    """When the camera's clock runs again, the packets go on a step after the last one."""
    own = [number * 3600 for number in range(50)] + [49 * 3600] * 50
    own += [49 * 3600 + ahead + number * 3600 for number in range(1, 50)]
    placed = place([number * SECOND_NS // FPS for number in range(len(own))], own)
    steps = [b - a for a, b in itertools.pairwise(placed)]
    assert max(steps) <= 2 * 3600
    assert min(steps) > 0


def test_what_is_moved_goes_on_from_there() -> None:
    """A track that is moved against another while its time stands goes on where it was moved to."""
    standing = StandingTime(TIME_BASE)
    for number in range(100):
        last = standing.take(7, MonoNs(number * SECOND_NS // FPS), 3600)
    standing.move(9000)
    assert standing.take(9007, MonoNs(100 * SECOND_NS // FPS), 3600) == pytest.approx(last + 9000 + 3600, abs=2)


def test_it_is_said_only_of_time_that_stands() -> None:
    """Two packets that share a time are no standing clock; three are, and for ten seconds after the last of them."""
    standing = StandingTime(TIME_BASE)
    told = []
    for number in range(3):
        standing.take(7, MonoNs(SECOND_NS + number), 3600)
        told.append(standing.stands)
    standing.take(3607, MonoNs(12 * SECOND_NS), 3600)
    assert [*told, standing.stands] == [False, False, True, False]

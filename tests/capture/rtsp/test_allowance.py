"""What a camera may cost in a round."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.rtsp.allowance import ROUND_NS, ROUND_WORK, Allowance
from edge_agent.capture.session import hub
from edge_agent.units import SECOND_NS, MonoNs


@given(st.lists(st.tuples(st.integers(0, 3 * ROUND_NS), st.integers(0, 5000)), max_size=60))
def test_nobody_is_given_more_than_time_brings(turns: list[tuple[int, int]]) -> None:
    """Whatever is spent and however late a round is: no more is let through than a round at the beginning, what time
    brought since, and the last piece, which cannot be cut."""
    now, spent, largest = 0, 0, 0
    allowance = Allowance(MonoNs(now))
    for step_ns, work in turns:
        now += step_ns
        allowance.renew(MonoNs(now))
        if not allowance.is_spent:
            allowance.spend(work)
            spent, largest = spent + work, max(largest, work)
        assert spent <= ROUND_WORK + now * ROUND_WORK // ROUND_NS + largest


def test_what_is_owed_is_paid_by_waiting() -> None:
    """A piece that costs ten rounds is followed by nothing for about as long."""
    allowance = Allowance(MonoNs(0))
    allowance.spend(11 * ROUND_WORK)
    allowance.renew(MonoNs(9 * ROUND_NS))
    assert allowance.is_spent
    allowance.renew(MonoNs(11 * ROUND_NS))
    assert not allowance.is_spent


def test_little_is_saved_up() -> None:
    """A camera that was silent for a minute may send half a second's at once, not a minute's worth."""
    allowance = Allowance(MonoNs(0))
    allowance.renew(MonoNs(60 * SECOND_NS))
    allowance.spend(5 * ROUND_WORK)
    assert allowance.is_spent


def test_nothing_is_lost_between_two_rounds_of_the_hub() -> None:
    """A camera that takes all of its share keeps up, though the hub looks at it seldom, and late."""
    round_ns = int(1.2 * hub._ROUND_S * SECOND_NS)
    allowance = Allowance(MonoNs(0))
    for number in range(1, 100):
        allowance.renew(MonoNs(number * round_ns))
        allowance.spend(round_ns * ROUND_WORK // ROUND_NS - 1)
        assert not allowance.is_spent


@given(st.lists(st.integers(1, 400_000), min_size=1, max_size=300))
def test_whoever_looks_often_is_given_as_much(steps: list[int]) -> None:
    """What is earned depends on the time that has passed alone: rounding loses one unit at most."""
    allowance, now = Allowance(MonoNs(0)), 0
    allowance.spend(1 << 30)
    for step in steps:
        now += step
        allowance.renew(MonoNs(now))
    owed = (1 << 30) - ROUND_WORK - now * ROUND_WORK // ROUND_NS
    allowance.spend(-owed - 2)
    assert not allowance.is_spent
    allowance.spend(2)
    assert allowance.is_spent

"""A pause that bounds guessing: it doubles up to its longest, and a right try ends it."""

import pytest

from edge_agent.host.growing_pause import GrowingPause


class Clock:
    """Seconds, as the test turns them."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pause(clock: Clock) -> GrowingPause:
    return GrowingPause(2.0, 10.0, clock)


def test_first_try_waits_for_nothing(pause: GrowingPause):
    assert pause.wait_s() == 0


def test_each_wrong_try_doubles_it_up_to_the_longest(pause: GrowingPause, clock: Clock):
    """And it is over by itself: whoever knows the code is not locked out for ever."""
    waits = []
    for _ in range(5):
        pause.grow()
        waits.append(pause.wait_s())
        clock.now_s += waits[-1]
        assert pause.wait_s() == 0
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0]


def test_right_try_begins_anew(pause: GrowingPause):
    """What somebody else guessed wrong before costs the owner no more."""
    pause.grow()
    pause.grow()
    pause.end()
    assert pause.wait_s() == 0
    pause.grow()
    assert pause.wait_s() == 2.0

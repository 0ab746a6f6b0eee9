"""PTS as cameras should have sent them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.sequence import DiscontinuityError, Sequencer

BASE = Fraction(1, 90_000)
STEP = 3600


@given(st.lists(st.one_of(st.none(), st.integers(0, 40 * STEP)), min_size=1, max_size=12), st.booleans())
def test_no_two_units_share_a_pts(given_pts: list[int | None], reorders: bool) -> None:
    """Whatever a camera sends, every unit has a PTS of its own, and without reordering they rise."""
    sequencer = Sequencer(BASE, reorders)
    out = [sequencer.accept(pts, STEP) for pts in given_pts]
    assert len(set(out)) == len(out)
    assert reorders or out == sorted(out)


@given(st.lists(st.integers(1, 10 * STEP), max_size=50))
def test_good_pts_are_left_alone(steps: list[int]) -> None:
    """Rising PTS pass unchanged."""
    sequencer, pts = Sequencer(BASE, False), 0
    for step in steps:
        pts += step
        assert sequencer.accept(pts, STEP) == pts
    assert sequencer.repairs == 0


def test_reordered_pictures_are_left_alone() -> None:
    """B-frames go back within a second and keep their PTS."""
    sequencer = Sequencer(BASE, True)
    order = [place * STEP for place in (0, 3, 1, 2, 6, 4, 5)]
    assert [sequencer.accept(pts, STEP) for pts in order] == order


def test_one_unit_that_goes_back_is_put_right() -> None:
    """A mislabelled picture gets the place after its predecessor; its successors keep theirs."""
    sequencer = Sequencer(BASE, False)
    assert [sequencer.accept(n, STEP) for n in (0, STEP, STEP - 45_000, 3 * STEP)] == [0, STEP, 2 * STEP, 3 * STEP]


JUMPS = {"ahead by an hour": [0, 3600 * 90_000], "back for good": [900_000, *range(0, 20 * STEP, STEP)]}


@pytest.mark.parametrize("sent", JUMPS.values(), ids=JUMPS.keys())
def test_jump_ends_the_run(sent: list[int]) -> None:
    """Ticks that jump cannot be repaired and say so."""
    sequencer = Sequencer(BASE, False)
    with pytest.raises(DiscontinuityError):
        for pts in sent:
            sequencer.accept(pts, STEP)

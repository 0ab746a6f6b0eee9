"""PTS as cameras should have sent them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.run.pts_sequence import DiscontinuityError, Sequencer

BASE = Fraction(1, 90_000)
STEP = 3600


@given(st.lists(st.one_of(st.none(), st.integers(0, 40 * STEP)), min_size=1, max_size=12), st.booleans())
def test_no_two_units_share_a_pts(given_pts: list[int | None], reorders: bool) -> None:
    """Whatever a camera sends, every unit has a PTS of its own."""
    sequencer = Sequencer(BASE, reorders)
    out = [sequencer.accept(pts, STEP) for pts in given_pts]
    assert len(set(out)) == len(out)


@given(st.integers(3, 80), st.integers(1, 40))
def test_picture_that_goes_back_by_itself_is_put_right(at: int, half_steps: int) -> None:
    """Where every place before is taken, a PTS that went back is no B-frame; what follows it keeps its own."""
    sequencer = Sequencer(BASE, False)
    sent = [number * STEP for number in range(90)]
    sent[at] -= half_steps * STEP // 2
    out = [sequencer.accept(pts, STEP) for pts in sent]
    assert out == sorted(set(out))
    assert all(abs(pts - number * STEP) <= STEP // 2 for number, pts in enumerate(out))


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


WRONG_TIMES = {
    "two pictures share a time": [*range(50), 49, *range(50, 90)],
    "one carries the time of the one before": [*range(50), 49, *range(51, 90)],
    "one is half a second late": [*range(50), 42.5, *range(51, 90)],
}


@pytest.mark.parametrize(
    "claimed", [STEP, 2 * STEP, 1], ids=["as claimed", "half of what is claimed", "nothing claimed"]
)
@pytest.mark.parametrize("places", WRONG_TIMES.values(), ids=WRONG_TIMES.keys())
def test_one_wrong_time_costs_no_other(places: list[float], claimed: int) -> None:
    """What follows a mislabelled picture is within a tick of where the camera put it, whatever rate it claims."""
    sequencer = Sequencer(BASE, False)
    sent = [int(place * STEP) for place in places]
    out = [sequencer.accept(pts, claimed) for pts in sent]
    assert out == sorted(set(out))
    assert [abs(a - b) <= 1 for a, b in zip(out, sent, strict=True)].count(False) <= 1
    assert sequencer.repairs == 1


def test_fields_that_share_a_time_stand_side_by_side() -> None:
    """Two access units a picture: each picture keeps its time for ever, and its second field lies in the middle."""
    sequencer = Sequencer(BASE, False)
    out = [sequencer.accept(number * STEP, STEP) for number in range(50) for _ in range(2)]
    assert out == [number * STEP // 2 for number in range(100)]


def reordered(depth: int, groups: int) -> list[int]:
    """Return the places of I or P pictures, each before the ``depth`` B-pictures that it follows when shown."""
    later = [
        [group * (depth + 1), *range((group - 1) * (depth + 1) + 1, group * (depth + 1))] for group in range(groups)
    ]
    return [0, *(place for group in later[1:] for place in group)]


@pytest.mark.parametrize("fps", [1, 2, 3, 5, 15, 60])
@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_reordering_is_counted_in_pictures(fps: int, depth: int) -> None:
    """B-frames keep their PTS at any rate, also where they go back by more than a second."""
    sequencer = Sequencer(BASE, True)
    sent = [place * 90_000 // fps for place in reordered(depth, 12)]
    assert [sequencer.accept(pts, 3600) for pts in sent] == sent


def test_b_frames_that_begin_in_the_middle_keep_their_pts() -> None:
    """An encoder that is set anew says nothing; the free places tell."""
    sequencer = Sequencer(BASE, False)
    sent = [place * STEP for place in [*range(30), *(30 + place for place in reordered(2, 20))]]
    assert [sequencer.accept(pts, STEP) for pts in sent] == sent
    assert sequencer.repairs == 0


@pytest.mark.parametrize("reorders", [False, True])
def test_picture_that_is_shown_last_must_come(reorders: bool) -> None:
    """A camera that sends pictures of the second before for ever does not make a record grow for ever."""
    sequencer = Sequencer(BASE, reorders)
    sent = [0, 90_000, *(90_000 - 700 * number for number in range(1, 100))]
    with pytest.raises(DiscontinuityError):
        for pts in sent:
            sequencer.accept(pts, STEP)


JUMPS = {"ahead by an hour": [0, 3600 * 90_000], "back for good": [900_000, *range(0, 20 * STEP, STEP)]}


@pytest.mark.parametrize("sent", JUMPS.values(), ids=JUMPS.keys())
def test_jump_ends_the_run(sent: list[int]) -> None:
    """Ticks that jump cannot be repaired and say so."""
    sequencer = Sequencer(BASE, False)
    with pytest.raises(DiscontinuityError):
        for pts in sent:
            sequencer.accept(pts, STEP)

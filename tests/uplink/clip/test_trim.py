"""The rule of the grant, one access unit after the other."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.units import UtcNs, Window
from edge_agent.uplink.clip.trim import Cutter, DtsClock, find_depth


def cut(windows, units):
    """Apply windows to (pts = utc, keyframe) units; the kept PTS, run by run."""
    cutter, runs = Cutter([Window(UtcNs(a), UtcNs(b)) for a, b in windows]), []
    for pts, key in units:
        step = cutter.step(pts, pts, key)
        if step.started:
            runs.append([])
        if step.kept:
            runs[-1].append(pts)
    return runs


CASES = {
    "begins with the first keyframe in the window": ([(5, 40)], [(0, 1), (5, 0), (10, 1), (15, 0)], [[10, 15]]),
    "drops leading pictures": ([(0, 40)], [(10, 1), (8, 0), (9, 0), (15, 0)], [[10, 15]]),
    "ends in decode order": ([(0, 20)], [(0, 1), (10, 0), (30, 0), (15, 0)], [[0, 10]]),
    "an end is not inside": ([(0, 20)], [(0, 1), (20, 1)], [[0]]),
    "a start is inside": ([(10, 20)], [(10, 1), (15, 0)], [[10, 15]]),
    "two windows are two runs": (
        [(0, 20), (30, 50)],
        [(0, 1), (15, 0), (20, 0), (30, 1)],
        [[0, 15], [30]],
    ),
    "adjoining windows need a keyframe each": ([(0, 20), (20, 40)], [(0, 1), (20, 1), (30, 0)], [[0], [20, 30]]),
    "no keyframe, no footage": ([(5, 40)], [(0, 1), (10, 0), (20, 0)], []),
}


def test_grant_rule():
    """Design 7: from the first keyframe at or after the start to before the first unit at or after the end."""
    for name, (windows, units, expected) in CASES.items():
        assert cut(windows, units) == expected, name


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans())), st.integers(0, 99), st.integers(1, 50))
def test_nothing_outside_the_window_is_kept(units, start, length):
    """For any order of a camera's pictures, none outside the window leaves."""
    runs = cut([(start, start + length)], units)
    assert all(start <= pts < start + length for run in runs for pts in run)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=64, unique=True))
def test_dts_rise_and_never_exceed_pts(pts):
    """A muxer accepts the DTS of any order of distinct PTS that was seen whole."""
    clock = DtsClock(pts)
    dts = [clock.next(value) for value in pts]
    assert None not in dts
    assert all(a < b for a, b in pairwise(dts))
    assert all(a <= b for a, b in zip(dts, pts, strict=True))
    assert dts[0] == clock.first


def test_reordering_that_gets_deeper_is_told():
    """A clock that learned from ordered pictures refuses a picture that its DTS has passed."""
    clock = DtsClock([0, 10, 20])
    assert [clock.next(pts) for pts in (0, 10, 40, 20)] == [0, 10, 40, None]
    assert find_depth([0, 30, 10, 20]) == 1

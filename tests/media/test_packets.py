"""The order and the decode times of a record's packets."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.packets import derive_dts


@given(st.permutations(range(8)), st.integers(1, 9000))
def test_derived_dts_rises_and_stays_below_pts(order: list[int], step: int) -> None:
    """Whatever the reordering, DTS strictly rises and no picture is decoded after it is shown."""
    pts = [place * step for place in order]
    dts = derive_dts(pts)
    assert all(before < after for before, after in itertools.pairwise(dts))
    assert all(decoded <= shown for decoded, shown in zip(dts, pts, strict=True))

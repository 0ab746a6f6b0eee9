"""The life of a pull point: renewed in time, exchanged before it ends, whatever a camera grants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.onvif.lease import LONGEST_WAIT_S, RENEW_EVERY_S, Lease

GRANTS = {"two minutes": 120.0, "a minute": 60.0, "ten seconds": 10.0, "four seconds": 4.0}


@pytest.mark.parametrize("granted_s", GRANTS.values(), ids=GRANTS.keys())
def test_pull_point_that_nothing_renews_is_exchanged_before_it_ends(granted_s: float) -> None:
    """With pulls as long as it allows there is a moment before the end at which another is made."""
    lease, now_s = Lease(granted_s, 100.0), 100.0
    while not lease.is_ending(now_s):
        now_s += lease.wait_s
    assert now_s < 100.0 + granted_s


def test_pull_point_that_is_renewed_stays() -> None:
    """Renewed whenever it is due, it does not end; due often enough for what is granted."""
    lease, now_s = Lease(10.0, 0.0), 0.0
    for _ in range(1000):
        now_s += lease.wait_s
        if lease.is_due(now_s):
            lease.extend(10.0, now_s)
        assert not lease.is_ending(now_s)


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), max_size=20))
def test_camera_that_does_not_know_the_time_changes_nothing(grants: list[float | None]) -> None:
    """Whatever is said about the end, a pull waits for between one second and five."""
    lease = Lease(None, 0.0)
    for number, left_s in enumerate(grants):
        lease.extend(left_s, float(number))
        assert 1.0 <= lease.wait_s <= LONGEST_WAIT_S
    if not any(left_s is not None and left_s >= 1 for left_s in grants):
        assert not lease.is_ending(1e9)
        assert lease.is_due(RENEW_EVERY_S)

"""Two minutes of the soak: eight cameras, six of which fail in a different way each minute."""

import itertools
from pathlib import Path

import pytest

from bench.soak import FAILING, FAULTS, plan_minute, soak

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_minutes_differ() -> None:
    """In each minute the cameras fail in six ways, none of them the way of its minute before; all come up in time."""
    minutes = [plan_minute(minute) for minute in range(30)]
    assert all(len(set(faults)) == FAILING for faults in minutes)
    assert all(now != before for a, b in itertools.pairwise(minutes) for before, now in zip(a, b, strict=True))
    assert {fault for faults in minutes for fault in faults} == set(FAULTS)


@pytest.mark.timeout(360)
def test_two_minutes_of_failing_cameras(tmp_path: Path) -> None:
    """Nothing leaks, every second is explained, and the healthy cameras' times are right."""
    rows, wrong = soak(tmp_path / "h", 2)
    assert not wrong
    assert all(row.is_met for row in rows), [row for row in rows if not row.is_met]

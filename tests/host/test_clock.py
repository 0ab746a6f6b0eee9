"""Whether the wall clock may be believed."""

import os
import time
from pathlib import Path

import pytest

from edge_agent.host.clock import MARKER_GOOD_FOR_S, SystemClock, has_fresh_marker, read_kernel_time
from edge_agent.units import DAY_NS, SECOND_NS, ClockState, UtcNs

NOW_S = 1_790_000_000
AGES = {"just now": (0, True), "an hour": (3600, True), "two days": (2 * 86400, False), "tomorrow": (-86400, False)}


@pytest.mark.parametrize(("age_s", "fresh"), AGES.values(), ids=AGES.keys())
def test_marker_of_timesyncd_counts_for_a_day(tmp_path: Path, age_s: int, fresh: bool) -> None:
    """A marker that is old, or from a time yet to come, proves nothing; nor does a missing one."""
    marker = tmp_path / "synchronized"
    assert not has_fresh_marker(marker, UtcNs(NOW_S * SECOND_NS))
    marker.touch()
    os.utime(marker, (NOW_S - age_s, NOW_S - age_s))
    assert has_fresh_marker(marker, UtcNs(NOW_S * SECOND_NS)) is fresh


def test_marker_makes_the_clock_synchronised(tmp_path: Path) -> None:
    """With the marker the clock counts whatever the kernel says; below the floor it never does."""
    marker = tmp_path / "synchronized"
    marker.touch()
    assert SystemClock(marker=marker).state() is ClockState.SYNCHRONISED
    assert SystemClock(time.time_ns() + DAY_NS, marker=marker).state() is ClockState.FLOOR_ONLY
    os.utime(marker, (time.time() - MARKER_GOOD_FOR_S - 60,) * 2)
    assert SystemClock(marker=marker).state() is SystemClock(marker=tmp_path / "none").state()


def test_clock_below_its_floor_still_runs(tmp_path: Path) -> None:
    """Before the clock is set, time begins at the floor and goes by as the boot clock does."""
    floor = time.time_ns() + DAY_NS
    clock = SystemClock(floor, marker=tmp_path / "none")
    first, boot = clock.utc(), clock.boot()
    while clock.boot() < boot + SECOND_NS // 50:
        pass
    assert floor <= first < clock.utc() < floor + 5 * SECOND_NS


def test_kernel_answers_whole() -> None:
    """The bound of its error is read where the kernel keeps it: never beyond the 16 s to which it is clamped."""
    assert 0 <= read_kernel_time().max_error_us <= 16_000_000

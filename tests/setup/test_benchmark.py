"""The benchmark measures real parts, leaves nothing behind, and says what decides."""

import pytest

from edge_agent.errors import UsageError
from edge_agent.settings.gateway import parse_config
from edge_agent.setup import benchmark
from edge_agent.setup.benchmark import Benchmark, Limit, find_link_mbit, run_benchmark


def test_every_part_is_measured_and_nothing_stays(tmp_path):
    """A second of each: shares are above nothing and below all, and the ring is gone."""
    config = parse_config(f"buffer: {{dir: {tmp_path}}}", "test", tmp_path)
    told: list[int] = []
    found = run_benchmark(config, 1.0, told.append)
    limits = {limit.part: limit for limit in found.limits}
    assert {"processor", "disk", "memory"} <= limits.keys()
    assert limits["processor"].cameras >= 1
    assert all(limit.measured for limit in found.limits)
    assert told == sorted(told)
    assert told[-1] == 1000
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_part_decides():
    """However fast the others are; never more than a configuration takes."""
    slow, fast = Limit("disk", 3, "slow"), Limit("memory", 900, "much")
    assert (Benchmark((fast, slow)).cameras, Benchmark((fast, slow)).tightest) == (3, slow)
    assert Benchmark((fast,)).cameras == 64


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    """Without rights there is a hint, and no traceback."""
    config = parse_config(f"buffer: {{dir: {tmp_path}/missing}}", "test", tmp_path)
    with pytest.raises(Exception, match="missing") as caught:
        benchmark.measure_writing(config.rings_dir, (), [], 0.1, lambda _: None)
    assert caught.type.__name__ in (UsageError.__name__, "RingError")


def test_links_that_are_down_or_say_nothing_do_not_count(tmp_path):
    """Wi-Fi and virtual machines name no speed, or a negative one."""
    for name, state, speed in (
        ("lo", "up", "9"),
        ("eth0", "down", "1000"),
        ("eth1", "up", "100"),
        ("wlan0", "up", "-1"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "operstate").write_text(state)
        (tmp_path / name / "speed").write_text(speed)
    assert find_link_mbit(tmp_path) == 100
    assert find_link_mbit(tmp_path / "none") is None

"""The account of holes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.backoff import FIRST_NS, LONGEST_NS, Backoff
from edge_agent.capture.run.gap_account import FIRST_PIECE_NS, PIECE_NS, GapKeeper
from edge_agent.units import DAY_NS, SECOND_NS, MonoNs, UtcNs
from tests.capture.conftest import MemorySink

STEPS = st.lists(st.tuples(st.sampled_from(["footage", "because", "wait"]), st.integers(1, 200)), max_size=60)


@given(STEPS)
def test_footage_and_gaps_tile_time(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, footage and gaps follow each other without hole or overlap."""
    sink, now = MemorySink(), 0
    gaps, spans = GapKeeper(sink, UtcNs(0), "recorder-stopped"), []
    for what, seconds in steps:
        now += seconds * SECOND_NS
        if what == "footage":
            gaps.footage(UtcNs(now - SECOND_NS // 2), UtcNs(now), MonoNs(now))
            spans.append((now - SECOND_NS // 2, now))
        elif what == "because":
            gaps.because(f"reason-{seconds % 3}", UtcNs(now), MonoNs(now))
        else:
            gaps.wait(UtcNs(now), MonoNs(now))
    spans += [(gap.start_ns, gap.start_ns + gap.duration_ns) for gap in sink.gaps]
    end = 0
    for start, stop in sorted(spans):
        assert start == end
        end = stop


def test_long_hole_is_told_while_it_lasts() -> None:
    """After ten seconds, then every minute, what is missing so far becomes a GAP with its reason."""
    sink = MemorySink()
    gaps = GapKeeper(sink, UtcNs(0), "ended")
    for second in range(200):
        gaps.wait(UtcNs(second * SECOND_NS), MonoNs(second * SECOND_NS))
    assert [gap.duration_ns for gap in sink.gaps] == [FIRST_PIECE_NS, PIECE_NS, PIECE_NS, PIECE_NS]
    assert {gap.reason for gap in sink.gaps} == {"ended"}


def test_end_of_the_account_tells_what_was_under_way() -> None:
    """A recorder that is stopped in a pause leaves it told up to that moment; the tail of footage is no hole."""
    sink = MemorySink()
    gaps = GapKeeper(sink, UtcNs(0), "connecting")
    gaps.footage(UtcNs(0), UtcNs(SECOND_NS), MonoNs(0))
    gaps.end(UtcNs(2 * SECOND_NS), MonoNs(2 * SECOND_NS))
    assert not sink.gaps
    gaps.because("paused", UtcNs(SECOND_NS), MonoNs(SECOND_NS))
    gaps.end(UtcNs(4 * SECOND_NS), MonoNs(4 * SECOND_NS))
    assert [(gap.start_ns, gap.duration_ns, gap.reason) for gap in sink.gaps] == [(SECOND_NS, 3 * SECOND_NS, "paused")]


@pytest.mark.parametrize("step_ns", [3 * DAY_NS, -3 * DAY_NS, 75 * 365 * DAY_NS], ids=["forward", "back", "from 1951"])
def test_hole_is_as_long_as_it_lasted_though_the_clock_was_set(step_ns: int) -> None:
    """A camera that is down while the gateway's clock is set leaves holes of its time, none of the clock's."""
    sink, start = MemorySink(), UtcNs(1_795_000_000 * SECOND_NS)
    gaps, ahead = GapKeeper(sink, start, "connecting"), 0
    gaps.because("unreachable", start, MonoNs(SECOND_NS))
    for second in range(1, 600):
        ahead = step_ns if second >= 305 else 0
        gaps.wait(UtcNs(start + ahead + second * SECOND_NS), MonoNs((1 + second) * SECOND_NS))
    gaps.footage(
        UtcNs(start + ahead + 600 * SECOND_NS), UtcNs(start + ahead + 601 * SECOND_NS), MonoNs(601 * SECOND_NS)
    )
    assert sum(gap.duration_ns for gap in sink.gaps) == 600 * SECOND_NS
    assert {gap.reason for gap in sink.gaps} == {"unreachable"}
    assert all(gap.duration_ns <= PIECE_NS for gap in sink.gaps)
    told = [gap.boot_ns for gap in sink.gaps]
    assert all(
        later - earlier == gap.duration_ns for earlier, later, gap in zip(told, told[1:], sink.gaps, strict=False)
    )
    assert gaps.covered_until == start + ahead + 601 * SECOND_NS


@given(st.integers(0, 1 << 32))
def test_backoff_doubles_with_jitter_up_to_a_minute(seed: int) -> None:
    """Waits grow from a second to a minute, never beyond, for ever, and begin anew after footage."""
    backoff = Backoff(random.Random(seed))
    waits = [backoff.next_ns() for _ in range(20)]
    for number, wait_ns in enumerate(waits):
        step_ns = min(LONGEST_NS, FIRST_NS << number)
        assert step_ns * 3 // 4 <= wait_ns <= min(LONGEST_NS, step_ns * 5 // 4)
    backoff.reset()
    assert backoff.next_ns() < 2 * FIRST_NS

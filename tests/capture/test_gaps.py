"""The account of holes."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.backoff import FIRST_NS, LONGEST_NS, Backoff
from edge_agent.capture.gaps import FIRST_PIECE_NS, PIECE_NS, GapKeeper
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

from .conftest import MemorySink

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

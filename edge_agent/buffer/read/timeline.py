"""From record headers to time: the UTC that a record may claim, spans that two runs claim, the records of a window.

Owns the rebasing of floor-only records on boot time and the rule of conflicts. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_agent.buffer.block_scan import LocatedRecord
from edge_agent.buffer.format.constants import FLAG_FLOOR_ONLY, Kind
from edge_agent.buffer.format.page import Page
from edge_agent.buffer.format.record import run_id_of
from edge_agent.units import SECOND_NS, ClockState, UtcNs, Window

CONFLICT_TOLERANCE_NS = SECOND_NS
"""Two runs may overlap by so much: the start of a run is an estimate, the end of the last GOP another."""
CONTINUOUS_NS = 2 * SECOND_NS
"""Footage that pauses for less is shown as one span; records stay as they are."""


@dataclass(frozen=True, slots=True)
class TimedRecord:
    """A record with the time that it may claim."""

    place: LocatedRecord
    start_ns: UtcNs | None
    """None if the clock was floor-only and the boot never synchronised: it matches no window."""
    rebased: bool
    clock_state: ClockState
    run_id: bytes

    @property
    def window(self) -> Window | None:
        """The span that the record covers, if it has a time and a duration."""
        if self.start_ns is None or self.place.header.duration_ns <= 0:
            return None
        return Window(self.start_ns, UtcNs(self.start_ns + self.place.header.duration_ns))

    def matches(self, windows: Iterable[Window]) -> bool:
        """Tell whether the record covers, or, having no duration, lies in, any of the windows."""
        if self.start_ns is None:
            return False
        # A note has no duration: it counts as one nanosecond, so a half-open window still finds it.
        end = max(self.start_ns + self.place.header.duration_ns, self.start_ns + 1)
        return any(self.start_ns < window.end and window.start < end for window in windows)


def time_records(
    page: Page, records: Iterable[LocatedRecord], offsets: Mapping[bytes, int], *, as_written: bool = False
) -> list[TimedRecord]:
    """Give each record of a block its time and its run.

    Args:
        page: The block's header page.
        records: In order.
        offsets: UTC minus boot time, per boot that has ever been synchronised.
        as_written: Take floor-only times at their word: for the owner's own export only.
    """
    timed: list[TimedRecord] = []
    run_id = page.run_id
    for place in records:
        header = place.header
        if header.kind is Kind.RUN:
            run_id = run_id_of(page.ring_id, header.seq, header.index)
        if not header.flags & FLAG_FLOOR_ONLY:
            timed.append(TimedRecord(place, header.start_ns, False, ClockState.SYNCHRONISED, run_id))
            continue
        # FORMAT 7.8: a gap that began before its boot has no boot time.
        offset = offsets.get(page.boot_id) if header.boot_ns else None
        start = header.start_ns if as_written else None
        if offset is not None:
            start = UtcNs(header.boot_ns + offset)
        timed.append(TimedRecord(place, start, offset is not None, ClockState.FLOOR_ONLY, run_id))
    return timed


@dataclass(slots=True)
class Segment:
    """Unbroken footage of one run."""

    start_ns: int
    end_ns: int
    run_id: bytes


def add_segment(segments: list[Segment], record: TimedRecord) -> None:
    """Take a GOP record into the last segment, or begin another; time that goes back begins another too."""
    span = record.window
    if span is None or record.place.header.kind is not Kind.GOP:
        return
    last = segments[-1] if segments else None
    if (
        last is not None
        and last.run_id == record.run_id
        and last.end_ns - CONFLICT_TOLERANCE_NS <= span.start <= last.end_ns + CONTINUOUS_NS
    ):
        last.end_ns = max(last.end_ns, span.end)
    else:
        segments.append(Segment(span.start, span.end, record.run_id))


def find_conflicts(segments: list[Segment]) -> list[Window]:
    """Return the spans of UTC that more than one segment claims, beyond the tolerance; in order, disjoint."""
    found: list[Window] = []
    reach: Segment | None = None
    for segment in sorted(segments, key=lambda each: each.start_ns):
        if reach is not None:
            end = min(reach.end_ns, segment.end_ns)
            # FORMAT 7.8: two runs claim one time, and no byte tells which is right. Neither is
            # released.
            if end - segment.start_ns > CONFLICT_TOLERANCE_NS:
                found.append(Window(UtcNs(segment.start_ns), UtcNs(end)))
        if reach is None or segment.end_ns > reach.end_ns:
            reach = segment
    return merge_windows(found)


def merge_windows(windows: list[Window]) -> list[Window]:
    """Sort windows and join those that touch."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A stretch of a window: footage, or a gap and its reason."""

    window: Window
    kind: str
    """``footage`` or ``gap``."""
    reason: str | None = None
    """Of a gap: as recorded, or ``not-recorded``, ``overwritten``, ``erased``, ``damaged``, ``clock-conflict``."""
    run_id: bytes | None = None


def lay_out(window: Window, segments: list[Segment], conflicts: list[Window], gaps: list[TimeSpan]) -> list[TimeSpan]:
    """Tile a window with spans: conflicts first, then footage, then known gaps, then ``not-recorded``."""
    spans = [TimeSpan(conflict, "gap", "clock-conflict") for conflict in conflicts]
    for segment in sorted(segments, key=lambda each: each.start_ns):
        claimed = Window(UtcNs(segment.start_ns), UtcNs(segment.end_ns))
        spans += [
            TimeSpan(free, "footage", None, segment.run_id)
            for free in free_parts(claimed, (each.window for each in spans))
        ]
    for gap in gaps:
        spans += [TimeSpan(free, "gap", gap.reason) for free in free_parts(gap.window, (each.window for each in spans))]
    spans += [TimeSpan(free, "gap", "not-recorded") for free in free_parts(window, (each.window for each in spans))]
    inside = ((span, span.window.intersect(window)) for span in spans)
    tiles = [TimeSpan(cut, span.kind, span.reason, span.run_id) for span, cut in inside if cut is not None]
    return sorted(tiles, key=lambda span: span.window.start)


def free_parts(window: Window, taken: Iterable[Window]) -> list[Window]:
    """Return the parts of a window that none of the others cover."""
    free: list[Window] = []
    at = window.start
    for each in merge_windows([cut for other in taken if (cut := other.intersect(window)) is not None]):
        if at < each.start:
            free.append(Window(at, each.start))
        at = each.end
    if at < window.end:
        free.append(Window(at, window.end))
    return free

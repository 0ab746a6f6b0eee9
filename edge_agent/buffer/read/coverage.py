"""A ring at a glance: how much of every hour is footage, and why the rest is not.

Owns the hour cells of ``ring ls``. Header pages say enough about blocks without gaps; only a block
with a gap has its headers read, so that a full ring is shown in a second and not after a read of
every record.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from edge_agent.buffer.index import BlockEntry
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.read.timeline import CONTINUOUS_NS
from edge_agent.errors import RingError
from edge_agent.units import HOUR_NS, ClockState, UtcNs, Window


@dataclass(slots=True)
class HourCell:
    """One hour of UTC."""

    start_ns: UtcNs
    footage_ns: int = 0
    reasons: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Nanoseconds per reason of a gap."""


@dataclass(slots=True)
class Overview:
    """The content of a ring."""

    cells: dict[int, HourCell]
    """By the hour's start in nanoseconds."""
    oldest_ns: int | None
    newest_ns: int | None
    footage_ns: int
    blocks: int
    erased_blocks: int
    untimed_blocks: int
    """Opened while the clock was floor-only, in a boot that never synchronised: for the owner's export only."""


def look_over(reader: RingReader) -> Overview:
    """Sum a ring up by hours."""
    index = reader.index
    index.refresh()
    entries = index.entries()
    overview = Overview({}, None, None, 0, len(entries), 0, 0)
    for entry in entries:
        if entry.tombstone:
            overview.erased_blocks += 1
            if entry.span is not None:
                _spread(overview, entry.span, "erased")
        elif entry.span is not None and _is_unbroken(entry, entry.span):
            _spread(overview, entry.span, None)
        else:
            _look_closer(overview, reader, entry)
    return overview


def _is_unbroken(entry: BlockEntry, span: Window) -> bool:
    return entry.clock_state is ClockState.SYNCHRONISED and abs(span.duration_ns - entry.footage_ns) <= CONTINUOUS_NS


def _look_closer(overview: Overview, reader: RingReader, entry: BlockEntry) -> None:
    try:
        spans = reader.block_spans(entry.seq)
    # Swallowed: an overview shows the rest of the ring; `ring check` names the damage.
    except RingError:
        return
    if not spans and entry.clock_state is not ClockState.SYNCHRONISED:
        overview.untimed_blocks += 1
    for span in spans:
        _spread(overview, span.window, span.reason if span.kind == "gap" else None)


def _spread(overview: Overview, window: Window, reason: str | None) -> None:
    """Add a span to the hours that it touches; ``reason`` None means footage."""
    if reason is None:
        overview.footage_ns += window.duration_ns
        overview.oldest_ns = min(window.start, overview.oldest_ns if overview.oldest_ns is not None else window.start)
        overview.newest_ns = max(window.end, overview.newest_ns if overview.newest_ns is not None else window.end)
    hour = window.start - window.start % HOUR_NS
    while hour < window.end:
        cell = overview.cells.setdefault(hour, HourCell(UtcNs(hour)))
        part_ns = min(window.end, hour + HOUR_NS) - max(window.start, hour)
        if reason is None:
            cell.footage_ns += part_ns
        else:
            cell.reasons[reason] += part_ns
        hour += HOUR_NS

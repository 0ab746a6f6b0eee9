"""The recorded parts of the allowed windows, and their fate: delivered, or declared missing.

Owns the comparison of the headers in the chain with the clips and the gaps that the manifest declares. A header says
that footage was recorded, whatever became of it; why it is not delivered is the gateway's word. Pure.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.page import BlockEnd
from edge_agent.buffer.read.timeline import free_parts, merge_windows
from edge_agent.protocol.manifest import ExportManifest
from edge_agent.units import UtcNs, Window
from edge_agent.verifier.chain import Chain, RecordPlace
from edge_agent.verifier.opened_bundle import AnyManifest
from edge_agent.verifier.records import RecordShown

TOLERANCE_NS = 100_000_000
"""Gaps shorter than this between what was granted, delivered and declared missing are rounding."""
_OVERLAP_NS = 1_000_000_000
"""Of a record that is not delivered so much may lie under a clip beside it: a run's start is an estimate."""


@dataclass(frozen=True, slots=True)
class GrantedRecord:
    """A record of footage that touches an allowed window."""

    place: RecordPlace
    span: Window
    """As far as it lies inside the window."""
    clips: tuple[Window, ...]
    """Spans of the clips that hold pictures of it."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Footage that was recorded, and is declared missing."""

    span: Window
    reason: str
    """The gateway's word."""


def find_footage(manifest: AnyManifest, records: Sequence[RecordShown], chain: Chain) -> list[GrantedRecord]:
    """Return the footage inside the allowed windows that the chain knows, whether the bundle lists it or not."""
    clips = {clip.file: Window(clip.start, clip.end) for clip in manifest.clips}
    # Of a derivative nothing says which records it was made of.
    anywhere = merge_windows([clips[clip.file] for clip in manifest.clips if clip.derivative_of_sha256 is not None])
    listed = {record.place: record for record in records}
    found = []
    allowed = sorted(manifest.allowed)
    for place, link in chain.links.iter_from():
        claimed = chain.find_span(link, as_written=isinstance(manifest, ExportManifest))
        if link.kind is not Kind.GOP or claimed is None:
            continue
        record = listed.get(place)
        own = [clips[name] for name in record.clips if name in clips] if record else []
        for window in _find_touched(allowed, claimed):
            if (span := claimed.intersect(window)) is not None:
                found.append(GrantedRecord(place, span, (*own, *_find_touched(anywhere, span))))
    return found


def _find_touched(windows: Sequence[Window], span: Window) -> Sequence[Window]:
    """Return those that may touch a span, of windows that are in order and apart."""
    begin = bisect_right(windows, span.start, key=lambda window: window.end)
    return windows[begin : bisect_left(windows, span.end, begin, key=lambda window: window.start)]


def find_unspoken(footage: Sequence[GrantedRecord], gaps: Sequence[Window]) -> Iterator[RecordPlace]:
    """Yield the places of footage that is neither delivered nor lies in a declared gap."""
    apart = merge_windows(list(gaps))
    for each in footage:
        free = free_parts(each.span, (*each.clips, *_find_touched(apart, each.span)))
        rest = sum(part.duration_ns for part in free)
        if rest > TOLERANCE_NS and (rest > _OVERLAP_NS or rest == each.span.duration_ns):
            yield each.place


def find_undelivered(manifest: AnyManifest, footage: Sequence[GrantedRecord]) -> Iterator[Undelivered]:
    """Yield what was recorded and lies in a declared gap, in the order of the gaps."""
    left = merge_windows([part for each in footage for part in free_parts(each.span, each.clips)])
    for gap in manifest.gaps:
        window = Window(gap.start, gap.end)
        inside = [cut for part in _find_touched(left, window) if (cut := part.intersect(window)) is not None]
        yield from (Undelivered(span, gap.reason) for span in inside if span.duration_ns > TOLERANCE_NS)


def find_absent(chain: Chain, allowed: Sequence[Window]) -> Iterator[tuple[int, BlockEnd]]:
    """Yield the blocks that are not disclosed and of which the page after them says footage of an allowed window.

    Their span is of records of any kind: they need not hold footage inside it.
    """
    for page in chain.pages.values():
        end, block = page.previous, page.seq - 1
        if block in chain.blocks or page.previous_lost or not end.footage_ns or end.oldest_ns >= end.newest_ns:
            continue
        span = Window(UtcNs(end.oldest_ns), UtcNs(end.newest_ns))
        shared = (span.intersect(window) for window in allowed)
        if any(cut is not None and cut.duration_ns > TOLERANCE_NS for cut in shared):
            yield block, end

"""Still pictures for the owner: of a request that waits for an answer, or to draw a mask on. Never sent anywhere.

Owns the parent's side. The pictures are made in the clip child, which can open nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.media import commitments
from edge_agent.units import UtcNs, Window
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.cutter import ClipRecord, cut_clips

MAX_STILLS = 16


@dataclass(frozen=True, slots=True)
class StillPicture:
    """One picture."""

    at: UtcNs
    image: bytes = field(repr=False)


def take_stills(records: Iterable[StoredRecord], window: Window, count: int) -> tuple[StillPicture, ...]:
    """Take a keyframe out of each of ``count`` equal parts of a window, as JPEG of at most 640 pixels' width.

    ``records`` is read from a second thread. Fewer come back if there is no footage in a part, or it cannot be decoded.

    Args:
        records: The records that ``RingReader.read_own`` yields.
        window: From where.
        count: 1 to ``MAX_STILLS``.

    Raises:
        ClipError: The child crashed or hung.
    """
    if not 1 <= count <= MAX_STILLS:
        raise ValueError(f"1 to {MAX_STILLS} stills, not {count}")
    return _take(wire.Job((window,), stills=count, cpu_s=120), records)


def take_grid(
    records: Iterable[StoredRecord], window: Window, masks: Sequence[Sequence[tuple[int, int]]]
) -> tuple[StillPicture, ...]:
    """Take the last keyframe of a window, as PNG with a grid of thousandths and the outlines of masks.

    Empty if there is no footage or it cannot be decoded. ``records`` as for ``take_stills``.

    Raises:
        ClipError: The child crashed or hung.
    """
    polygons = tuple(tuple(mask) for mask in masks)
    job = wire.Job((window,), masks=polygons, grid=True, cpu_s=120, memory_bytes=4 << 30)
    return _take(job, records)


def _take(job: wire.Job, records: Iterable[StoredRecord]) -> tuple[StillPicture, ...]:
    messages = cut_clips(job, _records(records))
    return tuple(StillPicture(UtcNs(each.utc_ns), each.image) for each in messages if isinstance(each, wire.Still))


def _records(records: Iterable[StoredRecord]) -> Iterator[ClipRecord]:
    footage = (record for record in records if record.header.kind is Kind.GOP)
    for ref, record in enumerate(footage):
        salt, nut = commitments.open_payload(record.plaintext)
        yield ClipRecord(wire.RecordHead(ref, record.start_ns, "", salt), nut)

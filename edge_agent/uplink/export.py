"""The owner's own copy of own footage, as MP4: never a release.

Owns the way from an owner's verified order to plain MP4 bytes, through the same clip child as a release. The bytes go
where the caller says; nothing is encrypted, because the owner asked for it in the clear.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from edge_agent import media
from edge_agent.buffer.format import Kind
from edge_agent.buffer.reader import Loss, StoredRecord
from edge_agent.consent.verdict import ExportOrder
from edge_agent.units import SECOND_NS, UtcNs, Window
from edge_agent.uplink import clip_wire as wire
from edge_agent.uplink.bundle import LEAST_GAP_NS, CutClips, DeliveredGap, RunBreaks, encode_code
from edge_agent.uplink.clip import ClipRecord, cut_clips
from edge_agent.uplink.evidence import find_gaps, read_note


class OwnFootage(Protocol):
    """The reading side of a ring, for its owner."""

    def read_own(self, order: ExportOrder, *, on_loss: Callable[[Loss], None] | None = None) -> Iterator[StoredRecord]:
        """Decrypt what the order names."""


@dataclass(frozen=True, slots=True)
class ExportedClip:
    """One MP4 of an export: an unbroken run of pictures."""

    window: Window
    size: int
    sound: bool


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """What was written, in order, and what of the window is missing."""

    clips: tuple[ExportedClip, ...]
    gaps: tuple[DeliveredGap, ...]


def export_footage(
    reader: OwnFootage,
    order: ExportOrder,
    out: IO[bytes],
    *,
    on_progress: Callable[[UtcNs], None] | None = None,
    cut: CutClips = cut_clips,
) -> ExportInfo:
    """Write the footage of an order to ``out``, one MP4 behind the other; their sizes say where each begins.

    ``reader`` is used from a second thread while this runs. A window begins with its first keyframe, as a release does.

    Raises:
        ClipError: The clip could not be made.
        RingError: The ring could not be read.
        OSError: ``out`` could not be written.
    """
    source = _Source(reader, order, on_progress)
    job = wire.Job((order.window,), audio=True, cpu_s=120 + order.window.duration_ns // SECOND_NS // 4)
    clips: list[ExportedClip] = []
    ended: list[tuple[int, int, str]] = []
    size = 0
    for message in cut(job, source.records()):
        if isinstance(message, bytes):
            out.write(message)
            size += len(message)
        elif isinstance(message, wire.RunEnd):
            window = Window(UtcNs(message.start_ns), UtcNs(message.end_ns))
            clips.append(ExportedClip(window, size, sound=len(message.offsets) > 1))
            ended.append((message.start_ns, message.end_ns, encode_code(message.reason)))
            size = 0
    granted = [(order.window.start, order.window.end)]
    gaps = find_gaps(granted, ended, source.missing, source.footage, LEAST_GAP_NS)
    return ExportInfo(tuple(clips), tuple(DeliveredGap(UtcNs(start), UtcNs(end), why) for start, end, why in gaps))


class _Source:
    """Reads the ring for the child, and takes down what is missing."""

    def __init__(self, reader: OwnFootage, order: ExportOrder, on_progress: Callable[[UtcNs], None] | None) -> None:
        self._reader, self._order, self._on_progress = reader, order, on_progress
        self.missing: list[tuple[int, int, str]] = []
        self.footage: list[tuple[int, int, str]] = []

    def records(self) -> Iterator[ClipRecord]:
        """Yield records of footage with the breaks between them."""
        breaks, ref = RunBreaks(), 0
        for record in self._reader.read_own(self._order, on_loss=self._note_loss):
            reason = breaks.step(record)
            end_ns = UtcNs(record.start_ns + record.header.duration_ns)
            if record.header.kind is Kind.GOP:
                salt, nut = media.open_payload(record.plaintext)
                yield ClipRecord(wire.RecordHead(ref, record.start_ns, reason, salt), nut)
                ref += 1
                self.footage.append((record.start_ns, end_ns, ""))
            elif record.header.kind is Kind.GAP:
                why = str(read_note(record).get("reason", "gap"))
                self.missing.append((record.start_ns, end_ns, encode_code(why)))
            if self._on_progress is not None:
                self._on_progress(end_ns)

    def _note_loss(self, loss: Loss) -> None:
        if loss.window is not None:
            self.missing.append((loss.window.start, loss.window.end, encode_code(loss.reason)))

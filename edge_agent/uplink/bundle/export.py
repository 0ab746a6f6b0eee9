"""The owner's own copy of own footage: never a release.

Owns the way from an owner's verified order to plain MP4 bytes, through the same clip child as a release, and the thread
in which an export of either kind is made. The bytes go where the caller says; MP4 is not encrypted, because the owner
asked for it in the clear.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.losses import Loss
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.errors import EdgeAgentError
from edge_agent.host.unnamed_file import explain
from edge_agent.ledger.owner_kinds import ExportEntry
from edge_agent.media import commitments
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import SECOND_NS, UtcNs, Window, encode_rfc3339
from edge_agent.uplink.bundle.evidence import find_gaps, read_note
from edge_agent.uplink.bundle.rings import NotRecordedError
from edge_agent.uplink.bundle.writer import LEAST_GAP_NS, BundleInfo, CutClips, DeliveredGap, RunBreaks, encode_code
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.cutter import ClipRecord, cut_clips

log = logging.getLogger(__name__)

_BUFFER_BYTES = 1 << 20


class ExportError(EdgeAgentError):
    """The export does not get on, or no caller waits for it."""

    exit_code = os.EX_IOERR


class NoFootageError(EdgeAgentError):
    """There is nothing to export; the message says why."""

    exit_code = os.EX_NOINPUT


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
    """The written files, in order, and the missing parts of the window."""

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
    job = wire.Job((order.window,), audio=True, evidence=False, cpu_s=120 + order.window.duration_ns // SECOND_NS // 4)
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
        self._breaks = RunBreaks()
        self.missing: list[tuple[int, int, str]] = []
        self.footage: list[tuple[int, int, str]] = []

    def records(self) -> Iterator[ClipRecord]:
        """Yield records of footage with the breaks between them."""
        ref = 0
        for record in self._reader.read_own(self._order, on_loss=self._note_loss):
            reason = self._breaks.step(record)
            end_ns = UtcNs(record.start_ns + record.header.duration_ns)
            if record.header.kind is Kind.GOP:
                salt, nut = commitments.open_payload(record.plaintext)
                yield ClipRecord(wire.RecordHead(ref, record.start_ns, reason, salt), nut)
                ref += 1
                self.footage.append((record.start_ns, end_ns, ""))
            elif record.header.kind is Kind.GAP:
                why = str(read_note(record).get("reason", "gap"))
                self.missing.append((record.start_ns, end_ns, encode_code(why)))
            if self._on_progress is not None:
                self._on_progress(end_ns)

    def _note_loss(self, loss: Loss) -> None:
        self._breaks.lose(loss)
        if loss.window is not None:
            self.missing.append((loss.window.start, loss.window.end, encode_code(loss.reason)))


Write = Callable[[IO[bytes], Callable[[UtcNs], None]], Mapping[str, Any]]
"""Carries out an order: writes, tells up to which UTC it has read, and returns what it has to say."""


class ExportJob:
    """One export in a thread of its own, so that a waiting caller can be told how far it is, and can give up.

    Args:
        order: The ordered footage.
        write: Carries it out.
        descriptor: Of the owner's file; closed at the end.
        on_end: Called when the thread has let go of everything.
    """

    def __init__(self, order: ExportOrder, write: Write, descriptor: int, on_end: Callable[[], None]) -> None:
        self._order, self._write, self._on_end = order, write, on_end
        self._descriptor = descriptor
        self._until: int = order.window.start
        self._written = 0
        self._stop, self._done = threading.Event(), threading.Event()
        self._result: Mapping[str, Any] | EdgeAgentError = ExportError("export did not end")
        # A daemon: if the owner's disk does not answer, it must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="export", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more: no caller waits for it."""
        self._stop.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is done; False if that takes longer."""
        return self._done.wait(timeout_s)

    @property
    def moved(self) -> tuple[int, int]:
        """A number that changes as long as there is progress."""
        return self._until, self._written

    @property
    def permille(self) -> int:
        """How much of the window was read."""
        window = self._order.window
        return min(999, max(0, (self._until - window.start) * 1000 // window.duration_ns))

    def result(self) -> Mapping[str, Any]:
        """Return what it had to say; raise what went wrong."""
        if isinstance(self._result, EdgeAgentError):
            raise self._result
        return self._result

    def write(self, data: bytes) -> int:
        """Take bytes for the owner's file, as a file does."""
        if self._stop.is_set():
            raise ExportError("nobody waits for this export any more")
        self._file.write(data)
        self._written += len(data)
        return len(data)

    def _tell(self, until: UtcNs) -> None:
        # Times as written go back if the clock did.
        self._until = max(self._until, until)

    def _run(self) -> None:
        try:
            with os.fdopen(self._descriptor, "wb", buffering=_BUFFER_BYTES) as self._file:
                self._result = self._write(cast("IO[bytes]", self), self._tell)
        except NotRecordedError as error:
            hint = "it is recorded in the other --quality" if error.code == "quality-not-recorded" else ""
            self._result = NoFootageError(str(error), hint)
        except EdgeAgentError as error:
            self._result = error
        except OSError as error:
            self._result = explain(error)
        except Exception as error:
            log.exception("export failed")
            self._result = ExportError(f"export failed: {type(error).__name__}")
        # In this order: a caller that waits finds the ring let go of.
        finally:
            self._on_end()
            self._done.set()


def describe_order(order: ExportOrder, raw: bytes, what: str) -> ExportEntry:
    """Return the ledger's entry of an order; of one for a bundle, it names who can open it."""
    is_bundle = order.recipients is not None
    return ExportEntry(
        what=what,
        camera=order.camera,
        quality=order.quality.value,
        window=order.window,
        order_id=order.order_id,
        order_sha256=hashlib.sha256(raw).digest() if is_bundle else None,
        recipients=order.recipients,
    )


def describe_export(order: ExportOrder, info: ExportInfo) -> Mapping[str, Any]:
    """Say which MP4 files stand one behind the other; NoFootageError if there is none."""
    _demand_footage(order, bool(info.clips), info.gaps)
    files = [{"window": _span(clip.window), "size": clip.size, "sound": clip.sound} for clip in info.clips]
    return {"files": files, "gaps": _gaps(info.gaps)}


def describe_bundle(order: ExportOrder, info: BundleInfo) -> Mapping[str, Any]:
    """Describe a bundle's content; NoFootageError if there is no picture."""
    _demand_footage(order, info.has_footage, info.gaps)
    return {
        "sha256": info.sha256.hex(),
        "size": info.size,
        "delivered": [_span(window) for window in info.delivered],
        "gaps": _gaps(info.gaps),
    }


def _demand_footage(order: ExportOrder, has_footage: bool, gaps: Sequence[DeliveredGap]) -> None:
    if not has_footage:
        why = ", ".join(sorted({gap.reason for gap in gaps})) or "no-footage"
        raise NoFootageError(
            f"there is no footage of {order.camera} ({order.quality.value}) in this span: {why}",
            "`edge-agent ring ls` shows what is recorded",
        )


def _gaps(gaps: Sequence[DeliveredGap]) -> list[dict[str, str]]:
    return [{**_span(Window(gap.start, gap.end)), "reason": gap.reason} for gap in gaps]


def _span(window: Window) -> dict[str, str]:
    return {"start": encode_rfc3339(window.start), "end": encode_rfc3339(window.end)}

"""A bundle: one camera's clips and everything that a stranger needs to judge them, sealed, in one pass.

Owns the order of the parts, the manifest's contents, and the breaks between runs. Plaintext exists only on its way
through memory: ring → clip child → ZIP → age → ``out``. Reads no clock, decides nothing: the mandate does.
"""

import json
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import IO, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.losses import Loss
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.custody.keys import Custody
from edge_agent.host.write_behind import WriteBehind
from edge_agent.media import commitments
from edge_agent.protocol import manifest as names
from edge_agent.protocol.age_stream import seal_stream
from edge_agent.protocol.manifest import sign_manifest
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import SECOND_NS, UtcNs, Window, encode_rfc3339
from edge_agent.uplink.bundle.evidence import EvidenceBook, block_line, find_gaps
from edge_agent.uplink.bundle.mandate import FootageReader, Mandate, encode_span
from edge_agent.uplink.bundle.readme import write_readme
from edge_agent.uplink.bundle.zip_stream import Stored, ZipStream
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.cutter import ClipError, ClipRecord, cut_clips

log = logging.getLogger(__name__)

JUMP_NS = 1_000_000_000
"""Records of one run whose starts lie further apart than this, beyond their durations, are not one piece of time."""
LEAST_GAP_NS = 50_000_000
_NOT_CODE = re.compile(r"[^a-z0-9-]+")

CutClips = Callable[[wire.Job, Iterator[ClipRecord]], Iterator[bytes | wire.ClipEvent]]


@dataclass(frozen=True, slots=True)
class BundleRecipient:
    """The recipients of a bundle."""

    role: Literal["evidence", "escrow", "owner", "named"]
    age: str


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """The facts of a bundle that are neither in its mandate nor in the ring."""

    gateway: str
    made_at: UtcNs
    version: str
    build_sha256: bytes
    custody: Custody
    camera_name: str
    ring_id: bytes
    health: Mapping[str, str | int | bool | None]
    """Of the camera, from the recorder's status: state, since when, what is wrong."""
    ledger_proof: Mapping[str, object]
    """Of the entry of the grant, or of the owner's order, as ``ledger.prove`` returns it."""
    recipients: tuple[BundleRecipient, ...]
    recorder_public: Ed25519PublicKey
    gateway_key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeliveredGap:
    """A part of the granted windows that is not in the bundle."""

    start: UtcNs
    end: UtcNs
    reason: str


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """The result: of the payload as written, and its content."""

    sha256: bytes
    size: int
    age_header: bytes = field(repr=False)
    delivered: tuple[Window, ...]
    gaps: tuple[DeliveredGap, ...]
    manifest_sha256: bytes
    clips: int

    @property
    def has_footage(self) -> bool:
        """Tell whether there is any picture in it."""
        return bool(self.delivered)


def build(
    mandate: Mandate,
    reader: FootageReader,
    facts: BundleFacts,
    out: IO[bytes],
    *,
    on_progress: Callable[[UtcNs], None] | None = None,
    cut: CutClips = cut_clips,
) -> BundleInfo:
    """Build one camera's bundle and write its age payload.

    Under a grant the age header is returned and goes nowhere; under the owner's order it goes to ``out`` as well.

    ``reader`` is used from a second thread while this runs, and from no other.

    Args:
        mandate: The grant or order, and the parts that the bundle may hold.
        reader: Of the camera's ring in that quality, or of its excerpt.
        facts: Everything else that the manifest says.
        out: Takes the payload: a staging file, or the owner's own.
        on_progress: Told the UTC up to which the footage was read.
        cut: Makes the clips; a test may put something else there.

    Raises:
        ClipError: The clip could not be made.
        RingError: The ring could not be read.
        OSError: ``out`` could not be written.
    """
    assembly = _Assembly(mandate, reader, facts, on_progress, cut)
    # An error in `out` ends the clip child now, not at some collection.
    with closing(assembly.pieces()) as pieces, WriteBehind(out) as behind:
        recipients = [each.age for each in facts.recipients]
        header = seal_stream(pieces, recipients, behind, header_inside=mandate.has_header_inside)
    return BundleInfo(
        sha256=behind.sha256,
        size=behind.size,
        age_header=header,
        delivered=tuple(Window(UtcNs(start), UtcNs(end)) for start, end, _ in assembly.delivered),
        gaps=tuple(DeliveredGap(UtcNs(start), UtcNs(end), reason) for start, end, reason in assembly.gaps),
        manifest_sha256=assembly.zip.stored[-1].sha256,
        clips=len(assembly.clips),
    )


@dataclass(frozen=True, slots=True)
class _Clip:
    stored: Stored
    start: wire.RunStart
    end: wire.RunEnd


class _Assembly:
    """The bundle while it is made."""

    def __init__(
        self,
        mandate: Mandate,
        reader: FootageReader,
        facts: BundleFacts,
        on_progress: Callable[[UtcNs], None] | None,
        cut: CutClips,
    ) -> None:
        self._mandate, self._scope, self._reader, self._facts = mandate, mandate.scope, reader, facts
        self._on_progress, self._cut = on_progress, cut
        self._book = EvidenceBook()
        self._breaks = RunBreaks()
        self._losses: list[tuple[int, int, str]] = []
        self.zip = ZipStream(facts.made_at)
        self.clips: list[_Clip] = []
        self.delivered: list[tuple[int, int, str]] = []
        self.gaps: list[tuple[int, int, str]] = []

    def pieces(self) -> Generator[bytes, None, None]:
        """Make the ZIP, in the order in which its parts become known."""
        for name, paper in self._mandate.papers:
            yield from self.zip.add(name, [paper])
        yield from self._clip_pieces()
        yield from self.zip.add(names.RECORDS, self._book.lines())
        yield from self.zip.add(names.BLOCKS, map(block_line, self._mandate.read_evidence(self._reader)))
        proof = json.dumps(self._facts.ledger_proof, sort_keys=True, ensure_ascii=False).encode()
        yield from self.zip.add(names.LEDGER, [proof])
        # What is delivered is known only after the last record: README and manifest come last, and the manifest lists
        # every other file.
        self._settle()
        members = self._members()
        yield from self.zip.add(names.README, [write_readme(members).encode()])
        members["files"] = [
            {"name": each.name, "sha256": each.sha256.hex(), "bytes": each.size} for each in self.zip.stored
        ]
        yield from self.zip.add(names.MANIFEST, [sign_manifest(members, self._facts.gateway_key, self._mandate.typ)])
        self.zip.close()
        yield self.zip.take()

    def _clip_pieces(self) -> Iterator[bytes]:
        masks = tuple(mask.points for mask in self._scope.masks)
        seconds = sum(window.duration_ns for window in self._scope.windows) // SECOND_NS
        job = wire.Job(
            self._scope.windows,
            audio=self._scope.audio,
            masks=masks,
            # Copying costs 0.1 s of CPU per minute; encoding anew up to four times real time on a Pi.
            cpu_s=120 + int(seconds * (8 if masks else 0.25)),
            memory_bytes=(4 if masks else 1) << 30,
        )
        start: wire.RunStart | None = None
        for message in self._cut(job, self._records()):
            if isinstance(message, bytes):
                self.zip.write(message)
                yield self.zip.take()
            elif isinstance(message, wire.RunStart):
                if len(self.clips) == names.MAX_CLIPS:
                    raise ClipError(f"footage is in more pieces than a bundle holds: clips={names.MAX_CLIPS}")
                start = message
                self.zip.begin(self._clip_name)
            elif isinstance(message, wire.RunEnd) and start is not None:
                self.clips.append(_Clip(self.zip.end(), start, message))
            else:
                self._take_down(message)

    @property
    def _clip_name(self) -> str:
        return names.clip_name(len(self.clips) + 1)

    def _take_down(self, event: wire.ClipEvent) -> None:
        if isinstance(event, wire.RecordSeen):
            if not self._book.see(event):
                log.error("record is not what was committed to: camera=%s ref=%d", self._scope.camera, event.ref)
        elif isinstance(event, wire.Delivered):
            self._book.deliver(self._clip_name, event)
        elif isinstance(event, wire.Unreadable):
            log.error("record holds no readable footage: camera=%s ref=%d", self._scope.camera, event.ref)

    def _records(self) -> Iterator[ClipRecord]:
        """Read the ring, take down what was read, and tell the child where one run ends and another begins."""
        for record in self._mandate.read(self._reader, self._note_loss):
            reason = self._breaks.step(record)
            if record.header.kind is not Kind.GOP:
                self._book.add(record, b"")
                continue
            salt, nut = commitments.open_payload(record.plaintext)
            ref = self._book.add(record, salt)
            yield ClipRecord(wire.RecordHead(ref, record.start_ns, reason, salt), nut)
            if self._on_progress is not None:
                self._on_progress(UtcNs(record.start_ns + record.header.duration_ns))

    def _note_loss(self, loss: Loss) -> None:
        self._breaks.lose(loss)
        for window in [loss.window] if loss.window else []:
            self._losses.append((window.start, window.end, loss.reason))

    def _settle(self) -> None:
        """Work out the delivered and the missing windows."""
        granted = [(window.start, window.end) for window in self._scope.windows]
        for clip in self.clips:
            spans = [
                (max(clip.end.start_ns, start), min(clip.end.end_ns, end), clip.end.reason) for start, end in granted
            ]
            self.delivered += [span for span in spans if span[0] < span[1]]
        known = [(a, b, encode_code(why)) for a, b, why in [*self._losses, *self._book.spans(Kind.GAP)]]
        ended = [(a, b, encode_code(why)) for a, b, why in self.delivered]
        gaps = find_gaps(granted, ended, known, self._book.spans(Kind.GOP), least_ns=1)
        self.gaps = [gap for gap in gaps if self._is_told(*gap)][: names.MAX_GAPS]

    def _is_told(self, start: int, end: int, _reason: str) -> bool:
        """Tell whether a gap is more than rounding: of footage that was recorded and is lost, however short it is."""
        return end - start >= LEAST_GAP_NS or any(start < until and begin < end for begin, until, _ in self._losses)

    def _members(self) -> dict[str, object]:
        facts, scope, claims = self._facts, self._scope, self._mandate.claims()
        offsets = self._book.clock_offsets()
        return {
            "manifest": names.VERSION,
            "gateway": facts.gateway,
            "made_at": encode_rfc3339(facts.made_at),
            "software": {"name": "edge-agent", "version": facts.version, "build_sha256": facts.build_sha256.hex()},
            "custody": facts.custody,
            **claims.own,
            "camera": {
                "id": scope.camera,
                "name": facts.camera_name,
                "quality": scope.quality.value,
                "ring": facts.ring_id.hex(),
                "recorder": thumbprint(facts.recorder_public),
                "health": {name: each[:200] if isinstance(each, str) else each for name, each in facts.health.items()},
                **claims.camera,
            },
            "windows": {
                "delivered": [encode_span(start, end) for start, end, _ in self.delivered],
                **claims.windows,
            },
            "gaps": [encode_span(start, end) | {"reason": reason} for start, end, reason in self.gaps],
            "clips": [_clip_members(clip) for clip in self.clips],
            "clocks": {
                "states": self._book.clock_states,
                "rebased": self._book.is_rebased,
                "rtcp_offset_min_ns": min(offsets, default=None),
                "rtcp_offset_max_ns": max(offsets, default=None),
            },
            "recipients": [{"role": each.role, "age": each.age} for each in facts.recipients],
        }


class RunBreaks:
    """Tells where footage stops being one piece: the next record then needs a clip of its own."""

    def __init__(self) -> None:
        self._last: StoredRecord | None = None
        self._pending = ""

    def lose(self, loss: Loss) -> None:
        """Take note of footage that cannot be had between the record before and the next."""
        self._pending = loss.reason

    def step(self, record: StoredRecord) -> str:
        """Return why this record does not continue the last GOP; empty if it does, or if it is no GOP."""
        kind = record.header.kind
        if kind is not Kind.GOP:
            if kind in (Kind.GAP, Kind.RUN):
                self._pending = self._pending or ("gap" if kind is Kind.GAP else "new-run")
            return ""
        last, self._last = self._last, record
        pending, self._pending = self._pending, ""
        if last is None:
            return ""
        if pending:
            return pending
        if record.run_id != last.run_id or record.boot_id != last.boot_id:
            return "new-run"
        if record.clock_state is not last.clock_state or record.rebased != last.rebased:
            return "clock-changed"
        # No other part tells of a block of this run of which not even the header page can be read.
        is_block_missing = record.seq > last.seq + 1
        if is_block_missing or abs(record.start_ns - last.start_ns - last.header.duration_ns) > JUMP_NS:
            return "footage-missing"
        return ""


def encode_code(reason: str) -> str:
    """Write a reason that came from a record as a code of the manifest."""
    text = _NOT_CODE.sub("-", reason.lower()).strip("-")[:48]
    return text if text[:1].isalpha() else "gap"


def _clip_members(clip: _Clip) -> dict[str, object]:
    start, end = clip.start, clip.end
    sound = "none"
    if len(end.offsets) > 1:
        sound = "coded-anew" if end.audio_coded else "as-recorded"
    return {
        "file": clip.stored.name,
        **encode_span(end.start_ns, end.end_ns),
        "codec": start.codec,
        "width": start.width,
        "height": start.height,
        "ended": encode_code(end.reason),
        "sound": sound,
        "offsets": [{"track": track, "ticks": ticks} for track, ticks in end.offsets],
        "derivative_of_sha256": end.master_sha256.hex() if end.master_sha256 else None,
    }

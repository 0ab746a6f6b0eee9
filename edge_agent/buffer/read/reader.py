"""The releaser's side of a ring: find, read back, prove. Opens files read-only, beside a writer, without locks.

Owns the only way to decrypt for release: ``read`` takes a ``Grant``. Must never hand out bytes whose tag, digest and
place were not checked, nor anything of a block whose page changed meanwhile.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.buffer.block_scan import Damage, Located, read_body
from edge_agent.buffer.crypt import BlockCipher
from edge_agent.buffer.disk import Disk, FileDisk
from edge_agent.buffer.format.constants import ZERO_DIGEST, Kind
from edge_agent.buffer.format.page import Page, parse_page
from edge_agent.buffer.format.record import RecordHeader, next_chain, record_digest
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.index import RingIndex
from edge_agent.buffer.read.live_block import BlockReader, LoadedBlock
from edge_agent.buffer.read.timeline import (
    Segment,
    Span,
    TimedRecord,
    add_segment,
    find_conflicts,
    lay_out,
    time_records,
)
from edge_agent.buffer.ring import read_superblock
from edge_agent.errors import IntegrityError, OverwrittenError, RingError
from edge_agent.protocol.verdict import CameraGrant, ExportOrder, Grant
from edge_agent.units import ClockState, UtcNs, Window

log = logging.getLogger(__name__)

_FAR = 1 << 62
_MAX_REASON_CHARS = 64
_ALL_TIME = Window(UtcNs(-_FAR), UtcNs(_FAR))


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record read back: checked, decrypted, and with what a proof of it needs."""

    ring_id: bytes
    seq: int
    index: int
    header: RecordHeader
    header_bytes: bytes
    body_sha256: bytes
    clock_state: ClockState
    boot_id: bytes
    run_id: bytes
    start_ns: UtcNs
    """The time that counts: as written, or rebased on boot time where the clock was floor-only."""
    rebased: bool
    attested: bool
    """A later header page signs the end of this block: signed at the time of recording, not by the gateway alone."""
    plaintext: bytes


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of a window that cannot be had: it becomes a declared gap."""

    seq: int
    index: int | None
    window: Window | None
    reason: str
    """``overwritten``, ``erased``, ``damaged``, ``unreadable``, ``clock-conflict`` or ``source-changed``."""


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """What a stranger needs of one record to walk the chain."""

    header_bytes: bytes
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class BlockEvidence:
    """A block without its footage: pages as they lie on the disk, and every record's header and body digest."""

    seq: int
    page_bytes: bytes
    next_page_bytes: bytes | None
    """Signs the end of the block; None while the block is open: then only the gateway attests it."""
    records: tuple[EvidenceRecord, ...]


class RingReader:
    """Reads one ring. Make it with ``open``; one thread at a time."""

    def __init__(
        self, disk: Disk, vault_private: X25519PrivateKey | None, recorder_public: Ed25519PublicKey | None = None
    ) -> None:
        self._disk, self._vault = disk, vault_private
        self._superblock = read_superblock(disk).superblock
        self._recorder = recorder_public or Ed25519PublicKey.from_public_bytes(self._superblock.recorder_public)
        self._index = RingIndex(disk, self._superblock)
        self._index.load()
        self._blocks = BlockReader(self._index, self._recorder)

    @classmethod
    def open(
        cls, path: Path, vault_private: X25519PrivateKey | None, recorder_public: Ed25519PublicKey | None = None
    ) -> Self:
        """Open a ring read-only.

        Args:
            path: The ring file, or an excerpt of one.
            vault_private: Opens footage and the reasons of gaps; None reads headers only.
            recorder_public: The pinned key of the recorder; None believes the one in the superblock.

        Raises:
            UnsupportedVersionError: A newer program wrote it.
            RingError: It cannot be opened or is no ring.
        """
        disk = FileDisk.open(path)
        try:
            return cls(disk, vault_private, recorder_public)
        except BaseException:
            disk.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._disk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def superblock(self) -> Superblock:
        """The ring's ids and geometry."""
        return self._superblock

    @property
    def index(self) -> RingIndex:
        """The blocks as the header pages tell them; ``refresh`` brings it up to date."""
        return self._index

    @property
    def disk(self) -> Disk:
        """The file underneath, for copies of ciphertext."""
        return self._disk

    def find_blocks(self, windows: Sequence[Window]) -> list[int]:
        """Return the blocks that may hold anything of the windows, oldest first."""
        self._index.refresh()
        return self._blocks.find_blocks(windows, self._blocks.boot_offsets())

    def find_notes(self, windows: Sequence[Window]) -> list[int]:
        """Return the blocks that hold the last note about the clocks before each window."""
        self._index.refresh()
        return sorted({seq for seq, _ in self._blocks.find_notes(windows, self._blocks.boot_offsets())})

    def find_witnesses(self, seqs: Sequence[int]) -> list[int]:
        """Return the blocks without which these have no time: a copy of floor-only blocks needs them too."""
        return self._blocks.find_witnesses(seqs)

    def pages(self) -> Iterator[Page]:
        """Yield the readable header pages, oldest block first."""
        self._index.refresh()
        for entry in self._index.entries():
            try:
                yield parse_page(self._index.read_page(entry.seq))
            except IntegrityError:
                continue

    def head(self) -> tuple[int, bytes]:
        """Return the newest block's number and the chain value behind its last synced record: for the ledger.

        What is not synced yet a power cut may take away: a head that counted it would look like a rollback.
        """
        self._index.refresh()
        newest = self._index.newest_seq
        if newest == 0:
            return 0, b""
        scan = self._blocks.load(newest).scan
        return newest, next(
            (each.chain for each in reversed(scan.records) if each.header.index < scan.durable), scan.start
        )

    def read(
        self, grant: Grant, camera: str, *, on_loss: Callable[[Loss], None] | None = None
    ) -> Iterator[StoredRecord]:
        """Decrypt what a grant allows of one camera, in the order in which it was recorded.

        Yields records of every kind that touch a granted window, and before each window the last note about the clocks;
        cutting at access units is the clip's work. A block of a source that the consent did not name is not decrypted
        (FORMAT 3.5): it is told as a loss.

        Args:
            grant: The verdict; nothing else opens footage.
            camera: The camera's id; the ring must be its ring, in the granted quality.
            on_loss: Told of everything that cannot be had. None raises at the first loss.

        Raises:
            TypeError: It is no grant.
            RingError: The grant is not for this ring.
            OverwrittenError: Something was overwritten or erased, and ``on_loss`` is None.
            IntegrityError: Something is damaged, in conflict or unreadable, and ``on_loss`` is None.
        """
        granted = self._granted(grant, camera)
        return self._read_windows(granted.windows, on_loss, granted.source)

    def read_own(self, order: ExportOrder, *, on_loss: Callable[[Loss], None] | None = None) -> Iterator[StoredRecord]:
        """Decrypt the owner's own footage for an export, floor-only times as written and conflicts included."""
        return self._read_windows(self._ordered(order), on_loss, None)

    def evidence(self, grant: Grant, camera: str) -> Iterator[BlockEvidence]:
        """Yield what proves the granted records: the blocks that hold them, without their footage."""
        granted = self._granted(grant, camera)
        return self._evidence(granted.windows, granted.source)

    def evidence_own(self, order: ExportOrder) -> Iterator[BlockEvidence]:
        """Yield what proves the records of an export, as ``evidence`` does of a release."""
        return self._evidence(self._ordered(order), None)

    def _evidence(self, windows: Sequence[Window], source: bytes | None) -> Iterator[BlockEvidence]:
        as_written = source is None
        self._index.refresh()
        offsets = self._blocks.boot_offsets()
        for seq in self._blocks.find_blocks(windows, offsets, as_written=as_written):
            try:
                block = self._blocks.load(seq)
            except RingError:
                continue
            if not _is_of(source, block.page.source):
                continue
            timed = time_records(block.page, block.scan.records, offsets, as_written=as_written)
            if any(record.matches(windows) and record.place.header.kind is Kind.GOP for record in timed):
                yield self._evidence_of(block)

    def coverage(self, window: Window) -> list[Span]:
        """Tile a window with footage and gaps. Headers only; reasons of gaps need the vault key."""
        self._index.refresh()
        offsets = self._blocks.boot_offsets()
        segments: list[Segment] = []
        gaps: list[Span] = []
        for seq in self._blocks.find_blocks((window,), offsets, tombstones=True):
            entry = self._index.find(seq)
            if entry is not None and entry.tombstone:
                _note_gap(gaps, entry.span, "erased")
                continue
            try:
                block = self._blocks.load(seq)
            except RingError as error:
                reason = "overwritten" if isinstance(error, OverwrittenError) else "damaged"
                _note_gap(gaps, entry.span if entry else None, reason)
                continue
            self._cover(block, window, offsets, segments, gaps)
        return lay_out(window, segments, find_conflicts(segments), gaps)

    def block_spans(self, seq: int) -> list[Span]:
        """Return footage and recorded gaps of one block, in order; OverwrittenError where it is gone."""
        block = self._blocks.load(seq)
        segments: list[Segment] = []
        gaps: list[Span] = []
        self._cover(block, _ALL_TIME, self._blocks.boot_offsets(), segments, gaps)
        footage = [
            Span(Window(UtcNs(each.start_ns), UtcNs(each.end_ns)), "footage", None, each.run_id) for each in segments
        ]
        return sorted(footage + gaps, key=lambda span: span.window.start)

    def _granted(self, grant: Grant, camera: str) -> CameraGrant:
        # An Ask looks alike: only the type says that it was granted.
        if not isinstance(grant, Grant):
            raise TypeError("footage is opened by a grant alone")
        granted = next((each for each in grant.cameras if each.camera == camera), None)
        if granted is None:
            raise RingError(f"camera is not in the grant: camera={camera}")
        self._check_camera(camera, granted.quality.value)
        return granted

    def _ordered(self, order: ExportOrder) -> tuple[Window, ...]:
        if not isinstance(order, ExportOrder):
            raise TypeError("an export needs the owner's order")
        self._check_camera(order.camera, order.quality.value)
        return (order.window,)

    def _check_camera(self, camera: str, quality: str) -> None:
        if (self._superblock.camera, self._superblock.quality) != (camera, quality):
            raise RingError(
                f"ring belongs to another camera: ring={self._superblock.camera}.{self._superblock.quality}"
                f" asked={camera}.{quality}"
            )

    def _read_windows(
        self, windows: Sequence[Window], on_loss: Callable[[Loss], None] | None, source: bytes | None
    ) -> Iterator[StoredRecord]:
        """Read the windows of one source; None is the owner's own export, of every source and with times as written."""
        as_written = source is None
        if self._vault is None:
            raise RingError(f"ring was opened without the vault key: ring={self._disk.name}")
        tell = on_loss or _raise_loss
        self._index.refresh()
        offsets = self._blocks.boot_offsets()
        seqs = self._blocks.find_blocks(windows, offsets, as_written=as_written)
        conflicts = [] if as_written else self._find_conflicts(seqs, windows, offsets)
        notes = self._blocks.find_notes(windows, offsets, as_written=as_written)
        for seq in sorted({*seqs, *(seq for seq, _ in notes)}):
            also = {index for block, index in notes if block == seq}
            told = tell if seq in seqs else _pass_over
            yield from self._read_block(seq, windows, offsets, conflicts, told, also, source)

    def _find_conflicts(
        self, seqs: Sequence[int], windows: Sequence[Window], offsets: dict[bytes, int]
    ) -> list[Window]:
        segments: list[Segment] = []
        for seq in seqs:
            try:
                block = self._blocks.load(seq)
            except RingError:
                continue
            for record in time_records(block.page, block.scan.records, offsets):
                if record.matches(windows):
                    add_segment(segments, record)
        return find_conflicts(segments)

    def _read_block(
        self,
        seq: int,
        windows: Sequence[Window],
        offsets: dict[bytes, int],
        conflicts: Sequence[Window],
        tell: Callable[[Loss], None],
        also: Collection[int],
        source: bytes | None,
    ) -> Iterator[StoredRecord]:
        """Decrypt the records of a block that touch the windows, and those of the indexes ``also``."""
        as_written = source is None
        entry = self._index.find(seq)
        try:
            block = self._blocks.load(seq)
            cipher = BlockCipher.open(block.page.sealed_key, self._vault_key(), block.page.ring_id, seq)
        except RingError as error:
            tell(Loss(seq, None, entry.span if entry else None, _reason_of(error)))
            return
        timed = time_records(block.page, block.scan.records, offsets, as_written=as_written)
        losses = list(_losses_of(block, timed, windows))
        foreign = self._find_foreign(block, cipher, timed, source)
        for record in timed:
            header = record.place.header
            # Where it is, not before the block: what follows a loss does not go on with what is before it.
            while losses and losses[0].index is not None and losses[0].index < header.index:
                tell(losses.pop(0))
            if not record.matches(windows) and header.index not in also:
                continue
            if header.index in foreign:
                if record.window is not None:
                    tell(Loss(seq, header.index, record.window, "source-changed"))
                continue
            if header.kind is Kind.GOP and record.matches(conflicts):
                tell(Loss(seq, header.index, record.window, "clock-conflict"))
                continue
            try:
                plaintext, digest = self._blocks.open_record(block, cipher, record.place)
            except RingError as error:
                is_unsynced = block.next_page_bytes is None and header.index >= block.scan.durable
                if is_unsynced and not isinstance(error, OverwrittenError):
                    return  # Still on its way to the disk, or a torn tail.
                tell(Loss(seq, header.index, record.window, _reason_of(error)))
                if isinstance(error, OverwrittenError):
                    return
                continue
            yield _stored(block, record, plaintext, digest)
        for loss in losses:
            tell(loss)

    def _find_foreign(
        self, block: LoadedBlock, cipher: BlockCipher, timed: Sequence[TimedRecord], source: bytes | None
    ) -> Collection[int]:
        """Return the indexes of the records that are of another source than the granted one (FORMAT 3.5, 4.6).

        The signed page decides for the block. A RUN record can only take away.
        """
        if source is None:
            return frozenset()
        if not _is_of(source, block.page.source):
            return {record.place.header.index for record in timed}
        foreign, is_foreign = set(), False
        for record in timed:
            if record.place.header.kind is Kind.RUN:
                is_foreign = self._names_other_source(block, cipher, record.place, source)
            if is_foreign:
                foreign.add(record.place.header.index)
        return foreign

    def _names_other_source(self, block: LoadedBlock, cipher: BlockCipher, place: Located, source: bytes) -> bool:
        """Tell whether a RUN record names another source; one that is damaged says nothing, and the page holds."""
        try:
            plaintext, _ = self._blocks.open_record(block, cipher, place)
            named = json.loads(plaintext)["source_sha256"]
        except (RingError, ValueError, KeyError, TypeError, RecursionError):
            return False
        return bool(named != source.hex())

    def _vault_key(self) -> X25519PrivateKey:
        if self._vault is None:
            raise RingError(f"ring was opened without the vault key: ring={self._disk.name}")
        return self._vault

    def _cover(
        self, block: LoadedBlock, window: Window, offsets: dict[bytes, int], segments: list[Segment], gaps: list[Span]
    ) -> None:
        timed = time_records(block.page, block.scan.records, offsets)
        for loss in _losses_of(block, timed, (window,)):
            _note_gap(gaps, loss.window, loss.reason)
        for record in timed:
            if not record.matches((window,)):
                continue
            add_segment(segments, record)
            if record.place.header.kind is Kind.GAP:
                _note_gap(gaps, record.window, self._reason_in(block, record.place))

    def _reason_in(self, block: LoadedBlock, place: Located) -> str:
        """Read the reason of a GAP record, where the vault key is at hand."""
        if self._vault is None:
            return "gap"
        try:
            cipher = BlockCipher.open(block.page.sealed_key, self._vault, block.page.ring_id, block.page.seq)
            plaintext, _ = self._blocks.open_record(block, cipher, place)
            reason = json.loads(plaintext).get("reason", "gap")
        except (RingError, ValueError, AttributeError, RecursionError):
            return "gap"
        return str(reason)[:_MAX_REASON_CHARS]

    def _evidence_of(self, block: LoadedBlock) -> BlockEvidence:
        """Collect what proves a block; a record whose digest is gone for good is left out, as one without a header."""
        records = []
        for place, chain in zip(block.scan.records, _chains_after(block), strict=True):
            digest = place.body_sha256
            if chain not in (None, place.chain):
                digest = place.digest_of(read_body(self._disk, self._superblock, place))
                if next_chain(place.header.previous_chain, record_digest(place.header_bytes, digest)) != chain:
                    continue
            records.append(EvidenceRecord(place.header_bytes, digest))
        self._blocks.demand_unchanged(block)
        return BlockEvidence(block.page.seq, block.page_bytes, block.next_page_bytes, tuple(records))


def _is_of(source: bytes | None, found: bytes) -> bool:
    """Tell whether footage is of the granted source. None is the owner, who has all; unknown footage is in no grant."""
    return source is None or (found == source and found != ZERO_DIGEST)


def _chains_after(block: LoadedBlock) -> Iterator[bytes | None]:
    """Yield, for each record, the chain value after it that the next header or page tells; None where neither does."""
    records = block.scan.records
    told = {place.header.index: place.header.previous_chain for place in records}
    if block.next_page_bytes is not None:
        end = parse_page(block.next_page_bytes).previous
        told[end.records] = end.chain
    for place in records:
        yield told.get(place.header.index + 1)


def _stored(block: LoadedBlock, record: TimedRecord, plaintext: bytes, digest: bytes) -> StoredRecord:
    header = record.place.header
    return StoredRecord(
        ring_id=block.page.ring_id,
        seq=header.seq,
        index=header.index,
        header=header,
        header_bytes=record.place.header_bytes,
        body_sha256=digest,
        clock_state=record.clock_state,
        boot_id=block.page.boot_id,
        run_id=record.run_id,
        start_ns=header.start_ns if record.start_ns is None else record.start_ns,
        rebased=record.rebased,
        attested=block.next_page_bytes is not None,
        plaintext=plaintext,
    )


def _losses_of(block: LoadedBlock, timed: Sequence[TimedRecord], windows: Sequence[Window]) -> Iterator[Loss]:
    """Yield the stretches of a block whose headers are gone, with the span between their neighbours."""
    for damage in block.scan.damage:
        if damage.reason == "chain":
            continue  # The record itself will fail its digest, if it is the one that was changed.
        span = _span_around(damage, timed)
        if span is None or any(span.intersect(window) for window in windows):
            yield Loss(block.page.seq, damage.index, span, "damaged")


def _span_around(damage: Damage, timed: Sequence[TimedRecord]) -> Window | None:
    before = max((_end_ns(record) for record in timed if record.place.header.index < damage.index), default=None)
    after = min(
        (
            record.start_ns
            for record in timed
            if record.place.header.index > damage.index and record.start_ns is not None
        ),
        default=None,
    )
    if before is None or after is None or before >= after:
        return None
    return Window(UtcNs(before), after)


def _end_ns(record: TimedRecord) -> int:
    return 0 if record.start_ns is None else record.start_ns + record.place.header.duration_ns


def _note_gap(gaps: list[Span], window: Window | None, reason: str) -> None:
    if window is not None:
        gaps.append(Span(window, "gap", reason))


def _reason_of(error: RingError) -> str:
    if isinstance(error, OverwrittenError):
        return "erased" if str(error).startswith("erased") else "overwritten"
    return "damaged" if isinstance(error, IntegrityError) else "unreadable"


def _pass_over(_loss: Loss) -> None:
    """A note that cannot be had is no loss of footage."""


def _raise_loss(loss: Loss) -> None:
    message = f"{loss.reason}: block={loss.seq} index={loss.index}"
    if loss.reason in ("overwritten", "erased"):
        raise OverwrittenError(message)
    raise IntegrityError(message)

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

from edge_agent.buffer.block_scan import LocatedRecord, read_body
from edge_agent.buffer.crypt import BlockCipher
from edge_agent.buffer.disk import Disk, FileDisk
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.page import Page, parse_page
from edge_agent.buffer.format.record import next_chain, record_digest
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.index import RingIndex
from edge_agent.buffer.read.live_block import BlockReader, LoadedBlock
from edge_agent.buffer.read.losses import Loss, losses_of, pass_over, raise_loss, reason_of
from edge_agent.buffer.read.records import BlockEvidence, EvidenceRecord, StoredRecord, chains_after, make_stored
from edge_agent.buffer.read.source import find_foreign, is_of
from edge_agent.buffer.read.timeline import (
    Segment,
    TimeSpan,
    add_segment,
    find_conflicts,
    lay_out,
    time_records,
)
from edge_agent.buffer.ring import read_superblock
from edge_agent.errors import IntegrityError, OverwrittenError, RingError
from edge_agent.protocol.verdict import CameraGrant, ExportOrder, Grant
from edge_agent.units import UtcNs, Window

log = logging.getLogger(__name__)

_FAR = 1 << 62
_MAX_REASON_CHARS = 64
_ALL_TIME = Window(UtcNs(-_FAR), UtcNs(_FAR))


@dataclass(frozen=True, slots=True)
class _Selection:
    """The records that one reading wants."""

    windows: Sequence[Window]
    offsets: dict[bytes, int]
    """Boot id → wall clock less boot time, for blocks that were written before the clock was set."""
    conflicts: Sequence[Window]
    """Spans that two runs of the clock claim: no footage of them is read."""
    source: bytes | None
    """None: of every source, with times as written."""


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

        A power cut may take away a record that is not synced yet: a head that counted it would look like a rollback.
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
            if not is_of(source, block.page.source):
                continue
            timed = time_records(block.page, block.scan.records, offsets, as_written=as_written)
            if any(record.matches(windows) and record.place.header.kind is Kind.GOP for record in timed):
                yield self._evidence_of(block)

    def coverage(self, window: Window) -> list[TimeSpan]:
        """Tile a window with footage and gaps. Headers only; reasons of gaps need the vault key."""
        self._index.refresh()
        offsets = self._blocks.boot_offsets()
        segments: list[Segment] = []
        gaps: list[TimeSpan] = []
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

    def block_spans(self, seq: int) -> list[TimeSpan]:
        """Return footage and recorded gaps of one block, in order; OverwrittenError if it is gone."""
        block = self._blocks.load(seq)
        segments: list[Segment] = []
        gaps: list[TimeSpan] = []
        self._cover(block, _ALL_TIME, self._blocks.boot_offsets(), segments, gaps)
        footage = [
            TimeSpan(Window(UtcNs(each.start_ns), UtcNs(each.end_ns)), "footage", None, each.run_id)
            for each in segments
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
        tell = on_loss or raise_loss
        self._index.refresh()
        offsets = self._blocks.boot_offsets()
        seqs = self._blocks.find_blocks(windows, offsets, as_written=as_written)
        # FORMAT 7.8: of a conflict nothing is released, the owner gets both.
        conflicts = [] if as_written else self._find_conflicts(seqs, windows, offsets)
        notes = self._blocks.find_notes(windows, offsets, as_written=as_written)
        selection = _Selection(windows, offsets, conflicts, source)
        for seq in sorted({*seqs, *(seq for seq, _ in notes)}):
            also = {index for block, index in notes if block == seq}
            told = tell if seq in seqs else pass_over
            yield from self._read_block(seq, selection, told, also)

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
        self, seq: int, selection: _Selection, tell: Callable[[Loss], None], also: Collection[int]
    ) -> Iterator[StoredRecord]:
        """Decrypt the records of a block that touch the windows, and those of the indexes ``also``."""
        windows, source = selection.windows, selection.source
        entry = self._index.find(seq)
        try:
            block = self._blocks.load(seq)
            cipher = BlockCipher.open(block.page.sealed_key, self._vault_key(), block.page.ring_id, seq)
        except RingError as error:
            tell(Loss(seq, None, entry.span if entry else None, reason_of(error)))
            return
        timed = time_records(block.page, block.scan.records, selection.offsets, as_written=source is None)
        losses = list(losses_of(block, timed, windows))
        # O2a: before any picture of the block is decrypted.
        foreign = find_foreign(self._blocks, block, cipher, timed, source)
        for record in timed:
            header = record.place.header
            # In its own place, not before the block: a record behind a loss does not go on with the one before it.
            while losses and losses[0].index is not None and losses[0].index < header.index:
                tell(losses.pop(0))
            if not record.matches(windows) and header.index not in also:
                continue
            if header.index in foreign:
                if record.window is not None:
                    tell(Loss(seq, header.index, record.window, "source-changed"))
                continue
            if header.kind is Kind.GOP and record.matches(selection.conflicts):
                tell(Loss(seq, header.index, record.window, "clock-conflict"))
                continue
            try:
                plaintext, digest = self._blocks.open_record(block, cipher, record.place)
            except RingError as error:
                is_unsynced = block.next_page_bytes is None and header.index >= block.scan.durable
                if is_unsynced and not isinstance(error, OverwrittenError):
                    return  # Still on its way to the disk, or a torn tail.
                tell(Loss(seq, header.index, record.window, reason_of(error)))
                if isinstance(error, OverwrittenError):
                    return
                continue
            yield make_stored(block, record, plaintext, digest)
        for loss in losses:
            tell(loss)

    def _vault_key(self) -> X25519PrivateKey:
        if self._vault is None:
            raise RingError(f"ring was opened without the vault key: ring={self._disk.name}")
        return self._vault

    def _cover(
        self,
        block: LoadedBlock,
        window: Window,
        offsets: dict[bytes, int],
        segments: list[Segment],
        gaps: list[TimeSpan],
    ) -> None:
        timed = time_records(block.page, block.scan.records, offsets)
        for loss in losses_of(block, timed, (window,)):
            _note_gap(gaps, loss.window, loss.reason)
        for record in timed:
            if not record.matches((window,)):
                continue
            add_segment(segments, record)
            if record.place.header.kind is Kind.GAP:
                _note_gap(gaps, record.window, self._reason_in(block, record.place))

    def _reason_in(self, block: LoadedBlock, place: LocatedRecord) -> str:
        """Read the reason of a GAP record, if the vault key is available."""
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
        """Collect what proves a block; a record whose digest is lost is left out, as one without a header."""
        records = []
        for place, chain in zip(block.scan.records, chains_after(block), strict=True):
            digest = place.body_sha256
            if chain not in (None, place.chain):
                digest = place.digest_of(read_body(self._disk, self._superblock, place))
                if next_chain(place.header.previous_chain, record_digest(place.header_bytes, digest)) != chain:
                    continue
            records.append(EvidenceRecord(place.header_bytes, digest))
        self._blocks.demand_unchanged(block)
        return BlockEvidence(block.page.seq, block.page_bytes, block.next_page_bytes, tuple(records))


def _note_gap(gaps: list[TimeSpan], window: Window | None, reason: str) -> None:
    if window is not None:
        gaps.append(TimeSpan(window, "gap", reason))

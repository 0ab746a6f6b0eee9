"""The recorder's side of a ring: append, sync, wrap around, expire, erase.

Owns the open block and its key, which never leaves memory and is gone with the process. Must never decrypt, and never
append to a block after a failed write or sync. One thread: the camera's own.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge_agent.buffer.crypt import BlockCipher, key_id, sign_page
from edge_agent.buffer.disk import Disk, FileDisk
from edge_agent.buffer.format.constants import ID_BYTES, Erased, Kind
from edge_agent.buffer.format.page import BlockEnd, Page, chain_start, parse_page, tombstone_of
from edge_agent.buffer.format.record import record_bytes, run_id_of
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.index import RingIndex
from edge_agent.buffer.ring import read_superblock, rewrite_superblock
from edge_agent.buffer.write.open_block import Draft, OpenBlock, borrow_buffer
from edge_agent.buffer.write.recovery import check_identity, destroy_damaged_keys, resume
from edge_agent.buffer.write.retention import RetentionMoment, anchor_clock, find_expired
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.errors import DurabilityError, RecordTooLargeError
from edge_agent.host.clock import Clock
from edge_agent.settings.source_digest import digest_source
from edge_agent.units import MINUTE_NS, SECOND_NS, ClockState, MonoNs, UtcNs, Window

log = logging.getLogger(__name__)

BLOCK_OPEN_NS = 10 * MINUTE_NS
"""A block that holds anything is closed after this long, so that erasure is never coarser."""
BLOCK_SPAN_NS = 2 * BLOCK_OPEN_NS
"""Records that begin further apart share no block: it goes by its oldest, and a hole of days would take along what was
recorded after it."""
WAITS_NS = 7 * SECOND_NS // 4
"""So long a picture may wait until it is in a record, whoever records: a sync is due so much earlier than
``sync_every``, and 5 s stay the most that is lost (FORMAT 7.2)."""
EXPIRE_EVERY_NS = 20 * SECOND_NS
CLOCK_STEP_NS = SECOND_NS
"""The wall clock comes away from boot time by so much only if it is set."""


@dataclass(frozen=True, slots=True)
class RecordRef:
    """Where a record went."""

    seq: int
    index: int
    length: int


@dataclass(frozen=True, slots=True)
class ErasedBlock:
    """A block whose key was destroyed, and the span that went with it."""

    seq: int
    window: Window | None
    """None if the block held no record, or no span is known of it."""


class RingWriter:
    """Writes one ring. Make it with ``open``; after any ``DurabilityError`` close it, wait, and open anew."""

    def __init__(
        self,
        disk: Disk,
        *,
        keys: RingKeys,
        clock: Clock,
        boot_id: bytes,
        settings: WriterSettings,
    ) -> None:
        loaded = read_superblock(disk)
        self._disk, self._clock, self._boot_id = disk, clock, boot_id
        self._superblock = loaded.superblock
        self._vault, self._vault_id = keys.vault_public, key_id(keys.vault_public)
        self._recorder, self._recorder_id = keys.recorder_key, key_id(keys.recorder_key.public_key())
        self._sync_after_ns, self._keep_for_ns = max(0, settings.sync_every_ns - WAITS_NS), settings.keep_for_ns
        self.source = digest_source(self._superblock.ring_id, settings.source)
        """Digest of the place that the records come from, as every header page and RUN record has it."""
        check_identity(self._superblock, disk.name, keys.recorder_key.public_key(), settings.ring_id)
        if loaded.damaged_copies:
            self._repair_superblock()
        self._index = RingIndex(disk, self._superblock)
        self._index.load()
        resumption = resume(self._index)
        self._next_seq, self._previous = resumption.next_seq, resumption.previous
        self._previous_lost = resumption.previous_lost
        self._note_end(self._next_seq - 1, self._previous)
        self._retention = anchor_clock(self._index, boot_id, clock.utc(), clock.boot())
        self._run_id = os.urandom(ID_BYTES)
        self._block: OpenBlock | None = None
        self._unsynced_since: MonoNs | None = None
        self._expired_at: MonoNs | None = None
        self._failed = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        keys: RingKeys,
        clock: Clock,
        boot_id: bytes,
        settings: WriterSettings,
    ) -> Self:
        """Open a ring for writing, alone, and recover from anything that happened to it (FORMAT 7.4).

        Args:
            path: The ring file.
            keys: The recorder's.
            clock: Wall clock, boot time and clock state.
            boot_id: The kernel's id of this boot: 16 bytes.
            settings: The stream, and the times to keep to.

        Raises:
            RingBusyError: Another process writes this ring.
            UnsupportedVersionError: A newer program wrote it.
            RingError: It is another ring, or cannot be read.
        """
        disk = FileDisk.open(path, writable=True)
        try:
            return cls(disk, keys=keys, clock=clock, boot_id=boot_id, settings=settings)
        except BaseException:
            disk.close()
            raise

    @property
    def superblock(self) -> Superblock:
        """The ring's ids and geometry."""
        return self._superblock

    @property
    def max_payload_bytes(self) -> int:
        """Largest payload that ``append`` takes."""
        return self._superblock.max_payload_bytes

    @property
    def head(self) -> tuple[int, bytes]:
        """Number of the newest block and the chain value after its last record."""
        if self._block is not None:
            return self._block.seq, self._block.chain
        return self._next_seq - 1, self._previous.chain

    @property
    def newest_ns(self) -> UtcNs:
        """End of the newest record, by the times that were written; 0 if none is known."""
        if self._block is not None and self._block.index:
            return UtcNs(self._block.newest_ns)
        return UtcNs(self._previous.newest_ns)

    @property
    def oldest_ns(self) -> UtcNs | None:
        """Start of the oldest block whose key is there; None in a ring without footage."""
        there = (entry.first_start_ns for entry in self._index.entries() if not entry.tombstone)
        return next(there, None)

    def append(self, draft: Draft) -> RecordRef:
        """Encrypt one record and append it to the open block.

        Durable after the next ``sync`` (FORMAT 7.2). One thread only: the camera's own.

        Returns:
            Block number, index and length of the payload in bytes.

        Raises:
            RecordTooLargeError: The payload exceeds ``max_payload_bytes``; nothing was written.
            DurabilityError: A write or sync failed; the ring must be closed and opened anew (FORMAT 7.5).
        """
        self._demand_usable()
        length = len(draft.payload)
        if length > self._superblock.max_payload_bytes:
            raise RecordTooLargeError(
                f"record too large: ring={self._disk.name} bytes={length} most={self._superblock.max_payload_bytes}"
            )
        size = record_bytes(length)
        state = self.state_of(draft)
        with _FailureMark(self):
            block = self._block
            if block is not None and self._must_close(block, draft, size, state):
                self._close_block()
                block = None
            if block is None:
                block = self._open_block(draft, state)
            ref = self._write(block, draft, size, state)
        due = self.sync_due
        # With the oldest unsynced record half-way to its sync, this one takes it along: whoever records is awake now.
        if due is not None and self._clock.boot() >= due - self._sync_after_ns // 2:
            self.sync()
        return ref

    def sync(self) -> None:
        """Make every record appended so far durable.

        Raises:
            DurabilityError: Final for records that were not synced before; close the ring and open it anew.
        """
        self._demand_usable()
        if self._unsynced_since is None:
            return
        with _FailureMark(self):
            self._disk.fdatasync()
        self._unsynced_since = None
        if self._block is not None:
            self._block.durable = self._block.index

    @property
    def sync_due(self) -> MonoNs | None:
        """When the records that are not durable have to be synced; None if there are none."""
        since = self._unsynced_since
        return None if since is None else MonoNs(since + self._sync_after_ns)

    def tick(self) -> None:
        """Do what is due: sync, close a block of ten minutes, expire. Call at ``sync_due``, and every second or two.

        Raises:
            DurabilityError: A write or sync failed; close the ring and open it anew.
        """
        self._demand_usable()
        boot, due = self._clock.boot(), self.sync_due
        if due is not None and boot >= due:
            self.sync()
        if self._block is not None and boot - self._block.opened_boot_ns >= BLOCK_OPEN_NS:
            with _FailureMark(self):
                self._close_block()
        if self._expired_at is None or boot - self._expired_at >= EXPIRE_EVERY_NS:
            self._expired_at = boot
            self._expire(boot)

    def close(self) -> None:
        """Sync and let go of the file; the unsynced records of a failed ring stay lost."""
        try:
            if not self._failed:
                self.sync()
        finally:
            self._failed = True
            self._block = None
            self._disk.close()

    def erase(self, window: Window | None) -> list[ErasedBlock]:
        """Destroy the keys of all blocks that hold anything of ``window``; None means every block.

        Whole blocks go, so what goes may begin earlier and end later than was asked. Durable on return.

        Returns:
            The blocks erased now, oldest first, with the spans that went with them.

        Raises:
            DurabilityError: The disk failed; whether the keys are gone is not known.
        """
        self._demand_usable()
        if self._block is not None:
            self._note_end(self._block.seq, self._block.end())
        doomed = [entry for entry in self._index.entries() if not entry.tombstone and entry.may_touch(window)]
        if self._block is not None and doomed and doomed[-1].seq == self._block.seq:
            with _FailureMark(self):
                self._close_block()
        erased = [ErasedBlock(entry.seq, entry.span) for entry in doomed]
        self._bury([entry.seq for entry in doomed], Erased.OWNER)
        with _FailureMark(self):
            destroy_damaged_keys(self._index)
        return erased

    @property
    def is_clock_held_back(self) -> bool:
        """Tell whether the wall clock stepped ahead and retention waits for boot time or ``confirm_clock``."""
        return self._retention.is_held_back(self._clock.utc(), self._clock.boot())

    def confirm_clock(self, offset_ns: int) -> None:
        """Let retention follow the wall clock that is so far ahead of boot time: the owner says that it is right."""
        boot = self._clock.boot()
        self._retention.confirm(UtcNs(boot + offset_ns), boot)

    def state_of(self, draft: Draft) -> ClockState:
        """Return the clock's state for a record: that of now, but floor-only if the clock was set since it was timed.

        The time since boot dates such a record.
        """
        state = self._clock.state()
        if state is ClockState.SYNCHRONISED and draft.boot_ns:
            timed_by_ns = draft.start_ns - draft.boot_ns
            if abs(self._clock.utc() - self._clock.boot() - timed_by_ns) > CLOCK_STEP_NS:
                return ClockState.FLOOR_ONLY
        return state

    def _demand_usable(self) -> None:
        if self._failed:
            raise DurabilityError(f"ring is closed after a failure: ring={self._disk.name}")

    def _must_close(self, block: OpenBlock, draft: Draft, size: int, state: ClockState) -> bool:
        is_full = block.offset + size > self._superblock.block_bytes
        # The span that the next page tells is that of synchronised records: an erasure could not find others by it.
        is_untimed = block.clock_state is ClockState.SYNCHRONISED and state is not ClockState.SYNCHRONISED
        is_timed = block.timed and state is ClockState.SYNCHRONISED
        is_apart = is_timed and abs(draft.start_ns - block.oldest_ns) > BLOCK_SPAN_NS
        return is_full or is_untimed or is_apart or self._clock.boot() - block.opened_boot_ns >= BLOCK_OPEN_NS

    def _close_block(self) -> None:
        """Close the open block: its records are synced before any page may speak of them (FORMAT 7.3, step 1)."""
        block = self._block
        if block is None:
            return
        self._disk.fdatasync()
        self._unsynced_since = None
        self._previous = block.end()
        self._previous_lost = False
        self._next_seq = block.seq + 1
        self._note_end(block.seq, self._previous)
        self._block = None

    def _open_block(self, draft: Draft, state: ClockState) -> OpenBlock:
        """Write and sync the next header page, then hand out its block (FORMAT 7.3, steps 2 and 3)."""
        seq = self._next_seq
        cipher, sealed = BlockCipher.generate(self._vault, self._superblock.ring_id, seq)
        opened_boot = self._clock.boot()
        page = Page(
            ring_id=self._superblock.ring_id,
            seq=seq,
            boot_id=self._boot_id,
            run_id=self._run_id,
            opened_utc_ns=self._clock.utc(),
            opened_boot_ns=opened_boot,
            first_start_ns=draft.start_ns,
            clock_state=state,
            vault_key_id=self._vault_id,
            sealed_key=sealed,
            recorder_key_id=self._recorder_id,
            previous=self._previous,
            source=self.source,
            previous_lost=self._previous_lost,
        )
        raw = sign_page(page, self._recorder)
        self._disk.pwrite(raw, self._superblock.page_offset(seq))
        # Without this barrier a crash could leave the old page, with its key, over new bytes.
        self._disk.fdatasync()
        self._index.add(page)
        self._block = OpenBlock(seq, cipher, chain_start(raw), opened_boot, state)
        return self._block

    def _write(self, block: OpenBlock, draft: Draft, size: int, state: ClockState) -> RecordRef:
        with borrow_buffer(size) as buffer, memoryview(buffer) as view:
            header, digest = block.encrypt(draft, state, buffer)
            self._disk.pwrite(view[:size], self._superblock.block_offset(block.seq) + block.offset)
        block.take(header, digest)
        if draft.kind is Kind.RUN:
            self._run_id = run_id_of(self._superblock.ring_id, block.seq, header.index)
        if self._unsynced_since is None:
            self._unsynced_since = self._clock.boot()
        return RecordRef(block.seq, header.index, header.length)

    def _expire(self, boot: MonoNs) -> None:
        utc = self._clock.utc()
        moment = RetentionMoment(utc, self._retention.now(utc, boot), boot, self._boot_id)
        open_seq = self._block.seq if self._block is not None else 0
        expired = find_expired(self._index, moment, self._keep_for_ns, open_seq)
        if expired:
            self._bury(expired, Erased.KEEP_FOR)
            log.info("blocks expired ring=%s first=%d count=%d", self._disk.name, expired[0], len(expired))

    def _bury(self, seqs: list[int], why: Erased) -> None:
        """Put signed tombstones in place of header pages, then sync once (FORMAT 7.6)."""
        if not seqs:
            return
        with _FailureMark(self):
            for seq in seqs:
                # Only the newest block's end is in no later page yet: the tombstone keeps it.
                end = self._previous if seq == self._next_seq - 1 and self._block is None else None
                page = parse_page(self._index.read_page(seq))
                tombstone = tombstone_of(page, why, self._clock.utc(), self._recorder_id, end)
                self._disk.pwrite(sign_page(tombstone, self._recorder), self._superblock.page_offset(seq))
                self._index.add(tombstone)
            self._disk.fdatasync()

    def _note_end(self, seq: int, end: BlockEnd) -> None:
        entry = self._index.find(seq)
        if entry is not None:
            entry.note_end(end)

    def _repair_superblock(self) -> None:
        log.error("superblock copy damaged, rewritten ring=%s", self._disk.name)
        rewrite_superblock(self._disk, self._superblock, self._recorder)


class _FailureMark:
    """Closes the writer permanently if anything inside fails."""

    __slots__ = ("_writer",)

    def __init__(self, writer: RingWriter) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._writer._failed = True

"""A second copy of a ring on another disk: the same ciphertext in the same places, brought up behind the writer.

Owns the order of copying: blocks in order of their number, records before their page, so that a page in the copy tells
that every block before it is whole. A mirror is a ring file like any other, to be read and checked as one. Needs no
key; an erased block's tombstone takes the place of its page here too, and with it goes the only copy of its key.
"""

import hashlib
import logging
import re
from pathlib import Path

from edge_agent.buffer.block_copy import copy_block
from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.format.constants import PAGE_BYTES, State
from edge_agent.buffer.format.page import destroy_key
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.index import BlockEntry, RingIndex
from edge_agent.buffer.ring import make_file, read_superblock, wipe_ring
from edge_agent.errors import IntegrityError, OverwrittenError, RingError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.units import UtcNs

log = logging.getLogger(__name__)


class RingMirror:
    """Brings one copy up to its ring. One thread.

    Args:
        source: The ring, which somebody else writes.
        target: The copy; made if it is missing. One of another ring is set aside under its name and that ring's id:
            after a disk was replaced it is all that is left. Its folder is never made: a disk that is not mounted
            would be written to the one below it.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._copied: dict[int, bytes] = {}
        """By block: the digest of the page that was copied last, of blocks that are whole in the copy."""
        self._left: tuple[int, ...] = ()
        """How the copy's file was left: disks that take turns each have their own."""

    def bring_up(self, ring_id: bytes | None = None) -> int:
        """Copy what is new or erased since; return how many blocks were touched. Durable on return.

        Args:
            ring_id: The one ring that may be copied; None takes the one that is there.

        Raises:
            RingError: One of the two cannot be read or written, or another ring lies there.
            OSError: The same.
        """
        if not self._target.parent.is_dir():
            raise RingError(f"mirror's folder is missing: {self._target.parent}", "is the disk mounted?")
        with FileDisk.open(self._source) as source:
            loaded = read_superblock(source)
            if ring_id not in (None, loaded.superblock.ring_id):
                # Its copy would take the place of the right one's, which may be all that is left of it.
                raise RingError(f"another ring lies at this path: path={self._source}")
            index = RingIndex(source, loaded.superblock)
            index.load()
            if not self._is_copy_of(loaded.superblock):
                self._copied.clear()
                make_file(self._target, loaded.superblock, loaded.raw, None, reserve=False)
            with FileDisk.open(self._target, writable=True) as target:
                if self._look() != self._left:
                    self._copied.clear()
                if not self._copied:
                    self._recognise(index, target)
                touched = sum(self._copy(index, target, entry) for entry in index.entries())
                touched += sum(self._copy_damaged(index, target, slot) for slot in index.bad_slots)
                self._left = self._look()
                return touched

    def _look(self) -> tuple[int, ...]:
        """Return what tells the copy's file from that of another disk, and from itself once somebody wrote to it."""
        found = self._target.stat()
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns

    def list_older(self) -> list[Path]:
        """Return the copies that were set aside; OSError if the folder cannot be read."""
        name = re.compile(re.escape(self._target.name) + r"\.[0-9a-f]{32}")
        return [each for each in self._target.parent.iterdir() if name.fullmatch(each.name)]

    def drop_older(self, before_ns: UtcNs | None) -> None:
        """Destroy the copies that were set aside and last written before a time; without one, all of them."""
        for path in self.list_older():
            if before_ns is None or path.stat().st_mtime_ns < before_ns:
                wipe_ring(path)

    def _is_copy_of(self, ring: Superblock) -> bool:
        """Tell whether the copy is there and of this ring; make way for one that is to be made."""
        if not self._target.exists():
            return False
        with FileDisk.open(self._target) as there:
            found = read_superblock(there).superblock
        if found.ring_id != ring.ring_id:
            self._set_aside(found)
            return False
        if (found.blocks, found.block_bytes) == (ring.blocks, ring.block_bytes):
            return True
        if ring.state is not State.READY or ring.generation < found.generation:
            raise RingError(
                f"ring is older than its mirror, or not whole: path={self._source}", "is its right disk mounted?"
            )
        # A ring that was resized has taken its footage along. No erasure would reach the keys in a file without a name.
        wipe_ring(self._rename(found))
        return False

    def _set_aside(self, found: Superblock) -> None:
        """Keep the copy of a ring that was replaced, and no other beside it."""
        # The copy before that one goes first: two are the most that a disk has to hold.
        self.drop_older(None)
        log.warning("mirror is of another ring and is set aside path=%s", self._rename(found))

    def _rename(self, found: Superblock) -> Path:
        """Give the copy the name of one that is set aside: whatever is left of it after a kill goes as such."""
        older = self._target.with_name(f"{self._target.name}.{found.ring_id.hex()}")
        if older.exists():
            wipe_ring(older)
        self._target.rename(older)
        sync_folder(older.parent)
        return older

    def _recognise(self, index: RingIndex, target: FileDisk) -> None:
        """Find out after a restart which blocks are whole in the copy: those whose next page is there too."""
        for entry in index.entries():
            if not (entry.ended or entry.tombstone):
                continue
            raw = index.read_page(entry.seq)
            is_there = target.pread(PAGE_BYTES, index.superblock.page_offset(entry.seq)) == raw
            following = target.pread(PAGE_BYTES, index.superblock.page_offset(entry.seq + 1))
            if is_there and (entry.tombstone or following == index.read_page(entry.seq + 1)):
                self._copied[entry.seq] = hashlib.sha256(raw).digest()

    def _copy(self, index: RingIndex, target: FileDisk, entry: BlockEntry) -> bool:
        raw = index.read_page(entry.seq)
        digest = hashlib.sha256(raw).digest()
        if self._copied.get(entry.seq) == digest:
            return False
        place = index.superblock.page_offset(entry.seq)
        try:
            if entry.tombstone:
                # I7 for the copy: the tombstone replaces the page with the sealed key, and is
                # synced at once.
                target.pwrite(raw, place)
                target.fdatasync()
            else:
                copy_block(index, target, index.superblock, entry.seq)
        except (OverwrittenError, IntegrityError):
            return False  # the ring went on meanwhile; the next time takes what is there then
        if entry.ended or entry.tombstone:
            self._copied[entry.seq] = digest
            # One lap later the slot has another block: the memory stays as large as the ring.
            self._copied.pop(entry.seq - index.superblock.blocks, None)
        return True

    def _copy_damaged(self, index: RingIndex, target: FileDisk, slot: int) -> bool:
        """Take over a damaged page whose key was erased: the copy's may be whole, and has the key."""
        raw, place = index.read_page(slot), index.superblock.page_offset(slot)
        if destroy_key(raw) != raw or target.pread(PAGE_BYTES, place) == raw:
            return False
        target.pwrite(raw, place)
        target.fdatasync()
        return True

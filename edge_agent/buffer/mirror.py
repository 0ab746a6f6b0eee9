"""A second copy of a ring on another disk: the same ciphertext in the same places, brought up behind the writer.

Owns the order of copying: blocks in order of their number, records before their page, so that a page in the copy tells
that every block before it is whole. A mirror is a ring file like any other, to be read and checked as one. Needs no
key; an erased block's tombstone takes the place of its page here too, and with it goes the only copy of its key.
"""

import hashlib
import logging
from pathlib import Path

from edge_agent.buffer.block_copy import copy_block
from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.format.constants import PAGE_BYTES
from edge_agent.buffer.index import BlockEntry, RingIndex
from edge_agent.buffer.ring import make_file, read_superblock
from edge_agent.errors import IntegrityError, OverwrittenError, RingError

log = logging.getLogger(__name__)


class RingMirror:
    """Brings one copy up to its ring. One thread.

    Args:
        source: The ring, which somebody else writes.
        target: The copy; made if it is missing, and anew if it is of another ring. Its folder is never made: a disk
            that is not mounted would be written to the one below it.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._copied: dict[int, bytes] = {}
        """By block: the digest of the page that was copied last, of blocks that are whole in the copy."""

    def bring_up(self) -> int:
        """Copy what is new or erased since; return how many blocks were touched. Durable on return.

        Raises:
            RingError: One of the two cannot be read or written.
            OSError: The same.
        """
        if not self._target.parent.is_dir():
            raise RingError(f"mirror's folder is missing: {self._target.parent}", "is the disk mounted?")
        with FileDisk.open(self._source) as source:
            loaded = read_superblock(source)
            index = RingIndex(source, loaded.superblock)
            index.load()
            self._demand_copy_of(loaded.superblock.ring_id)
            if not self._target.exists():
                self._copied.clear()
                make_file(self._target, loaded.superblock, loaded.raw, None, reserve=False)
            with FileDisk.open(self._target, writable=True) as target:
                if not self._copied:
                    self._recognise(index, target)
                return sum(self._copy(index, target, entry) for entry in index.entries())

    def _demand_copy_of(self, ring_id: bytes) -> None:
        """Remove a copy that is of another ring: the owner made a new one, and the old one's footage is gone."""
        if not self._target.exists():
            return
        with FileDisk.open(self._target) as there:
            is_same = read_superblock(there).superblock.ring_id == ring_id
        if not is_same:
            log.warning("mirror is of another ring and is made anew path=%s", self._target)
            self._target.unlink()

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
                target.pwrite(raw, place)
                target.fdatasync()
            else:
                copy_block(index, target, index.superblock, entry.seq)
        except (OverwrittenError, IntegrityError):
            return False  # the ring went on meanwhile; the next time takes what is there then
        if entry.ended or entry.tombstone:
            self._copied[entry.seq] = digest
            self._copied.pop(entry.seq - index.superblock.blocks, None)
        return True

"""The blocks of a ring, by number, from its header pages.

Owns the in-memory index, which is rebuilt from the header pages at every open: there is no second copy of it that could
disagree. Believes checksums; signatures are checked when a block is read. Must never open footage.
"""

import bisect
from dataclasses import dataclass

from edge_agent.buffer.disk import Disk
from edge_agent.buffer.format.constants import PAGE_BYTES, SUPERBLOCK_COPIES
from edge_agent.buffer.format.page import BlockEnd, Page, is_blank, parse_page
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.errors import IntegrityError, UnsupportedVersionError
from edge_agent.units import ClockState, MonoNs, UtcNs, Window

_CHUNK_PAGES = 256
"""Pages in one read: 1 MiB."""


@dataclass(slots=True)
class BlockEntry:
    """The index's knowledge of one block; ``ended`` and later members come from the next page."""

    seq: int
    tombstone: bool
    clock_state: ClockState
    boot_id: bytes
    opened_utc_ns: UtcNs
    opened_boot_ns: MonoNs
    first_start_ns: UtcNs
    ended: bool = False
    records: int = 0
    accepted_bytes: int = 0
    oldest_ns: int = 0
    newest_ns: int = 0
    footage_ns: int = 0

    @property
    def span(self) -> Window | None:
        """The span of the block's records; None if it is not known."""
        if not self.ended or self.newest_ns <= self.oldest_ns:
            return None
        return Window(UtcNs(self.oldest_ns), UtcNs(self.newest_ns))

    def may_touch(self, window: Window | None) -> bool:
        """Tell whether the block may hold anything of a window (None: of any); if its span is unknown, it may."""
        if window is None or self.span is None or self.clock_state is not ClockState.SYNCHRONISED:
            return True
        return self.span.intersect(window) is not None

    def note_end(self, end: "BlockEnd | BlockEntry") -> None:
        """Take in how the block ended."""
        self.ended, self.records, self.accepted_bytes = True, end.records, end.accepted_bytes
        self.oldest_ns, self.newest_ns, self.footage_ns = end.oldest_ns, end.newest_ns, end.footage_ns


class RingIndex:
    """The blocks of a ring, by number, from its header pages; empty until ``load``."""

    def __init__(self, disk: Disk, superblock: Superblock) -> None:
        self.disk = disk
        self.superblock = superblock
        self._entries: dict[int, BlockEntry] = {}
        self._order: list[int] = []
        self.bad_slots: dict[int, str] = {}
        """Why the page of a slot is not believed: it is damaged, or another ring's. A slot is read as a block of its
        own number would be."""

    @property
    def newest_seq(self) -> int:
        """Number of the newest block; 0 in an empty ring."""
        return self._order[-1] if self._order else 0

    def entries(self) -> list[BlockEntry]:
        """Return all blocks, oldest first."""
        return [self._entries[seq] for seq in self._order]

    def find(self, seq: int) -> BlockEntry | None:
        """Return the entry of block ``seq``, if it is in the ring."""
        return self._entries.get(seq)

    def read_page(self, seq: int) -> bytes:
        """Read the bytes of the slot of block ``seq`` as they are now."""
        return self.disk.pread(PAGE_BYTES, self.superblock.page_offset(seq))

    def load(self) -> None:
        """Read all header pages in one sequential pass; checksums only."""
        self._entries.clear()
        self.bad_slots.clear()
        pages: list[Page] = []
        for first in range(0, self.superblock.blocks, _CHUNK_PAGES):
            count = min(_CHUNK_PAGES, self.superblock.blocks - first)
            chunk = self.disk.pread(count * PAGE_BYTES, (SUPERBLOCK_COPIES + first) * PAGE_BYTES)
            for place in range(count):
                raw = chunk[place * PAGE_BYTES : (place + 1) * PAGE_BYTES]
                page = self._judge(first + place, raw)
                if page is not None:
                    self._entries[page.seq] = _entry_of(page)
                    pages.append(page)
        self._order = sorted(self._entries)
        for page in pages:
            self._tell_previous(page)

    def refresh(self) -> None:
        """Take in the blocks that a writer beside us has opened since: a page read for each new block, plus one."""
        seq = self.newest_seq + 1
        if seq == 1:
            self.load()
            return
        for _ in range(self.superblock.blocks):
            page = self._judge(self.superblock.slot(seq), self.read_page(seq))
            # An older lap: the writer has not come here yet.
            if page is None or page.seq < seq:
                return
            if page.seq != seq:
                # A whole lap went by, or a block number was skipped after damage.
                self.load()
                return
            self.add(page)
            seq += 1
        self.load()

    def add(self, page: Page) -> None:
        """Take in a page that was just written or read."""
        gone = page.seq - self.superblock.blocks
        if self._entries.pop(gone, None) is not None:
            self._order.remove(gone)
        if page.seq not in self._entries:
            bisect.insort(self._order, page.seq)
        entry = _entry_of(page)
        known = self._entries.get(page.seq)
        if known is not None and known.ended:
            entry.note_end(known)
        self._entries[page.seq] = entry
        self.bad_slots.pop(self.superblock.slot(page.seq), None)
        self._tell_previous(page)

    def _judge(self, slot: int, raw: bytes) -> Page | None:
        """Parse what is in a slot; None if it is blank, damaged, foreign or in the wrong place."""
        if is_blank(raw):
            return None
        try:
            page = parse_page(raw)
        # FORMAT 2.1: a newer version is not damage. The ring is left alone, not recorded over.
        except UnsupportedVersionError:
            raise
        except IntegrityError as error:
            self.bad_slots[slot] = str(error)
            return None
        # I10: a page that was moved here from another ring or slot has a good checksum, and is
        # still not this block's.
        if page.ring_id != self.superblock.ring_id or self.superblock.slot(page.seq) != slot:
            self.bad_slots[slot] = f"header page belongs to another ring or slot: block={page.seq}"
            return None
        return page

    def _tell_previous(self, page: Page) -> None:
        entry = self._entries.get(page.seq - 1)
        # FORMAT 3.2: then `previous_*` speaks of an earlier block than the one before.
        if entry is not None and not page.previous_lost:
            entry.note_end(page.previous)


def _entry_of(page: Page) -> BlockEntry:
    return BlockEntry(
        page.seq,
        page.tombstone,
        page.clock_state,
        page.boot_id,
        page.opened_utc_ns,
        page.opened_boot_ns,
        page.first_start_ns,
    )

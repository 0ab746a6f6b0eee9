"""Blocks copied from one ring file to another as they lie, without any key: the ground of excerpts and of moves.

Owns the order in which a copy becomes true: records, sync, page, sync. Must never decrypt, sign or change a page.
"""

from edge_agent.buffer.block_scan import BlockWalk
from edge_agent.buffer.disk import Disk
from edge_agent.buffer.format.page import Page, chain_start, parse_page
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.index import RingIndex
from edge_agent.errors import OverwrittenError

_CHUNK_BYTES = 1 << 20


def accepted_bytes(index: RingIndex, page: Page, raw: bytes) -> int:
    """Return how much of a block its records take: as the next page says, else by their headers."""
    if page.tombstone:
        return 0
    entry = index.find(page.seq)
    if entry is not None and entry.ended:
        return entry.accepted_bytes
    return BlockWalk(index.disk, index.superblock, page.seq, chain_start(raw)).scan().without_torn_tail().end_offset


def copy_block(index: RingIndex, target: Disk, target_superblock: Superblock, seq: int) -> int:
    """Copy block ``seq`` and then its page; durable on return.

    Returns:
        The bytes of records copied.

    Raises:
        OverwrittenError: The block went while it was copied; the target has no page of it.
        DurabilityError: The target does not take it.
    """
    raw = index.read_page(seq)
    page = parse_page(raw)
    if page.seq != seq:
        raise OverwrittenError(f"overwritten: block={seq}")
    length = accepted_bytes(index, page, raw)
    for at in range(0, length, _CHUNK_BYTES):
        data = index.disk.pread(min(_CHUNK_BYTES, length - at), index.superblock.block_offset(seq) + at)
        target.pwrite(data, target_superblock.block_offset(seq) + at)
    # The same page before and after: the bytes that were copied in between are of this block and no other.
    if index.read_page(seq) != raw:
        raise OverwrittenError(f"overwritten: block={seq}")
    target.fdatasync()
    target.pwrite(raw, target_superblock.page_offset(seq))
    target.fdatasync()
    return length

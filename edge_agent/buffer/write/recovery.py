"""The steps of a recorder before it writes again: know the ring, and find how its newest block ended, without any key.

Owns whether a ring is this recorder's, and the decision which records of an open block count as written (FORMAT 7.4). A
torn tail is a crash, and dropped; damage before what was synced is an integrity error, reported and walked around. Must
never change a synced byte.
"""

import logging
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.buffer.block_scan import BlockWalk, LocatedRecord, end_of, is_body_good, read_body
from edge_agent.buffer.disk import Disk
from edge_agent.buffer.format.constants import DIGEST_BYTES, HEADER_BYTES, TAG_BYTES, State
from edge_agent.buffer.format.page import BlockEnd, Page, chain_start, destroy_key, parse_page
from edge_agent.buffer.format.record import chain_genesis, parse_header, record_bytes
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.index import RingIndex
from edge_agent.errors import DurabilityError, RingError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resumption:
    """The next block number, and the end of the block before it."""

    next_seq: int
    previous: BlockEnd
    previous_lost: bool
    """Blocks between the newest readable page and ``next_seq`` were there, and their pages are damaged."""


def check_identity(superblock: Superblock, name: str, recorder: Ed25519PublicKey, ring_id: bytes | None) -> None:
    """Refuse to write to a ring that is not this recorder's, or not a ring to record to.

    Args:
        superblock: The ring's.
        name: Of the ring, for the error.
        recorder: Public half of the key that will sign its header pages.
        ring_id: The id that this ring had before; None takes any.

    Raises:
        RingError: Another ring or another recorder's, or it is not ready.
    """
    if ring_id is not None and ring_id != superblock.ring_id:
        raise RingError(
            f"another ring lies at this path: ring={name} id={superblock.ring_id.hex()} expected={ring_id.hex()}",
            hint="Is another disk mounted here? Mount the right one, or take this one: edge-agent ring accept",
        )
    if superblock.recorder_public != recorder.public_bytes_raw():
        raise RingError(
            f"ring was made with another recorder key: ring={name}",
            hint="Restore the recorder's key, or move this file away for a new ring.",
        )
    if superblock.state is not State.READY:
        raise RingError(
            f"ring is not one to record to: ring={name} state={superblock.state.name.lower()}",
            hint="A move goes on where it stopped when it is started again; an excerpt belongs to a request.",
        )


def resume(index: RingIndex) -> Resumption:
    """Find where the ring ends (FORMAT 7.4).

    Writes the verified records of the tail once more and syncs, so that the records that the next page accepts are on
    the disk and not only in the page cache of a kernel whose last sync failed.

    Args:
        index: Freshly loaded, of a ring that is open for writing.

    Raises:
        RingError: The newest block cannot be read.
    """
    disk, superblock = index.disk, index.superblock
    newest = index.newest_seq
    if newest == 0:
        end = BlockEnd(0, 0, 0, 0, 0, chain_genesis(superblock.ring_id))
        found = _find_orphan(index)
        return Resumption(max(found, newest) + 1, end, previous_lost=found > newest)
    raw = index.read_page(newest)
    page = parse_page(raw)
    end = _end_of_newest(disk, superblock, page, raw)
    found = _find_orphan(index)
    if found > newest:
        log.error("header pages of newest blocks are damaged ring=%s last=%d lost_to=%d", disk.name, newest, found)
    return Resumption(max(found, newest) + 1, end, previous_lost=found > newest)


def _end_of_newest(disk: Disk, superblock: Superblock, page: Page, raw: bytes) -> BlockEnd:
    if page.tombstone:
        return BlockEnd(page.final_accepted_bytes, page.final_records, 0, 0, 0, page.final_chain)
    start = chain_start(raw)
    # FORMAT 7.4, step 4.
    whole = BlockWalk(disk, superblock, page.seq, start).scan()
    scan = whole.without_torn_tail()
    for damage in scan.damage:
        log.error(
            "synced record is damaged ring=%s block=%d index=%d reason=%s",
            disk.name,
            page.seq,
            damage.index,
            damage.reason,
        )
    tail_from = sum(record.header.index < scan.durable for record in scan.records)
    accepted = tail_from + _count_good(disk, superblock, scan.records[tail_from:])
    # Step 5: the next page signs these records, so they must be on the disk and not in a page cache
    # alone (D4).
    if not _rewrite(disk, superblock, scan.records[tail_from:accepted]):
        accepted = tail_from
    kept = scan.records[:accepted]
    if accepted < len(whole.records):
        dropped = len(whole.records) - accepted
        log.warning("torn tail dropped ring=%s block=%d kept=%d dropped=%d", disk.name, page.seq, accepted, dropped)
    return end_of(kept, kept[-1].chain if kept else start)


def _count_good(disk: Disk, superblock: Superblock, records: tuple[LocatedRecord, ...]) -> int:
    """Count the records of the unsynced tail up to the first whose body is not whole."""
    for count, record in enumerate(records):
        if not is_body_good(record, read_body(disk, superblock, record)):
            return count
    return len(records)


def _rewrite(disk: Disk, superblock: Superblock, records: tuple[LocatedRecord, ...]) -> bool:
    """Write the unsynced tail once more, byte for byte, and sync; False if the disk will not have it."""
    try:
        for record in records:
            at = superblock.block_offset(record.header.seq) + record.offset
            length = HEADER_BYTES + record.header.length + TAG_BYTES + DIGEST_BYTES
            # A torn write may have left old bytes in the padding: it is zero from here on.
            disk.pwrite(disk.pread(length, at).ljust(record_bytes(record.header.length), b"\0"), at)
        if records:
            disk.fdatasync()
    except (DurabilityError, RingError) as error:
        log.warning("tail given up: the disk does not take it ring=%s: %s", disk.name, error)
        return False
    return True


def destroy_damaged_keys(index: RingIndex) -> None:
    """Overwrite the keys in pages that are damaged; durable on return.

    Such a page does not say of what time its block is, and its key may be whole.
    """
    doomed = {slot: raw for slot in index.bad_slots if destroy_key(raw := index.read_page(slot)) != raw}
    for slot, raw in doomed.items():
        index.disk.pwrite(destroy_key(raw), index.superblock.page_offset(slot))
    if doomed:
        log.warning("keys of damaged pages erased ring=%s count=%d", index.disk.name, len(doomed))
        index.disk.fdatasync()


def _find_orphan(index: RingIndex) -> int:
    """Return the largest block number that only records tell of, under pages that are damaged; 0 if there is none.

    Its number must not be used again for other records.
    """
    largest = 0
    for slot in index.bad_slots:
        raw = index.disk.pread(HEADER_BYTES, index.superblock.data_offset + slot * index.superblock.block_bytes)
        try:
            header = parse_header(raw)
        except RingError:
            # Nothing under the damaged page tells a block number (FORMAT 3.2).
            continue
        if index.superblock.slot(header.seq) == slot and header.seq > index.newest_seq:
            largest = max(largest, header.seq)
    return largest

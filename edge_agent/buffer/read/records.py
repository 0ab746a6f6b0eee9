"""The values that the reader hands out: records read back, and blocks as evidence. Values only; reads nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.buffer.format.page import parse_page
from edge_agent.buffer.format.record import RecordHeader
from edge_agent.buffer.read.live_block import LoadedBlock
from edge_agent.buffer.read.timeline import TimedRecord
from edge_agent.units import ClockState, UtcNs


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record read back: checked, decrypted, and with the values that its proof needs."""

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
    """The time that counts: as written, or rebased on boot time if the clock was floor-only."""
    rebased: bool
    attested: bool
    """A later header page signs the end of this block: signed at the time of recording, not by the gateway alone."""
    plaintext: bytes


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """The part of one record that a stranger needs to walk the chain."""

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


def make_stored(block: LoadedBlock, record: TimedRecord, plaintext: bytes, digest: bytes) -> StoredRecord:
    """Put a record that was checked and decrypted together."""
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


def chains_after(block: LoadedBlock) -> Iterator[bytes | None]:
    """Yield, for each record, the chain value after it that the next header or page tells; None if neither does."""
    records = block.scan.records
    told = {place.header.index: place.header.previous_chain for place in records}
    if block.next_page_bytes is not None:
        end = parse_page(block.next_page_bytes).previous
        told[end.records] = end.chain
    for place in records:
        yield told.get(place.header.index + 1)

"""The records of one block, found without any key.

Owns the walk from header to header, the chain along it, and the search behind damage. Must never decrypt.
"""

import hashlib
from dataclasses import dataclass

from edge_agent.buffer.disk import Disk
from edge_agent.buffer.format.constants import (
    DIGEST_BYTES,
    FLAG_FLOOR_ONLY,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    PAGE_BYTES,
    TAG_BYTES,
    Kind,
)
from edge_agent.buffer.format.page import BlockEnd
from edge_agent.buffer.format.record import RecordHeader, next_chain, parse_header, record_bytes, record_digest
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.errors import IntegrityError, UnsupportedVersionError

_SEARCH_BYTES = 2 * record_bytes(MAX_PAYLOAD_BYTES)
"""How far the search behind a damaged header goes: over two of the largest records."""


@dataclass(frozen=True, slots=True)
class LocatedRecord:
    """A record where it lies: its header is good and in its place; its body was not looked at."""

    offset: int
    """From the start of the block."""
    header: RecordHeader
    header_bytes: bytes
    body_sha256: bytes
    """As stored behind the tag; ``is_body_good`` compares."""

    @property
    def end_offset(self) -> int:
        """Offset at which the next record begins."""
        return self.offset + record_bytes(self.header.length)

    @property
    def chain(self) -> bytes:
        """Chain value after this record."""
        return next_chain(self.header.previous_chain, record_digest(self.header_bytes, self.body_sha256))

    def digest_of(self, body: bytes) -> bytes:
        """Return the digest of a body as it was read, whatever stands behind it."""
        return hashlib.sha256(body).digest()


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a block that is not what was written."""

    offset: int
    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class BlockScan:
    """The facts of a block's headers."""

    records: tuple[LocatedRecord, ...]
    damage: tuple[Damage, ...]
    end_offset: int
    chain: bytes
    start: bytes
    """Chain value before record 0."""

    @property
    def durable(self) -> int:
        """How many records were known synced, by the latest record that says so."""
        return max((record.header.durable for record in self.records), default=0)

    def without_torn_tail(self) -> "BlockScan":
        """Return the scan of an open block up to the first hole behind what was synced (FORMAT 7.4, step 4)."""
        durable = self.durable
        hole = min((each.index for each in self.damage if each.index >= durable), default=None)
        if hole is None:
            return self
        kept = tuple(record for record in self.records if record.header.index < hole)
        last = kept[-1] if kept else None
        return BlockScan(
            kept,
            tuple(each for each in self.damage if each.index < durable),
            last.end_offset if last else 0,
            last.chain if last else self.start,
            self.start,
        )


class BlockWalk:
    """One pass over the headers of one block, in order."""

    def __init__(self, disk: Disk, superblock: Superblock, seq: int, chain: bytes, limit: int | None = None) -> None:
        self._disk = disk
        self._base = superblock.block_offset(seq)
        self._seq = seq
        self._limit = superblock.block_bytes if limit is None else min(limit, superblock.block_bytes)
        self._ends_known = limit is not None
        self._start = self.chain = chain
        self.offset = 0
        self.index = 0

    def scan(self) -> BlockScan:
        """Walk to the end: the accepted length if it is known, else the last record whose header is good."""
        records: list[LocatedRecord] = []
        damage: list[Damage] = []
        raw = self._disk.pread(HEADER_BYTES, self._base + self.offset)
        while self.offset + PAGE_BYTES <= self._limit:
            header = self._judge(raw)
            if header is None:
                found = self._search()
                if found is None:
                    break
                damage.append(Damage(self.offset, self.index, "header"))
                self.offset, raw, header = found
                self.chain = header.previous_chain
            # The record before was changed or exchanged: its digest and this header disagree. The
            # walk goes on.
            elif header.previous_chain != self.chain:
                damage.append(Damage(self.offset, max(self.index - 1, 0), "chain"))
            located, raw = self._take(header, raw)
            records.append(located)
            self.offset, self.index, self.chain = located.end_offset, header.index + 1, located.chain
        # The next page signs a longer block: records are missing at its end.
        if self._ends_known and self.offset < self._limit:
            damage.append(Damage(self.offset, self.index, "cut short"))
        return BlockScan(tuple(records), tuple(damage), self.offset, self.chain, self._start)

    def _judge(self, raw: bytes) -> RecordHeader | None:
        """Return the header if it is good, of this block, not behind us and inside the limit."""
        try:
            header = parse_header(raw)
        except (IntegrityError, UnsupportedVersionError):
            return None
        # I2, I10: records of an older lap lie behind the end with good checksums; the number tells
        # them apart.
        if header.seq != self._seq or header.index != self.index:
            return None
        return header if self.offset + record_bytes(header.length) <= self._limit else None

    def _search(self) -> tuple[int, bytes, RecordHeader] | None:
        """Look behind damage for the next good header of this block, page by page."""
        end = min(self.offset + _SEARCH_BYTES, self._limit)
        for offset in range(self.offset + PAGE_BYTES, end, PAGE_BYTES):
            raw = self._disk.pread(HEADER_BYTES, self._base + offset)
            try:
                header = parse_header(raw)
            except (IntegrityError, UnsupportedVersionError):
                # Damaged, or the inside of a record: the next page may begin with a header.
                continue
            fits = offset + record_bytes(header.length) <= self._limit
            skipped = (offset - self.offset) // PAGE_BYTES
            # Each record takes a page at least, so a true one is at most as many numbers on as
            # pages were passed over.
            if fits and header.seq == self._seq and self.index < header.index <= self.index + skipped:
                return offset, raw, header
        return None

    def _take(self, header: RecordHeader, raw: bytes) -> tuple[LocatedRecord, bytes]:
        """Read the digest behind a record's tag and, in the same read, the header that follows."""
        digest_at = self.offset + HEADER_BYTES + header.length + TAG_BYTES
        next_at = self.offset + record_bytes(header.length)
        data = self._disk.pread(next_at + HEADER_BYTES - digest_at, self._base + digest_at)
        return LocatedRecord(self.offset, header, raw, data[:DIGEST_BYTES]), data[next_at - digest_at :]


def read_body(disk: Disk, superblock: Superblock, record: LocatedRecord) -> bytes:
    """Read a record's ciphertext and tag."""
    at = superblock.block_offset(record.header.seq) + record.offset + HEADER_BYTES
    return disk.pread(record.header.length + TAG_BYTES, at)


def is_body_good(record: LocatedRecord, body: bytes | memoryview) -> bool:
    """Tell whether a body is the one whose digest stands behind it."""
    return hashlib.sha256(body).digest() == record.body_sha256


def end_of(records: tuple[LocatedRecord, ...], chain: bytes) -> BlockEnd:
    """Sum up the accepted records of a block for the next header page.

    Where some records were written by a synchronised clock, only their times count (FORMAT 3.1).
    """
    footage = [record.header for record in records if record.header.kind is Kind.GOP]
    timed = [record for record in records if not record.header.flags & FLAG_FLOOR_ONLY] or records
    return BlockEnd(
        accepted_bytes=records[-1].end_offset if records else 0,
        records=records[-1].header.index + 1 if records else 0,
        oldest_ns=min((record.header.start_ns for record in timed), default=0),
        newest_ns=max((record.header.end_ns for record in timed), default=0),
        footage_ns=sum(header.duration_ns for header in footage),
        chain=chain,
    )

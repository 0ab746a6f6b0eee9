"""What the fuzzers try on the ring's parsers, and what must hold whatever the bytes are.

    python -m tests.fuzz ring-TARGET [-max_total_time=60] [libFuzzer options]      needs atheris

TARGET is one of the names in ``TARGETS``; the corpus in ``tests/fuzz/corpus/ring-TARGET`` is replayed by
``test_targets.py`` in every test run.
"""

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

from edge_agent.buffer.block_scan import BlockWalk
from edge_agent.buffer.format.constants import DIGEST_BYTES, HEADER_BYTES, MAX_PAYLOAD_BYTES, PAGE_BYTES
from edge_agent.buffer.format.page import encode_page_signed, parse_page
from edge_agent.buffer.format.record import encode_header, parse_header
from edge_agent.buffer.format.superblock import Superblock, encode_superblock_signed, parse_superblock
from edge_agent.buffer.read.check import check_ring, dump_ring
from edge_agent.errors import IntegrityError, RingError, UnsupportedVersionError
from edge_agent.units import UtcNs
from tests.buffer.fake_disk import FakeDisk

CORPUS = Path(__file__).parent / "corpus"
_SMALL = Superblock(bytes(range(16)), "door", "main", 2, 8192, UtcNs(0), bytes(32))
_LOST = (IntegrityError, UnsupportedVersionError)


def _with_checksum(data: bytes) -> bytes:
    """Pad to a page and make its checksum right, so that the fuzzer reaches what lies behind it."""
    body = data[: PAGE_BYTES - DIGEST_BYTES].ljust(PAGE_BYTES - DIGEST_BYTES, b"\0")
    return body + hashlib.sha256(body).digest()


def superblock(data: bytes) -> None:
    """A superblock is refused, or is impossible to tell from one that this program wrote."""
    for raw in (data, _with_checksum(data)):
        try:
            parsed = parse_superblock(raw)
        except _LOST:
            continue
        assert parsed.file_bytes <= 1 << 50
        assert parsed.page_offset(parsed.blocks - 1) < parsed.data_offset
        assert len(encode_superblock_signed(parsed)) == 256


def page(data: bytes) -> None:
    """A header page is refused, or says nothing that is out of bounds."""
    for raw in (data, _with_checksum(data)):
        try:
            parsed = parse_page(raw)
        except _LOST:
            continue
        assert parsed.previous.accepted_bytes <= 1 << 32
        assert parse_page(_with_checksum(encode_page_signed(parsed) + parsed.signature)) == parsed


def record(data: bytes) -> None:
    """A record header is refused, or has a length that may be allocated."""
    fixed = data[: HEADER_BYTES - 4].ljust(HEADER_BYTES - 4, b"\0")
    for raw in (data, fixed + zlib.crc32(fixed).to_bytes(4, "little")):
        try:
            parsed = parse_header(raw)
        except _LOST:
            continue
        assert 0 <= parsed.length <= MAX_PAYLOAD_BYTES
        assert parse_header(encode_header(parsed)) == parsed


def block(data: bytes) -> None:
    """A walk over any bytes ends, stays inside its block, and finds records in rising order."""
    content = bytearray(_SMALL.file_bytes)
    content[_SMALL.data_offset :] = data[:16384].ljust(16384, b"\0")
    for at in range(_SMALL.data_offset, len(content), PAGE_BYTES):
        header = content[at : at + HEADER_BYTES - 4]
        content[at + HEADER_BYTES - 4 : at + HEADER_BYTES] = zlib.crc32(header).to_bytes(4, "little")
    for limit in (None, 4096, 8192):
        scan = BlockWalk(FakeDisk(content), _SMALL, 2, bytes(32), limit).scan()
        assert scan.end_offset <= 8192
        assert [each.header.index for each in scan.records] == sorted({each.header.index for each in scan.records})
        assert scan.without_torn_tail().end_offset <= scan.end_offset


def ring(data: bytes) -> None:
    """A whole file of any bytes is checked and dumped, or refused."""
    raw = bytearray(data[: 1 << 16])
    for at in range(0, len(raw) - PAGE_BYTES + 1, PAGE_BYTES):
        if raw[at : at + 2] == b"ED" or raw[at : at + 2] == b"EP":
            raw[at : at + PAGE_BYTES] = _with_checksum(bytes(raw[at : at + PAGE_BYTES]))
    try:
        check_ring(FakeDisk(raw))
        for _ in dump_ring(FakeDisk(raw)):
            pass
    except RingError:
        return


TARGETS: dict[str, Callable[[bytes], None]] = {
    "superblock": superblock,
    "page": page,
    "record": record,
    "block": block,
    "ring": ring,
}

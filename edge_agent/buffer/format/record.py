"""FORMAT 4 and 5: a record's header and size, its link in the chain, the run that it begins. Pure."""

import hashlib
import struct
import zlib
from dataclasses import dataclass

from edge_agent.buffer.format.constants import (
    DIGEST_BYTES,
    FLAG_CONTINUES,
    FLAG_FLOOR_ONLY,
    HEADER_BYTES,
    ID_BYTES,
    MAX_PAYLOAD_BYTES,
    PAGE_BYTES,
    TAG_BYTES,
    VERSION,
    Kind,
)
from edge_agent.errors import IntegrityError, UnsupportedVersionError
from edge_agent.units import MonoNs, UtcNs

_LABEL_GENESIS = b"edge-agent/v1 ring"
_LABEL_RUN = b"edge-agent/v1 run"

# FORMAT 4.1, record header: 128 bytes, little-endian; then ciphertext, tag (16), SHA-256 of both (32), zeros to 4096.
#    0   4  magic        b"EREC"          32   8  duration_ns
#    4   1  version      1                40   8  boot_ns       CLOCK_BOOTTIME at start_ns
#    5   1  kind         FORMAT 4.2       48  32  previous_chain
#    6   2  flags        FORMAT 4.3       80  32  commitment    zero for GAP, RUN, CLOCK
#    8   8  seq                          112   4  durable       records of this block known synced
#   16   4  index                        116   8  zero
#   20   4  length       of the payload  124   4  CRC-32 of 0..123
#   24   8  start_ns     UTC
_HEADER = struct.Struct("<4sBBHQIIqqq32s32sI8x")
_HEADER_MAGIC = b"EREC"
_CRC_AT = _HEADER.size


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The clear part of one record, bound to its ciphertext."""

    kind: Kind
    flags: int
    """``FLAG_CONTINUES``, ``FLAG_FLOOR_ONLY`` (4.3)."""
    seq: int
    """Number of its block, from 1."""
    index: int
    """Number in its block, from 0; also the nonce (4.5)."""
    start_ns: UtcNs
    """Wall clock at the first picture, or at the begin of a gap."""
    duration_ns: int
    """Never negative; 0 for a RUN or a note."""
    boot_ns: MonoNs
    """CLOCK_BOOTTIME at ``start_ns``."""
    length: int
    """Of the payload, in bytes; at most 4 MiB."""
    previous_chain: bytes
    """The chain's value before this record (5)."""
    commitment: bytes
    """To the coded pictures (6.4); zero if the record is no GOP."""
    durable: int = 0
    """Records of this block that were known synced when this one was written."""

    @property
    def end_ns(self) -> UtcNs:
        """End of the half-open span that the record covers."""
        return UtcNs(self.start_ns + self.duration_ns)


def encode_header(header: RecordHeader) -> bytes:
    """Write a record header: 128 bytes."""
    packed = _HEADER.pack(
        _HEADER_MAGIC,
        VERSION,
        header.kind,
        header.flags,
        header.seq,
        header.index,
        header.length,
        header.start_ns,
        header.duration_ns,
        header.boot_ns,
        header.previous_chain,
        header.commitment,
        header.durable,
    )
    return packed + zlib.crc32(packed).to_bytes(4, "little")


def parse_header(raw: bytes) -> RecordHeader:
    """Parse a record header (FORMAT 4.1). The caller still bounds it by the block it lies in.

    Raises:
        UnsupportedVersionError: A newer program wrote it.
        IntegrityError: It is no header, damaged, or has a field out of its range.
    """
    if len(raw) != HEADER_BYTES:
        raise IntegrityError(f"record header is cut short: bytes={len(raw)}")
    if not raw.startswith(_HEADER_MAGIC):
        raise IntegrityError("record header has no magic")
    if zlib.crc32(raw[:_CRC_AT]) != int.from_bytes(raw[_CRC_AT:], "little"):
        raise IntegrityError("record header fails its checksum")
    if raw[4] != VERSION:
        raise UnsupportedVersionError(f"record header has version {raw[4]}, this program reads {VERSION}")
    (_, _, kind, flags, seq, index, length, start, duration, boot, previous, commitment, durable) = _HEADER.unpack_from(
        raw
    )
    # FORMAT 4.2 and 4.3: four kinds, two flags.
    if not Kind.GOP <= kind <= Kind.CLOCK or flags > (FLAG_CONTINUES | FLAG_FLOOR_ONLY):
        raise IntegrityError(f"record header has a field out of its range: block={seq} index={index}")
    # `durable` counts records before this one, so it cannot be above its own index.
    if length > MAX_PAYLOAD_BYTES or duration < 0 or durable > index:
        raise IntegrityError(f"record header has an impossible length: block={seq} index={index}")
    return RecordHeader(
        Kind(kind), flags, seq, index, UtcNs(start), duration, MonoNs(boot), length, previous, commitment, durable
    )


def record_bytes(length: int) -> int:
    """Return how much of a block a record with ``length`` bytes of payload takes, padding included."""
    # FORMAT 4: header ‖ ciphertext ‖ tag ‖ body digest, then zeros to a page's end.
    unpadded = HEADER_BYTES + length + TAG_BYTES + DIGEST_BYTES
    return -(-unpadded // PAGE_BYTES) * PAGE_BYTES


def record_digest(header_bytes: bytes, body_sha256: bytes) -> bytes:
    """Return ``d = SHA-256(header ‖ SHA-256(ciphertext ‖ tag))`` (FORMAT 5)."""
    return hashlib.sha256(header_bytes + body_sha256).digest()


def next_chain(chain: bytes, digest: bytes) -> bytes:
    """Return ``SHA-256(chain ‖ d)`` (FORMAT 5)."""
    return hashlib.sha256(chain + digest).digest()


def chain_genesis(ring_id: bytes) -> bytes:
    """Return the chain value before the first block of a ring (FORMAT 5)."""
    return hashlib.sha256(_LABEL_GENESIS + ring_id).digest()


def run_id_of(ring_id: bytes, seq: int, index: int) -> bytes:
    """Return the id of the run that the RUN record at this place begins (FORMAT 4.4): 16 bytes."""
    # FORMAT 4.4: seq (8) ‖ index (4), little-endian.
    place = seq.to_bytes(8, "little") + index.to_bytes(4, "little")
    return hashlib.sha256(_LABEL_RUN + ring_id + place).digest()[:ID_BYTES]

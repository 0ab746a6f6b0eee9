"""Ring format v1: the bytes of superblock, header page and record, and the chain over them (docs/FORMAT.md).

Owns encoding, parsing and the digests. Pure: opens no file, reads no clock, holds no key. Every parser checks length,
magic, version, checksum and bounds, in that order, and raises ``UnsupportedVersionError`` for a newer version and
``IntegrityError`` for everything else, before any length from the file is believed.
"""

import hashlib
import re
import struct
import zlib
from dataclasses import dataclass, field
from enum import IntEnum

from edge_agent.clock import ClockState
from edge_agent.errors import IntegrityError, UnsupportedVersionError
from edge_agent.units import MonoNs, UtcNs

VERSION = 1
PAGE_BYTES = 4096
"""Superblock and header page, and the alignment of everything: what was synced shares no page with what comes later."""
SUPERBLOCK_COPIES = 2
MIN_BLOCKS, MAX_BLOCKS = 2, 65_536
MIN_BLOCK_BYTES, MAX_BLOCK_BYTES = 2 * PAGE_BYTES, 1 << 32
MAX_PAYLOAD_BYTES = 4 << 20
"""No payload is longer, whatever the block size."""
HEADER_BYTES, TAG_BYTES, DIGEST_BYTES = 128, 16, 32
SEALED_KEY_BYTES = 80
SIGNATURE_BYTES = 64
ID_BYTES = 16
ZERO_ID = bytes(ID_BYTES)
ZERO_DIGEST = bytes(DIGEST_BYTES)

FLAG_CONTINUES = 1
"""Record: goes on with the GOP of the record before; begins with no keyframe."""
FLAG_FLOOR_ONLY = 2
"""Record: the wall clock was not synchronised when this was written; ``start_ns`` matches no window as it stands."""
PAGE_TOMBSTONE = 1
PAGE_PREVIOUS_LOST = 2

QUALITIES = ("main", "sub")
_LABEL_GENESIS = b"edge-agent/v1 ring"
_LABEL_BLOCK = b"edge-agent/v1 block"
_LABEL_RUN = b"edge-agent/v1 run"
LABEL_SUPERBLOCK_SIGNATURE = b"edge-agent/v1 superblock"
LABEL_PAGE_SIGNATURE = b"edge-agent/v1 page"
LABEL_RECORD_AAD = b"edge-agent/v1 record"

_CHECKSUM_AT = PAGE_BYTES - DIGEST_BYTES


_NEVER = UtcNs(0)


class Kind(IntEnum):
    """What a record holds (FORMAT 4.2)."""

    GOP = 1
    GAP = 2
    RUN = 3
    CLOCK = 4


class Erased(IntEnum):
    """Why a block has no key any more (FORMAT 3.3)."""

    NOT = 0
    KEEP_FOR = 1
    OWNER = 2


class State(IntEnum):
    """What a ring file is for (FORMAT 2.3)."""

    READY = 0
    MOVING = 1
    """Being filled by a move or a change of size; no recorder may write it."""
    EXCERPT = 2
    """Blocks held for a request, copied by the releaser, which has no recorder key: no signature of its own."""


# FORMAT 2, superblock: 4096 bytes, twice, little-endian.
#    0   8  magic        b"EDGERING"        24   8  file_bytes
#    8   2  version      1                  32  16  ring_id
#   10   1  state        FORMAT 2.3         48   8  created_utc_ns
#   11   1  quality      0 main, 1 sub      56  32  camera     UTF-8, zero-padded
#   12   4  blocks                          88  32  recorder_public   raw Ed25519
#   16   8  block_bytes                    120   8  generation
#  256  64  signature over label ‖ 0..255 4064  32  SHA-256 of 0..4063; the rest is zero
_SUPERBLOCK = struct.Struct("<8sHBBIQQ16sq32s32sQ")
_SUPERBLOCK_MAGIC = b"EDGERING"
_CAMERA_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SUPERBLOCK_SIGNED_BYTES = 256


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a ring file is: ids and geometry."""

    ring_id: bytes
    camera: str
    quality: str
    blocks: int
    block_bytes: int
    created_utc_ns: UtcNs
    recorder_public: bytes
    generation: int = 0
    state: State = State.READY
    version: int = VERSION
    signature: bytes = field(default=bytes(SIGNATURE_BYTES), compare=False)

    @property
    def data_offset(self) -> int:
        """Where block 0 begins."""
        return (SUPERBLOCK_COPIES + self.blocks) * PAGE_BYTES

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        return self.data_offset + self.blocks * self.block_bytes

    @property
    def max_payload_bytes(self) -> int:
        """Largest payload of one record in this ring."""
        return min(MAX_PAYLOAD_BYTES, self.block_bytes - HEADER_BYTES - TAG_BYTES - DIGEST_BYTES)

    def slot(self, seq: int) -> int:
        """Return the slot of block ``seq``."""
        return seq % self.blocks

    def page_offset(self, seq: int) -> int:
        """Return the place of block ``seq``'s header page in the file."""
        return (SUPERBLOCK_COPIES + seq % self.blocks) * PAGE_BYTES

    def block_offset(self, seq: int) -> int:
        """Return the place of block ``seq`` in the file."""
        return self.data_offset + (seq % self.blocks) * self.block_bytes


def is_camera_id(text: str) -> bool:
    """Tell whether a text is a camera's id: it goes into file names and logs."""
    return _CAMERA_ID.fullmatch(text) is not None


def encode_superblock_signed(superblock: Superblock) -> bytes:
    """Write the part of a superblock that its signature covers."""
    packed = _SUPERBLOCK.pack(
        _SUPERBLOCK_MAGIC,
        superblock.version,
        superblock.state,
        QUALITIES.index(superblock.quality),
        superblock.blocks,
        superblock.block_bytes,
        superblock.file_bytes,
        superblock.ring_id,
        superblock.created_utc_ns,
        superblock.camera.encode(),
        superblock.recorder_public,
        superblock.generation,
    )
    return packed.ljust(SUPERBLOCK_SIGNED_BYTES, b"\0")


def seal_page(signed: bytes, signature: bytes) -> bytes:
    """Append signature, zeros and checksum to the signed part: 4096 bytes, for superblock and header page alike."""
    body = (signed + signature).ljust(_CHECKSUM_AT, b"\0")
    return body + hashlib.sha256(body).digest()


def _check_page(raw: bytes, magic: bytes, what: str) -> None:
    """Check length, magic, version and checksum of a 4096-byte page."""
    if len(raw) != PAGE_BYTES:
        raise IntegrityError(f"{what} is cut short: bytes={len(raw)}")
    if not raw.startswith(magic):
        raise IntegrityError(f"{what} has no magic")
    version = int.from_bytes(raw[len(magic) : len(magic) + 2], "little")
    if hashlib.sha256(raw[:_CHECKSUM_AT]).digest() != raw[_CHECKSUM_AT:]:
        # A newer version may check itself in another way: a plausible number is taken at its word.
        if VERSION < version < 256:
            raise UnsupportedVersionError(f"{what} has version {version}, this program reads {VERSION}")
        raise IntegrityError(f"{what} fails its checksum")
    if version != VERSION:
        raise UnsupportedVersionError(f"{what} has version {version}, this program reads {VERSION}")


def parse_superblock(raw: bytes) -> Superblock:
    """Parse one copy of the superblock (FORMAT 2); its signature is not checked here.

    Raises:
        UnsupportedVersionError: A newer program wrote it.
        IntegrityError: It is damaged, or its geometry is impossible.
    """
    _check_page(raw, _SUPERBLOCK_MAGIC, "superblock")
    (_, version, state, quality, blocks, block_bytes, file_bytes, ring_id, created, camera, public, generation) = (
        _SUPERBLOCK.unpack_from(raw)
    )
    if not (MIN_BLOCKS <= blocks <= MAX_BLOCKS and MIN_BLOCK_BYTES <= block_bytes <= MAX_BLOCK_BYTES):
        raise IntegrityError(f"superblock has an impossible geometry: blocks={blocks} block_bytes={block_bytes}")
    if block_bytes % PAGE_BYTES or state > State.EXCERPT or quality >= len(QUALITIES):
        raise IntegrityError("superblock has a field out of its range")
    name = camera.rstrip(b"\0").decode("ascii", "replace")
    if not is_camera_id(name):
        raise IntegrityError("superblock has no camera id")
    superblock = Superblock(
        ring_id=ring_id,
        camera=name,
        quality=QUALITIES[quality],
        blocks=blocks,
        block_bytes=block_bytes,
        created_utc_ns=UtcNs(created),
        recorder_public=public,
        generation=generation,
        state=State(state),
        version=version,
        signature=raw[SUPERBLOCK_SIGNED_BYTES : SUPERBLOCK_SIGNED_BYTES + SIGNATURE_BYTES],
    )
    if superblock.file_bytes != file_bytes:
        raise IntegrityError(f"superblock disagrees with itself about the length of the file: {file_bytes}")
    return superblock


# FORMAT 3, header page: 4096 bytes, little-endian.
#    0   4  magic              b"EPAG"     104   8  previous_oldest_ns
#    4   2  version            1           112   8  previous_newest_ns
#    6   2  flags              FORMAT 3.2  120   8  previous_footage_ns
#    8  16  ring_id                        128  32  previous_chain
#   24   8  seq                            160  16  vault_key_id
#   32  16  boot_id                        176  80  sealed_key      HPKE enc(32) ‖ ciphertext(32) ‖ tag(16)
#   48  16  run_id                         256  16  recorder_key_id
#   64   8  opened_utc_ns                  272   8  final_accepted_bytes   tombstone only
#   72   8  opened_boot_ns                 280   4  final_records          tombstone only
#   80   8  first_start_ns                 284   4  zero
#   88   1  clock_state                    288  32  final_chain            tombstone only
#   89   1  erased             FORMAT 3.3  320   8  erased_utc_ns          tombstone only
#   90   2  zero                           328  56  zero
#   92   4  previous_records               384  64  signature over label ‖ 0..383
#   96   8  previous_accepted_bytes       4064  32  SHA-256 of 0..4063; the rest is zero
_PAGE = struct.Struct("<4sHH16sQ16s16sqqqBB2xIQqqq32s16s80s16sQI4x32sq56x")
_PAGE_MAGIC = b"EPAG"
PAGE_SIGNED_BYTES = _PAGE.size
_CLOCK_STATES = (ClockState.FLOOR_ONLY, ClockState.SYNCHRONISED)


@dataclass(frozen=True, slots=True)
class BlockEnd:
    """How a block ended: what the next header page says, and signs, about it."""

    accepted_bytes: int
    records: int
    oldest_ns: int
    """Smallest start of a record; 0 where there is none."""
    newest_ns: int
    """Largest end of a record; 0 where there is none."""
    footage_ns: int
    """Sum of the durations of its GOP records."""
    chain: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """A block's header page, or the tombstone that took its place."""

    ring_id: bytes
    seq: int
    boot_id: bytes
    run_id: bytes
    """The run in force when the block was opened; a RUN record inside begins another (``run_id_of``)."""
    opened_utc_ns: UtcNs
    opened_boot_ns: MonoNs
    first_start_ns: UtcNs
    clock_state: ClockState
    vault_key_id: bytes
    sealed_key: bytes
    recorder_key_id: bytes
    previous: BlockEnd
    previous_lost: bool = False
    erased: Erased = Erased.NOT
    erased_utc_ns: UtcNs = _NEVER
    final_accepted_bytes: int = 0
    final_records: int = 0
    final_chain: bytes = ZERO_DIGEST
    version: int = VERSION
    signature: bytes = field(default=bytes(SIGNATURE_BYTES), compare=False)

    @property
    def tombstone(self) -> bool:
        """Tell whether the key, and with it the footage, is gone."""
        return self.erased is not Erased.NOT

    @property
    def previous_accepted_bytes(self) -> int:
        """Length of the block before, up to the end of its last accepted record."""
        return self.previous.accepted_bytes

    @property
    def previous_chain(self) -> bytes:
        """Chain value after the last accepted record of the block before."""
        return self.previous.chain


def encode_page_signed(page: Page) -> bytes:
    """Write the part of a header page that its signature covers."""
    flags = PAGE_TOMBSTONE * page.tombstone | PAGE_PREVIOUS_LOST * page.previous_lost
    previous = page.previous
    return _PAGE.pack(
        _PAGE_MAGIC,
        page.version,
        flags,
        page.ring_id,
        page.seq,
        page.boot_id,
        page.run_id,
        page.opened_utc_ns,
        page.opened_boot_ns,
        page.first_start_ns,
        _CLOCK_STATES.index(page.clock_state),
        page.erased,
        previous.records,
        previous.accepted_bytes,
        previous.oldest_ns,
        previous.newest_ns,
        previous.footage_ns,
        previous.chain,
        page.vault_key_id,
        page.sealed_key,
        page.recorder_key_id,
        page.final_accepted_bytes,
        page.final_records,
        page.final_chain,
        page.erased_utc_ns,
    )


def is_blank(raw: bytes) -> bool:
    """Tell whether a page was never written."""
    return not raw.strip(b"\0")


def parse_page(raw: bytes) -> Page:
    """Parse one header page (FORMAT 3); its signature is not checked here.

    Raises:
        UnsupportedVersionError: A newer program wrote it.
        IntegrityError: It is torn, damaged, or has a field out of its range.
    """
    _check_page(raw, _PAGE_MAGIC, "header page")
    # fmt: off
    (_, version, flags, ring_id, seq, boot_id, run_id, opened_utc, opened_boot, first_start, clock_state, erased,
     records, accepted, oldest, newest, footage, chain, vault_key_id, sealed_key, recorder_key_id,
     final_accepted, final_records, final_chain, erased_utc) = _PAGE.unpack_from(raw)
    # fmt: on
    if seq == 0 or flags > (PAGE_TOMBSTONE | PAGE_PREVIOUS_LOST) or clock_state >= len(_CLOCK_STATES):
        raise IntegrityError(f"header page has a field out of its range: block={seq}")
    if erased > Erased.OWNER or bool(erased) != bool(flags & PAGE_TOMBSTONE):
        raise IntegrityError(f"header page has a tombstone that contradicts itself: block={seq}")
    if max(accepted, final_accepted) > MAX_BLOCK_BYTES or (accepted | final_accepted) % PAGE_BYTES:
        raise IntegrityError(f"header page has an impossible length: block={seq}")
    return Page(
        ring_id=ring_id,
        seq=seq,
        boot_id=boot_id,
        run_id=run_id,
        opened_utc_ns=UtcNs(opened_utc),
        opened_boot_ns=MonoNs(opened_boot),
        first_start_ns=UtcNs(first_start),
        clock_state=_CLOCK_STATES[clock_state],
        vault_key_id=vault_key_id,
        sealed_key=sealed_key,
        recorder_key_id=recorder_key_id,
        previous=BlockEnd(accepted, records, oldest, newest, footage, chain),
        previous_lost=bool(flags & PAGE_PREVIOUS_LOST),
        erased=Erased(erased),
        erased_utc_ns=UtcNs(erased_utc),
        final_accepted_bytes=final_accepted,
        final_records=final_records,
        final_chain=final_chain,
        version=version,
        signature=raw[PAGE_SIGNED_BYTES : PAGE_SIGNED_BYTES + SIGNATURE_BYTES],
    )


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
    """What is in the clear about one record, and bound to its ciphertext."""

    kind: Kind
    flags: int
    seq: int
    index: int
    start_ns: UtcNs
    duration_ns: int
    boot_ns: MonoNs
    length: int
    previous_chain: bytes
    commitment: bytes
    durable: int = 0

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
    if not Kind.GOP <= kind <= Kind.CLOCK or flags > (FLAG_CONTINUES | FLAG_FLOOR_ONLY):
        raise IntegrityError(f"record header has a field out of its range: block={seq} index={index}")
    if length > MAX_PAYLOAD_BYTES or duration < 0 or durable > index:
        raise IntegrityError(f"record header has an impossible length: block={seq} index={index}")
    return RecordHeader(
        Kind(kind), flags, seq, index, UtcNs(start), duration, MonoNs(boot), length, previous, commitment, durable
    )


def record_bytes(length: int) -> int:
    """Return how much of a block a record with ``length`` bytes of payload takes, padding included."""
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


def chain_start(page_bytes: bytes) -> bytes:
    """Return the chain value before the first record of a block: it binds the page, and so the page before it."""
    return hashlib.sha256(_LABEL_BLOCK + page_bytes[:PAGE_SIGNED_BYTES]).digest()


def run_id_of(ring_id: bytes, seq: int, index: int) -> bytes:
    """Return the id of the run that the RUN record at this place begins (FORMAT 4.4): 16 bytes."""
    place = seq.to_bytes(8, "little") + index.to_bytes(4, "little")
    return hashlib.sha256(_LABEL_RUN + ring_id + place).digest()[:ID_BYTES]

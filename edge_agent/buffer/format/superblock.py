"""FORMAT 2: the superblock, which describes a ring file. Pure; signatures are ``crypt``'s."""

import re
import struct
from dataclasses import dataclass, field

from edge_agent.buffer.format.constants import (
    DIGEST_BYTES,
    HEADER_BYTES,
    MAX_BLOCK_BYTES,
    MAX_BLOCKS,
    MAX_PAYLOAD_BYTES,
    MIN_BLOCK_BYTES,
    MIN_BLOCKS,
    PAGE_BYTES,
    QUALITIES,
    SIGNATURE_BYTES,
    SUPERBLOCK_COPIES,
    TAG_BYTES,
    VERSION,
    State,
    check_page,
)
from edge_agent.errors import IntegrityError
from edge_agent.units import UtcNs

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
# FORMAT 2: no dot, slash or blank, because it becomes part of a file's name.
_CAMERA_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SUPERBLOCK_SIGNED_BYTES = 256


@dataclass(frozen=True, slots=True)
class Superblock:
    """The identity of a ring file: ids and geometry."""

    ring_id: bytes
    """16 random bytes: the ring's identity, whatever its path."""
    camera: str
    """The camera's id, at most 32 ASCII characters."""
    quality: str
    """``main`` or ``sub``."""
    blocks: int
    """Number of blocks, and of slots for header pages."""
    block_bytes: int
    """Bytes of each block, a multiple of 4096."""
    created_utc_ns: UtcNs
    recorder_public: bytes
    """Raw Ed25519 key (32) that signs this and every header page."""
    generation: int = 0
    """Rises with every rewrite; of two good copies the higher one counts (2.2)."""
    state: State = State.READY
    version: int = VERSION
    signature: bytes = field(default=bytes(SIGNATURE_BYTES), compare=False)
    """Zero in an excerpt, whose maker has no recorder key (2.3)."""

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


def parse_superblock(raw: bytes) -> Superblock:
    """Parse one copy of the superblock (FORMAT 2); its signature is not checked here.

    Raises:
        UnsupportedVersionError: A newer program wrote it.
        IntegrityError: It is damaged, or its geometry is impossible.
    """
    check_page(raw, _SUPERBLOCK_MAGIC, "superblock")
    (_, version, state, quality, blocks, block_bytes, file_bytes, ring_id, created, camera, public, generation) = (
        _SUPERBLOCK.unpack_from(raw)
    )
    # FORMAT 2.1: bounds before a length is used; both are multiplied below.
    if not (MIN_BLOCKS <= blocks <= MAX_BLOCKS and MIN_BLOCK_BYTES <= block_bytes <= MAX_BLOCK_BYTES):
        raise IntegrityError(f"superblock has an impossible geometry: blocks={blocks} block_bytes={block_bytes}")
    if block_bytes % PAGE_BYTES or state > State.EXCERPT or quality >= len(QUALITIES):
        raise IntegrityError("superblock has a field out of its range")
    # "replace": a letter beyond ASCII fails the form below, with the message of a wrong id.
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
    # FORMAT 2: a truncated or grown file is found here, before a block is looked for.
    if superblock.file_bytes != file_bytes:
        raise IntegrityError(f"superblock disagrees with itself about the length of the file: {file_bytes}")
    return superblock

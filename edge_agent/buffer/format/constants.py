"""Ring format v1 (docs/FORMAT.md): its sizes, limits, kinds and labels, and the common part of its 4096-byte pages.

The three structures are in ``superblock``, ``page`` and ``record``. All are pure: they open no file, read no clock,
hold no key. Every parser checks length, magic, version, checksum and bounds, in that order, and raises
``UnsupportedVersionError`` for a newer version and ``IntegrityError`` for everything else, before any length from the
file is believed.
"""

import hashlib
from enum import IntEnum

from edge_agent.errors import IntegrityError, UnsupportedVersionError

VERSION = 1
PAGE_BYTES = 4096
"""Superblock and header page, and the alignment of everything: a synced record shares no page with a later one."""
SUPERBLOCK_COPIES = 2
# Two: one block is open while another holds earlier footage.
MIN_BLOCKS, MAX_BLOCKS = 2, 65_536
MIN_BLOCK_BYTES, MAX_BLOCK_BYTES = 2 * PAGE_BYTES, 1 << 32
MAX_PAYLOAD_BYTES = 4 << 20
"""No payload is longer, whatever the block size."""
# FORMAT 4: header, tag of ChaCha20-Poly1305 (RFC 8439, 2.8), SHA-256.
HEADER_BYTES, TAG_BYTES, DIGEST_BYTES = 128, 16, 32
# FORMAT 3.4: enc (32) ‖ ciphertext (32) ‖ tag (16).
SEALED_KEY_BYTES = 80
# Ed25519 (RFC 8032, 5.1.6).
SIGNATURE_BYTES = 64
ID_BYTES = 16
ZERO_ID = bytes(ID_BYTES)
ZERO_DIGEST = bytes(DIGEST_BYTES)

FLAG_CONTINUES = 1
"""Record: goes on with the GOP of the record before; begins with no keyframe."""
FLAG_FLOOR_ONLY = 2
"""Record: the wall clock was not synchronised when this was written; ``start_ns`` matches no window as it stands."""
# FORMAT 3: flags of a header page.
PAGE_TOMBSTONE = 1
PAGE_PREVIOUS_LOST = 2

QUALITIES = ("main", "sub")
# One label for each use of a key: no signature or tag of one structure fits another.
LABEL_SUPERBLOCK_SIGNATURE = b"edge-agent/v1 superblock"
LABEL_PAGE_SIGNATURE = b"edge-agent/v1 page"
LABEL_RECORD_AAD = b"edge-agent/v1 record"

_CHECKSUM_AT = PAGE_BYTES - DIGEST_BYTES


class Kind(IntEnum):
    """The kinds of a record's content (FORMAT 4.2)."""

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
    """The uses of a ring file (FORMAT 2.3)."""

    READY = 0
    MOVING = 1
    """Being filled by a move or a change of size; no recorder may write it."""
    EXCERPT = 2
    """Blocks held for a request, copied by the releaser, which has no recorder key: no signature of its own."""


def seal_page(signed: bytes, signature: bytes) -> bytes:
    """Append signature, zeros and checksum to the signed part: 4096 bytes, for superblock and header page alike."""
    body = (signed + signature).ljust(_CHECKSUM_AT, b"\0")
    return body + hashlib.sha256(body).digest()


def check_page(raw: bytes, magic: bytes, what: str) -> None:
    """Check length, magic, version and checksum of a 4096-byte page."""
    # FORMAT 2.1: length, magic, version, checksum; bounds and signature are the caller's.
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

"""Everything secret about a ring: block keys, their sealing to the vault, records, signatures.

The only module that imports the AEAD and HPKE. Callers pass a position, never a nonce; a failed tag says where, never
why. Must never write, log or show a key.
"""

import hashlib
import hmac
import os
from typing import Self

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from edge_agent.buffer.format.constants import (
    DIGEST_BYTES,
    HEADER_BYTES,
    ID_BYTES,
    LABEL_PAGE_SIGNATURE,
    LABEL_RECORD_AAD,
    LABEL_SUPERBLOCK_SIGNATURE,
    TAG_BYTES,
    seal_page,
)
from edge_agent.buffer.format.page import PAGE_SIGNED_BYTES, Page, encode_page_signed
from edge_agent.buffer.format.record import RecordHeader, encode_header, record_bytes
from edge_agent.buffer.format.superblock import SUPERBLOCK_SIGNED_BYTES, Superblock, encode_superblock_signed
from edge_agent.errors import IntegrityError

# FORMAT 3.4: binds a sealed key to its ring and block, so that no page can borrow another's.
_LABEL_BLOCK_KEY = b"edge-agent/v1 block key"
# RFC 9180: DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, ChaCha20Poly1305 0x0003.
_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
# RFC 8439, section 2.8: 96 bits.
_NONCE_BYTES = 12
# The longest padding: a record ends at a multiple of a page (FORMAT 4).
_ZEROS = bytes(4096)


def key_id(public: X25519PublicKey | Ed25519PublicKey) -> bytes:
    """Return the first 16 bytes of the SHA-256 of the raw public key."""
    return hashlib.sha256(public.public_bytes_raw()).digest()[:ID_BYTES]


def record_aad(ring_id: bytes, header_bytes: bytes) -> bytes:
    """Build what the tag of a record covers beside its ciphertext (FORMAT 4.5): the one place where it is made."""
    return LABEL_RECORD_AAD + ring_id + header_bytes


def _block_key_info(ring_id: bytes, seq: int) -> bytes:
    return _LABEL_BLOCK_KEY + ring_id + seq.to_bytes(8, "little")


class BlockCipher:
    """The data key of one block. Encrypts each index once, in order; decrypts any."""

    __slots__ = ("_aead", "_next_index", "_ring_id", "_seq")

    def __init__(self, key: bytes, ring_id: bytes, seq: int) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._ring_id = ring_id
        self._seq = seq
        self._next_index = 0

    def __repr__(self) -> str:
        return f"BlockCipher(block={self._seq})"

    @classmethod
    def generate(cls, vault: X25519PublicKey, ring_id: bytes, seq: int) -> tuple[Self, bytes]:
        """Make a fresh key; return its cipher and the key sealed to the vault (FORMAT 3.4): 80 bytes."""
        # Fresh for each block: a nonce is a record's index, so no key may come twice.
        key = os.urandom(32)
        # HPKE's base mode (RFC 9180, 6.1) with an empty AAD: enc (32) ‖ ciphertext (32) ‖ tag (16).
        sealed = _SUITE.encrypt(key, vault, info=_block_key_info(ring_id, seq))
        return cls(key, ring_id, seq), sealed

    @classmethod
    def open(cls, sealed: bytes, vault: X25519PrivateKey, ring_id: bytes, seq: int) -> Self:
        """Open a sealed block key.

        Raises:
            IntegrityError: It was sealed to another vault, for another ring or block, or is damaged.
        """
        try:
            key = _SUITE.decrypt(sealed, vault, info=_block_key_info(ring_id, seq))
        # One error for all causes: the caller learns where, and an attacker does not learn how far
        # he came.
        except (InvalidTag, ValueError):
            raise IntegrityError(
                f"block key does not open: block={seq}", hint="Was the vault key replaced since this was recorded?"
            ) from None
        return cls(key, ring_id, seq)

    def encrypt_record(self, header: RecordHeader, payload: bytes, out: bytearray) -> tuple[int, bytes, bytes]:
        """Write a whole record into ``out``: header, ciphertext, tag, body digest, zeros up to the alignment.

        Returns:
            The bytes used in ``out``, the header's bytes, and SHA-256(ciphertext ‖ tag).
        """
        # One key, one index, one plaintext: reusing an index would reuse a nonce and break ChaCha20-Poly1305.
        if header.index != self._next_index or header.seq != self._seq:
            raise ValueError(f"record out of order: block={header.seq} index={header.index}")
        self._next_index += 1
        size = record_bytes(header.length)
        end = HEADER_BYTES + header.length + TAG_BYTES
        raw = encode_header(header)
        with memoryview(out) as view:
            # FORMAT 4: header ‖ ciphertext ‖ tag ‖ body digest ‖ zeros.
            view[:HEADER_BYTES] = raw
            nonce = header.index.to_bytes(_NONCE_BYTES, "little")
            # Into the caller's buffer: one copy of megabytes less.
            with view[HEADER_BYTES:end] as body:
                self._aead.encrypt_into(nonce, payload, record_aad(self._ring_id, raw), body)
                digest = hashlib.sha256(body).digest()
            view[end : end + DIGEST_BYTES] = digest
            # The buffer is used again: an earlier record's bytes must not stay behind this one.
            view[end + DIGEST_BYTES : size] = _ZEROS[: size - end - DIGEST_BYTES]
        return size, raw, digest

    def decrypt_record(self, header: RecordHeader, header_bytes: bytes, body: bytes | memoryview) -> bytes:
        """Return the payload of a record.

        Raises:
            IntegrityError: Header, ciphertext or tag are not what was written at this place.
        """
        nonce = header.index.to_bytes(_NONCE_BYTES, "little")
        try:
            return self._aead.decrypt(nonce, body, record_aad(self._ring_id, header_bytes))
        except InvalidTag:
            raise IntegrityError(f"record tag mismatch: block={self._seq} index={header.index}") from None


def sign_superblock(superblock: Superblock, key: Ed25519PrivateKey) -> bytes:
    """Encode and sign a superblock: 4096 bytes."""
    signed = encode_superblock_signed(superblock)
    return seal_page(signed, key.sign(LABEL_SUPERBLOCK_SIGNATURE + signed))


def sign_page(page: Page, key: Ed25519PrivateKey) -> bytes:
    """Encode and sign a header page: 4096 bytes."""
    signed = encode_page_signed(page)
    return seal_page(signed, key.sign(LABEL_PAGE_SIGNATURE + signed))


def verify_superblock(raw: bytes, superblock: Superblock, key: Ed25519PublicKey) -> None:
    """Check a superblock's signature; IntegrityError if it does not verify."""
    _verify(key, superblock.signature, LABEL_SUPERBLOCK_SIGNATURE + raw[:SUPERBLOCK_SIGNED_BYTES], "superblock")


def verify_page(raw: bytes, page: Page, key: Ed25519PublicKey) -> None:
    """Check a header page's key id and signature; IntegrityError if either does not fit."""
    # The id first: a page of another recorder gets a message that names the cause.
    if not hmac.compare_digest(page.recorder_key_id, key_id(key)):
        raise IntegrityError(f"header page was signed by another key: block={page.seq}")
    _verify(key, page.signature, LABEL_PAGE_SIGNATURE + raw[:PAGE_SIGNED_BYTES], f"header page of block={page.seq}")


def _verify(key: Ed25519PublicKey, signature: bytes, message: bytes, what: str) -> None:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise IntegrityError(f"signature does not verify: {what}") from None

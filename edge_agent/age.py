"""Writes age files (C2SP ``age``), header and payload apart: whoever has the one without the other can open nothing.

Owns the bytes of an age file as they are written. Reading and making keys is ``pyrage``'s; it gives the header only in
front of the payload, and takes twice the time for a chunk. Must never write a file key, or use one for two payloads.
"""

import base64
import os
from collections.abc import Iterable

import pyrage
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge_agent.errors import EvidenceError

CHUNK_BYTES = 64 << 10
TAG_BYTES = 16

_VERSION_LINE = b"age-encryption.org/v1\n"
_X25519_LABEL = b"age-encryption.org/v1/X25519"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_PREFIX, _CHECKSUM_CHARS = "age1", 6


def generate_file_key() -> bytes:
    """Return the key of one file: 128 random bits."""
    return os.urandom(16)


def wrap_for(file_key: bytes, recipient: str) -> bytes:
    """Return the stanza that hands a file key to the holder of an X25519 identity.

    Raises:
        EvidenceError: ``recipient`` is no age public key of that kind.
    """
    public = _parse_recipient(recipient)
    own = X25519PrivateKey.generate()
    share = own.public_key().public_bytes_raw()
    try:
        shared = own.exchange(public)
    except ValueError as error:  # a point of low order: everybody would know the secret
        raise EvidenceError("a recipient is no age public key") from error
    key = derive(shared, share + public.public_bytes_raw(), _X25519_LABEL)
    return encode_stanza(("X25519", encode(share)), wrap(key, file_key))


def wrap(key: bytes, file_key: bytes) -> bytes:
    """Encrypt a file key under a key that is used for nothing else."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)


def encode_stanza(arguments: Iterable[str], body: bytes) -> bytes:
    """Write a stanza whose body fits into one line."""
    return f"-> {' '.join(arguments)}\n{encode(body)}\n".encode()


def encode_header(file_key: bytes, stanzas: Iterable[bytes]) -> bytes:
    """Write the header: who can open the file, and that nobody was added since."""
    header = _VERSION_LINE + b"".join(stanzas) + b"---"
    mac = HMAC(derive(file_key, None, b"header"), SHA256())
    mac.update(header)
    return header + b" " + encode(mac.finalize()).encode() + b"\n"


class PayloadCipher:
    """The payload of one file, chunk by chunk, in order; ``nonce`` stands before the first."""

    def __init__(self, file_key: bytes) -> None:
        self.nonce = os.urandom(16)
        self._aead = ChaCha20Poly1305(derive(file_key, self.nonce, b"payload"))
        self._number = 0

    def encrypt_into(self, chunk: bytes | memoryview, out: memoryview, *, is_last: bool) -> None:
        """Encrypt the next chunk into ``out``, which is ``TAG_BYTES`` longer.

        Every chunk but the last has ``CHUNK_BYTES``; the last is empty only where the whole payload is.
        """
        number, self._number = self._number, self._number + 1
        nonce = number.to_bytes(11, "big") + (b"\1" if is_last else b"\0")
        self._aead.encrypt_into(nonce, chunk, None, out)


def derive(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    """Derive a key of 32 bytes (HKDF-SHA-256)."""
    return HKDF(SHA256(), length=32, salt=salt, info=info).derive(secret)


def encode(raw: bytes) -> str:
    """Write base64 without padding."""
    return base64.b64encode(raw).decode().rstrip("=")


def _parse_recipient(text: str) -> X25519PublicKey:
    try:
        # It checks prefix, length and checksum; its canonical form is then plain base 32 of 256 bits and 4 zeros.
        canonical = str(pyrage.x25519.Recipient.from_str(text))
    except pyrage.RecipientError as error:
        raise EvidenceError("a recipient is no age public key") from error
    bits = 0
    for char in canonical.removeprefix(_PREFIX)[:-_CHECKSUM_CHARS]:
        bits = bits << 5 | _BECH32.index(char)
    return X25519PublicKey.from_public_bytes((bits >> 4).to_bytes(32, "big"))

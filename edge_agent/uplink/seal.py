"""age, streaming, with the header kept apart.

Owns the split of an age file into its header (which holds the file key, wrapped to each recipient) and its payload.
Without the header the payload opens for nobody: that is what makes a revocation during an upload a real one.
Header ‖ payload is a stock age file (C2SP ``age``).
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import IO

from edge_agent import age
from edge_agent.errors import EvidenceError

MAX_HEADER_BYTES = 2048
_MAGIC = b"age-encryption.org/v1\n"
_MAC = b"\n--- "
_CHUNKS = 4
"""Written and digested at once: few calls, and all of it still in the processor's cache."""


class _Payload:
    """Takes plaintext in pieces of any length, in order; writes ciphertext. Its two buffers are all it holds."""

    def __init__(self, file_key: bytes, out: IO[bytes]) -> None:
        self._cipher, self._out = age.PayloadCipher(file_key), out
        self._plain, self._filled = memoryview(bytearray(age.CHUNK_BYTES)), 0
        self._sealed, self._ready = memoryview(bytearray(_CHUNKS * (age.CHUNK_BYTES + age.TAG_BYTES))), 0
        self.digest, self.size = hashlib.sha256(), 0

    def begin(self, header: bytes) -> None:
        """Write what stands before the first chunk."""
        self._write(memoryview(header + self._cipher.nonce))

    def add(self, piece: bytes | memoryview) -> None:
        """Encrypt a piece, as far as it fills chunks."""
        left = memoryview(piece)
        while left:
            if self._filled == age.CHUNK_BYTES:  # only now is it known not to be the last one
                self._seal(is_last=False)
            taken = left[: age.CHUNK_BYTES - self._filled]
            end = self._filled + len(taken)
            self._plain[self._filled : end] = taken
            self._filled, left = end, left[len(taken) :]

    def end(self) -> None:
        """Encrypt the last chunk and write what is left."""
        self._seal(is_last=True)
        self._write(self._sealed[: self._ready])

    def _seal(self, *, is_last: bool) -> None:
        if self._ready == len(self._sealed):
            self._write(self._sealed)
            self._ready = 0
        end = self._ready + self._filled + age.TAG_BYTES
        self._cipher.encrypt_into(self._plain[: self._filled], self._sealed[self._ready : end], is_last=is_last)
        self._ready, self._filled = end, 0

    def _write(self, data: memoryview) -> None:
        self._out.write(data)
        self.digest.update(data)
        self.size += len(data)


def find_header_end(data: bytes | bytearray) -> int | None:
    """Return where an age file's payload begins, None where the header is not complete.

    Raises:
        EvidenceError: It is no age file, or its header is longer than any of ours.
    """
    if not bytes(data[: len(_MAGIC)]).startswith(_MAGIC[: len(data)]):
        raise EvidenceError("not an age file of version 1")
    mac = data.find(_MAC)
    end = data.find(b"\n", mac + len(_MAC)) if mac >= 0 else -1
    if end < 0 and len(data) <= MAX_HEADER_BYTES:
        return None
    if end < 0 or end >= MAX_HEADER_BYTES:
        raise EvidenceError(f"age header is longer than {MAX_HEADER_BYTES} bytes")
    return end + 1


def seal_stream(
    pieces: Iterable[bytes | memoryview], recipients: Sequence[str], out: IO[bytes], *, header_inside: bool = False
) -> tuple[bytes, bytes, int]:
    """Encrypt pieces to age recipients and write the payload, or the whole age file where ``header_inside``.

    A piece is done with when the next one is asked for.

    Returns:
        The header, and SHA-256 and length of what was written.

    Raises:
        EvidenceError: A recipient is not one of age's.
        BaseException: Whatever making a piece or writing raised.
    """
    file_key = age.generate_file_key()
    header = age.encode_header(file_key, [age.wrap_for(file_key, each) for each in recipients])
    payload = _Payload(file_key, out)
    payload.begin(header if header_inside else b"")
    for piece in pieces:
        payload.add(piece)
    payload.end()
    return header, payload.digest.digest(), payload.size

"""age, streaming, with the header kept apart.

Owns the split of an age file into its header (which holds the file key, wrapped to each recipient) and its payload.
Without the header no key opens the payload: for that reason a revocation during an upload is a real one.
Header ‖ payload is a stock age file (C2SP ``age``).
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyrage

from edge_agent.errors import EdgeAgentError, EvidenceError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

# Three X25519 stanzas make 364 bytes; an answer takes 1 KiB (PROTOCOL 8.2).
MAX_HEADER_BYTES = 2048
_MAGIC = b"age-encryption.org/v1\n"
# C2SP age, "Header": the MAC line is the last one, and no stanza's line begins with "---".
_MAC = b"\n--- "
_BUFFER_BYTES = 128 << 10


class _Pieces(io.RawIOBase):
    """Looks like a file to read from; remembers what making a piece raised, because pyrage would hide it."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._left:
            try:
                piece = next(self._pieces, None)
            except BaseException as error:
                self.error = error
                raise
            if piece is None:
                return 0
            self._left = memoryview(piece)
        length = min(len(into), len(self._left))
        into[:length], self._left = self._left[:length], self._left[length:]
        return length


class _Splitter:
    """Keeps the header, passes on the payload; the header too if it belongs in front of it."""

    def __init__(self, out: "SupportsWrite[bytes]", *, header_inside: bool) -> None:
        self._out, self._header_inside = out, header_inside
        self._head: bytearray | None = bytearray()
        self.header = b""
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        length = len(data)
        if self._head is not None:
            self._head += data
            end = find_header_end(self._head)
            if end is None:
                return length
            self.header, data = bytes(self._head[:end]), bytes(self._head[0 if self._header_inside else end :])
            self._head = None
        try:
            self._out.write(data)
        except BaseException as error:
            self.error = error
            raise
        return length

    def flush(self) -> None:
        """Nothing is held back."""


def find_header_end(data: bytes | bytearray) -> int | None:
    """Return where an age file's payload begins, None if the header is not complete.

    Raises:
        EvidenceError: It is no age file, or its header is longer than any of ours.
    """
    if not bytes(data[: len(_MAGIC)]).startswith(_MAGIC[: len(data)]):
        raise EvidenceError("not an age file of version 1")
    # The header ends with the line feed behind its MAC; the payload's nonce follows at once.
    mac = data.find(_MAC)
    end = data.find(b"\n", mac + len(_MAC)) if mac >= 0 else -1
    if end < 0 and len(data) <= MAX_HEADER_BYTES:
        return None
    # Bounded: without an end a stranger's file would be kept in memory as a whole.
    if end < 0 or end >= MAX_HEADER_BYTES:
        raise EvidenceError(f"age header is longer than {MAX_HEADER_BYTES} bytes")
    return end + 1


def seal_stream(
    pieces: Iterable[bytes | memoryview],
    recipients: Sequence[str],
    out: "SupportsWrite[bytes]",
    *,
    header_inside: bool = False,
) -> bytes:
    """Encrypt pieces to age recipients and write the payload, or the whole age file where ``header_inside``.

    Returns the header. A piece is done with when the next one is asked for.

    Raises:
        EvidenceError: A recipient is not one of age's.
        BaseException: Any error of making a piece or of writing.
    """
    keys = [_parse_recipient(text) for text in recipients]
    source, splitter = _Pieces(iter(pieces)), _Splitter(out, header_inside=header_inside)
    try:
        # pyrage asks for 8 KiB at a time: Python's own buffer answers that without any Python in between.
        pyrage.encrypt_io(io.BufferedReader(source, _BUFFER_BYTES), splitter, keys)
    except Exception as error:
        raise source.error or splitter.error or EdgeAgentError(f"cannot encrypt: {error}") from error
    return splitter.header


def _parse_recipient(text: str) -> "pyrage.x25519.Recipient":
    try:
        recipient = pyrage.x25519.Recipient.from_str(text)
        # Tried: for a point of low order pyrage panics in the middle of a bundle, past every `except Exception`.
        pyrage.encrypt(b"", [recipient])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise EvidenceError("a recipient is no age public key") from error
    return recipient

"""A ZIP file written to a stream: entries stored, of a length that is not known before.

Owns the digests of the entries. ZIP because every computer opens it; stored because video does not get smaller; the
order of entries is the order of writing, so that an entry about the others can come last.
"""

import hashlib
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from edge_agent.units import SECOND_NS, UtcNs

_ZIP64_VERSION = 45
"""4.5: an entry uses ZIP64 (APPNOTE 4.4.3.2)."""
_SIZES_AT = 18
"""Offset of the two sizes in a local header (APPNOTE 4.3.7)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry that was written."""

    name: str
    sha256: bytes
    size: int


class _Outbox:
    """Takes what the ZIP writer writes until it is fetched; cannot seek, as a pipe cannot."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""


class _Entry(zipfile.ZipInfo):
    """An entry in the one form that a verifier takes, whichever Python writes it.

    Before 3.11.4 (Debian 12 has 3.11.2) ``force_zip64`` wrote sizes of 0 and version 2.0 beside the ZIP64 field, which
    is not ZIP (APPNOTE 4.4.3.2, 4.5.3).
    """

    def FileHeader(self, zip64: bool | None = None) -> bytes:
        """Return the local header: version 4.5, both sizes in the ZIP64 field."""
        self.create_version = self.extract_version = _ZIP64_VERSION
        header = super().FileHeader(zip64)
        return header[:_SIZES_AT] + b"\xff" * 8 + header[_SIZES_AT + 8 :]


class ZipStream:
    """Writes one ZIP; ``take`` fetches the bytes made so far.

    Args:
        made_at: Goes into every entry: an entry's own time would say how fast the gateway worked.
    """

    def __init__(self, made_at: UtcNs) -> None:
        self._outbox = _Outbox()
        self._zip = zipfile.ZipFile(self._outbox, "w", zipfile.ZIP_STORED)
        # ZIP knows local times from 1980 on; this one is UTC.
        self._date = max(time.gmtime(made_at // SECOND_NS)[:6], (1980, 1, 1, 0, 0, 0))
        self._entry: IO[bytes] | None = None
        self._name, self._digest, self._size = "", hashlib.sha256(), 0
        self.stored: list[Stored] = []

    def begin(self, name: str) -> None:
        """Begin an entry."""
        info = _Entry(name, self._date)
        # A regular file, ``rw-r--r--``: the one form that the verifier takes.
        info.external_attr = 0o100644 << 16
        self._entry = self._zip.open(info, "w", force_zip64=True)
        self._name, self._digest, self._size = name, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Add to the open entry."""
        assert self._entry is not None
        self._entry.write(data)
        self._digest.update(data)
        self._size += len(data)

    def end(self) -> Stored:
        """End the open entry."""
        assert self._entry is not None
        self._entry.close()
        self._entry = None
        self.stored.append(Stored(self._name, self._digest.digest(), self._size))
        return self.stored[-1]

    def add(self, name: str, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Write a whole entry, yielding the bytes of the ZIP as they come."""
        self.begin(name)
        for part in parts:
            self.write(part)
            yield self.take()
        self.end()

    def close(self) -> None:
        """Write the directory at the end."""
        self._zip.close()

    def take(self) -> bytes:
        """Return, once, the bytes made since."""
        data = b"".join(self._outbox.parts)
        self._outbox.parts.clear()
        return data

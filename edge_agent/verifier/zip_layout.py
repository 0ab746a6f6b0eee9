"""The layout of a bundle's ZIP: stored entries one behind the other, their directory, and no byte beside them.

Owns the reading of the container, to the last byte. Programs read a ZIP from its beginning or from its end, and believe
one or the other of two places that describe an entry. So each field has one value that it may have, the one that
``edge_agent.uplink.bundle.zip_stream`` writes, and every program extracts the same bytes. Nothing is inflated, and no
library decides which bytes are an entry's. Opens nothing; reads the file that it is given.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from edge_agent.errors import EvidenceError

MAX_ENTRIES = 1100
"""999 clips and the papers beside them."""
MAX_NAME_BYTES = 64
_CHUNK_BYTES = 1 << 20
"""Read at once: no entry's size decides how much memory is taken."""

# APPNOTE 4.3.7, local header: signature, version, flags, method, time, date, CRC, sizes, lengths of name and extra.
_LOCAL = struct.Struct("<4s5H3I2H")
# 4.5.3, the extra field of a large file: kind, length, size, compressed size.
_LOCAL64 = struct.Struct("<HHQQ")
# 4.3.9.2, behind the data: signature, CRC, compressed size, size.
_DESCRIPTOR = struct.Struct("<4sIQQ")
# 4.3.12, directory: signature, made by, version, flags, method, time, date, CRC, sizes, lengths of name, extra and
# comment, disk, internal and external attributes, place of the local header.
_CENTRAL = struct.Struct("<4s6H3I5H2I")
# 4.3.16: signature, disks, entries on this disk and in all, length and place of the directory, length of the comment.
_END = struct.Struct("<4s4H2IH")
# 4.3.14: signature, length, made by, version, disks, entries on this disk and in all, length and place.
_END64 = struct.Struct("<4sQ2H2I4Q")
# 4.3.15: signature, disk, place of the former, disks.
_LOCATOR = struct.Struct("<4sIQI")
_LARGE, _LARGE_COUNT = 0xFFFFFFFF, 0xFFFF
_ZIPFILE_LIMIT = (1 << 31) - 1
"""From here on the writer moves a size or a place into an extra field."""
_VERSION, _UNIX = 45, 3
_STREAMED = 0x08
_REGULAR_FILE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A file in the container: its name, the place of its bytes, their number and their CRC-32."""

    name: str
    at: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class _Listed:
    """An entry as the directory has it."""

    name: bytes
    time: int
    date: int
    crc: int
    size: int
    local_at: int


def read_layout(file: BinaryIO) -> list[ZipEntry]:
    """Account for every byte of a ZIP and return its entries in the order in which they lie.

    Raises:
        EvidenceError: It is no ZIP, or not one of a bundle's form; the message names the place.
    """
    size = file.seek(0, 2)
    count, at = _read_end(file, size)
    entries, place = [], 0
    for listed in _read_directory(file, count, at, size):
        entry = _read_entry(file, listed, place)
        entries.append(entry)
        place = entry.at + entry.size + _DESCRIPTOR.size
    if place != at:
        raise EvidenceError(f"container has bytes that are no entry's: at={place}")
    return entries


def iter_bytes(file: BinaryIO, entry: ZipEntry) -> Iterator[bytes]:
    """Yield the bytes of an entry; whether they have its checksum is the caller's to judge."""
    file.seek(entry.at)
    left = entry.size
    while left:
        chunk = file.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise EvidenceError(f"container is cut short in an entry: {entry.name}")
        left -= len(chunk)
        yield chunk


def _read_end(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return how many entries there are and where their directory begins; the bytes behind it are all checked."""
    found = _END.unpack(_read(file, size - _END.size, _END.size))
    count, length, at = found[4], found[5], found[6]
    tail = b""
    locator_at = size - _END.size - _LOCATOR.size
    if locator_at > 0 and _read(file, locator_at, 4) == b"PK\6\7":
        end64 = _END64.unpack(_read(file, locator_at - _END64.size, _END64.size))
        count, length, at = end64[7], end64[8], end64[9]
        if at + length > size:
            raise EvidenceError("container does not end as a bundle's does")
        # 4.3.14.1: the record's length leaves out its signature and itself, 12 bytes.
        tail = _END64.pack(b"PK\6\6", _END64.size - 12, _VERSION, _VERSION, 0, 0, count, count, length, at)
        tail += _LOCATOR.pack(b"PK\6\7", 0, at + length, 1)
    small = min(count, _LARGE_COUNT), min(length, _LARGE), min(at, _LARGE)
    tail += _END.pack(b"PK\5\6", 0, 0, small[0], *small, 0)
    # Both ends at once, or the old one alone, as the directory's place decides: with a choice, two
    # programs could believe two different directories.
    is_needed = (len(tail) > _END.size) == (at > _ZIPFILE_LIMIT)
    if not is_needed or at + length + len(tail) != size or _read(file, at + length, len(tail)) != tail:
        raise EvidenceError("container does not end as a bundle's does")
    if not 0 < count <= MAX_ENTRIES:
        raise EvidenceError(f"container has no entry, or too many: entries={count}")
    return count, at


def _read_directory(file: BinaryIO, count: int, at: int, size: int) -> Iterator[_Listed]:
    end = size - _END.size - (_END64.size + _LOCATOR.size if at > _ZIPFILE_LIMIT else 0)
    for _ in range(count):
        head = _read(file, at, _CENTRAL.size)
        fields = _CENTRAL.unpack(head)
        name_bytes, extra_bytes = fields[10], fields[11]
        if name_bytes > MAX_NAME_BYTES or extra_bytes > 4 + 3 * 8:
            raise EvidenceError(f"container has an entry with more than a file: at={at}")
        rest = _read(file, at + _CENTRAL.size, name_bytes + extra_bytes)
        listed = _list(fields, rest[:name_bytes], rest[name_bytes:], at)
        if head + rest != _encode_central(listed):
            raise EvidenceError(f"container describes an entry otherwise than a bundle does: at={at}")
        yield listed
        at += len(head) + len(rest)
    if at != end:
        raise EvidenceError(f"container has bytes behind its directory: at={at}")


def _list(fields: tuple[int, ...], name: bytes, extra: bytes, at: int) -> _Listed:
    """Read the sizes of an entry, those of a large one out of the extra field."""
    size, local_at = fields[9], fields[16]
    # 4.5.3: only the fields that are full in the fixed part, in this order: size, compressed size,
    # place.
    large = list(struct.unpack(f"<{len(extra[4:]) // 8}Q", extra[4:])) if extra and len(extra) % 8 == 4 else []
    if len(large) != 2 * (size == _LARGE) + (local_at == _LARGE):
        raise EvidenceError(f"container has an entry with more than a file: at={at}")
    if size == _LARGE:
        size = large[0]
    if local_at == _LARGE:
        local_at = large[-1]
    return _Listed(name, fields[5], fields[6], fields[7], size, local_at)


def _encode_central(entry: _Listed) -> bytes:
    """Write the one form that an entry of the directory may have."""
    large = [entry.size, entry.size] if entry.size > _ZIPFILE_LIMIT else []
    size = _LARGE if large else entry.size
    local_at = entry.local_at
    if local_at > _ZIPFILE_LIMIT:
        large.append(local_at)
        local_at = _LARGE
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    return (
        _CENTRAL.pack(
            b"PK\1\2", _UNIX << 8 | _VERSION, _VERSION, _STREAMED, 0, entry.time, entry.date, entry.crc,
            size, size, len(entry.name), len(extra), 0, 0, 0, _REGULAR_FILE, local_at,
        )
        + entry.name
        + extra
    )  # fmt: skip


def _read_entry(file: BinaryIO, listed: _Listed, place: int) -> ZipEntry:
    """Check what stands before and behind the bytes of an entry against the directory."""
    head = _LOCAL.pack(
        b"PK\3\4", _VERSION, _STREAMED, 0, listed.time, listed.date, 0, _LARGE, _LARGE, len(listed.name), _LOCAL64.size
    )
    head += listed.name + _LOCAL64.pack(1, 16, 0, 0)
    name = listed.name.decode("ascii", "replace")
    # A NUL ends a name for some programs and not for others; other control characters rewrite a terminal.
    if not name.isascii() or not name.isprintable():
        raise EvidenceError(f"container has a name that is no bundle's: at={place}")
    # Entries lie one behind the other: a byte between two of them would be seen by no program, or
    # by one alone.
    if listed.local_at != place or _read(file, place, len(head)) != head:
        raise EvidenceError(f"container says two things of an entry, or has bytes before it: {name[:60]!r}")
    at = place + len(head)
    # 4.3.9.2: a streamed entry's CRC and sizes come behind its data, of 64 bits here; programs that
    # read from the beginning believe these.
    behind = _DESCRIPTOR.pack(b"PK\7\x08", listed.crc, listed.size, listed.size)
    if _read(file, at + listed.size, len(behind)) != behind:
        raise EvidenceError(f"container says two things of an entry: {name[:60]!r}")
    return ZipEntry(name, at, listed.size, listed.crc)


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    if at < 0:
        raise EvidenceError("container is no ZIP")
    # Before the seek: a place that no file of this file system reaches would be an error of the system's.
    if at + size > file.seek(0, 2):
        raise EvidenceError(f"container is cut short: at={at}")
    file.seek(at)
    data = file.read(size)
    if len(data) != size:
        raise EvidenceError(f"container is cut short: at={at}")
    return data

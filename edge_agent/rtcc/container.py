"""The layout of a bundle's ZIP: its entries one behind the other, their directory, and no byte beside them.

Programs read a ZIP from its end or from its beginning. What lies before, between or behind the entries is seen by some
and not by others; so there is nothing, and both ways lead to the same files.
"""

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import EvidenceError

# APPNOTE 4.3.7, local header: signature, version, flags, method, time, date, CRC, sizes, lengths of name and extra.
_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_MAGIC, _DESCRIPTOR_MAGIC = b"PK\x03\x04", b"PK\x07\x08"
_CENTRAL_BYTES, _END_BYTES, _END64_BYTES = 46, 22, 56 + 20
"""Of a directory entry without its name and extra, of the end, and of what stands before it in a large file."""
_HAS_DESCRIPTOR, _IS_UTF8 = 0x08, 0x800
_ZIP64 = 1


def verify_layout(path: Path, bundle: zipfile.ZipFile) -> None:
    """Walk over a ZIP from its first byte to its last; EvidenceError where anything but its entries is in it."""
    directory = bundle.start_dir
    with path.open("rb") as file:
        at = 0
        for entry in bundle.infolist():
            if entry.header_offset != at:
                raise EvidenceError(f"container has bytes that are no entry's: at={at}")
            at = _find_end(file, entry)
    listed = sum(
        _CENTRAL_BYTES + len(entry.filename.encode()) + len(entry.extra) + len(entry.comment)
        for entry in bundle.infolist()
    )
    rest = path.stat().st_size - directory - listed
    if at != directory or rest not in (_END_BYTES, _END_BYTES + _END64_BYTES) or bundle.comment:
        raise EvidenceError("container has bytes that are no entry's")


def _find_end(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Return where an entry ends; what stands before it must say the same of it as the directory."""
    file.seek(entry.header_offset)
    local = _LOCAL.unpack(file.read(_LOCAL.size))
    magic, _, flags, method, time, date, crc, packed_bytes, file_bytes, name_bytes, extra_bytes = local
    name, extra = file.read(name_bytes), file.read(extra_bytes)
    has_descriptor = bool(flags & _HAS_DESCRIPTOR)
    same = magic == _LOCAL_MAGIC and (name, flags, method) == (entry.filename.encode(), entry.flag_bits, 0)
    same = same and (
        has_descriptor or (crc, packed_bytes, file_bytes) == (entry.CRC, entry.compress_size, entry.file_size)
    )
    if not same or _read_date(date, time) != entry.date_time or flags & ~(_HAS_DESCRIPTOR | _IS_UTF8):
        raise EvidenceError(f"container says two things of an entry: {entry.filename}")
    if entry.comment or not _is_zip64(extra) or not _is_zip64(entry.extra):
        raise EvidenceError(f"container has more than a file in an entry: {entry.filename}")
    end: int = entry.header_offset + _LOCAL.size + name_bytes + extra_bytes + entry.compress_size
    return end + _measure_descriptor(file, entry, end, is_large=bool(extra)) if has_descriptor else end


def _measure_descriptor(file: BinaryIO, entry: zipfile.ZipInfo, at: int, *, is_large: bool) -> int:
    file.seek(at)
    layout = struct.Struct("<4sIQQ" if is_large else "<4sIII")
    expected = (_DESCRIPTOR_MAGIC, entry.CRC, entry.compress_size, entry.file_size)
    if layout.unpack(file.read(layout.size)) != expected:
        raise EvidenceError(f"container says two things of an entry: {entry.filename}")
    return layout.size


def _is_zip64(extra: bytes) -> bool:
    """Tell whether there is nothing but the sizes of a large file, if anything."""
    if not extra:
        return True
    kind, size = struct.unpack_from("<HH", extra)
    return bool(kind == _ZIP64 and size == len(extra) - 4 and size in (8, 16, 24))


def _read_date(date: int, time: int) -> tuple[int, ...]:
    return (date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2

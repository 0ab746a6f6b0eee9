"""The structure of a clip: the boxes that a release's muxer writes, and no other (ISO/IEC 14496-12).

Digests cover access units. The other boxes of an MP4 decide how they are shown: edit lists, matrices, further sample
descriptions; or it hides bytes that no player shows. So a clip is ``ftyp``, one ``moov``, fragments and ``mfra``; each
byte of the fragments' data is of a sample, everything that could move, turn or swap pictures is absent or neutral, and
a box whose form is fixed is no longer than that.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import EvidenceError

MAX_INDEX_BYTES = 2 << 20
"""Of one ``moov``, ``moof`` or ``mfra``; the muxer's fragments hold 4 MiB of samples."""
MAX_SAMPLES = 1 << 20
"""Of one clip, nearly four hours of pictures and sound: FFmpeg's index and the copy's take 100 bytes of memory each."""
MAX_FRAGMENTS = 100_000
_MAX_BOXES = 4096
"""In one box."""
MAX_SAMPLE_BYTES = 8 << 20
"""A record holds 4 MiB; a clip that was coded anew may be somewhat larger."""
_HEADER = struct.Struct(">I4s")
# 8.2.2, 8.3.2: the unity matrix, in 16.16 and 2.30 fixed point.
_IDENTITY = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
# 8.7.2: one entry ``url ``, whose flag says that the samples lie in this file.
_SELF_CONTAINED = bytes.fromhex("00000000 00000001 0000000c 75726c20 00000001")
# FFmpeg's empty list of iTunes tags; it writes the boxes around it in any case.
_NO_METADATA = bytes.fromhex(
    "00000035 6d657461 00000000 00000021 68646c72 00000000 00000000 6d646972 6170706c 00000000 00000000 00"
    "00000008 696c7374"
)
_BRANDS = b"iso5\0\0\2\0iso5iso6mp41"
_HANDLERS = frozenset(
    bytes(8) + kind + bytes(12) + name for kind, name in ((b"vide", b"VideoHandler\0"), (b"soun", b"SoundHandler\0"))
)
_BODY_BYTES = {
    b"mvhd": 100, b"tkhd": 84, b"mdhd": 24, b"vmhd": 12, b"smhd": 8, b"trex": 24, b"mfhd": 8, b"tfdt": 12, b"mfro": 8,
    b"btrt": 12, b"pasp": 8, b"fiel": 2,
}  # fmt: skip
"""Of boxes whose form is fixed, in the version that the muxer writes."""
_TFRA_HEAD, _TFRA_ENTRY = struct.Struct(">4I"), struct.Struct(">QQ3s")
_INSIDE: dict[bytes, frozenset[bytes]] = {
    b"moov": frozenset({b"mvhd", b"trak", b"mvex", b"udta"}),
    b"trak": frozenset({b"tkhd", b"mdia"}),
    b"mdia": frozenset({b"mdhd", b"hdlr", b"minf"}),
    b"minf": frozenset({b"vmhd", b"smhd", b"dinf", b"stbl"}),
    b"dinf": frozenset({b"dref"}),
    b"stbl": frozenset({b"stsd", b"stts", b"stsc", b"stsz", b"stco"}),
    b"mvex": frozenset({b"trex"}),
    b"moof": frozenset({b"mfhd", b"traf"}),
    b"traf": frozenset({b"tfhd", b"tfdt", b"trun"}),
    b"mfra": frozenset({b"tfra", b"mfro"}),
}
_REPEATED = frozenset({b"trak", b"trex", b"traf", b"trun", b"tfra"})
_VISUAL_ENTRIES = frozenset({b"avc1", b"hvc1", b"mp4v"})
_SOUND_ENTRIES = frozenset({b"mp4a", b"Opus"})
_IN_ENTRY = frozenset({b"avcC", b"hvcC", b"esds", b"dOps", b"btrt", b"pasp", b"colr", b"fiel"})
_ENTRY_BYTES = {True: 78, False: 28}
"""Of a sample entry before the boxes in it: of pictures, of sound."""
_TFHD_KNOWN, _TFHD_FIELDS, _TFHD_SIZE = 0x020038, 0x38, 0x10
"""8.8.7: default-base-is-moof, and defaults of duration, size and flags. A base offset or
another sample description would take samples from elsewhere."""
_TRUN_KNOWN = 0x0F05
"""8.8.8: data offset and first sample's flags; for each sample duration, size, flags and time of
composition."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box and its content."""

    kind: bytes
    body: bytes


def verify_boxes(path: Path) -> None:
    """Walk over a clip's boxes; EvidenceError if it is another MP4 than a release's muxer writes."""
    with path.open("rb") as file:
        kinds, tracks, moof, fragments, samples = [], set[int](), b"", set[int](), 0
        for at, kind, size in _iter_top(file, path.stat().st_size):
            kinds.append(kind)
            if len(kinds) > 2 * MAX_FRAGMENTS:
                raise EvidenceError(f"MP4 has more fragments than are checked: more than {MAX_FRAGMENTS}")
            if kind == b"mdat":
                samples += _verify_samples(moof, size, tracks)
                if samples > MAX_SAMPLES:
                    raise EvidenceError(f"MP4 has more samples than are checked: more than {MAX_SAMPLES}")
                moof = b""  # Read once, however many boxes of data follow it.
                continue
            if size > MAX_INDEX_BYTES:
                raise EvidenceError(f"MP4 has a box that is too large: {_name(kind)}")
            body = file.read(size)
            if kind == b"ftyp" and body != _BRANDS:
                raise EvidenceError("MP4 is of another type than a clip")
            if kind == b"moov":
                tracks = _verify_movie(body)
            elif kind == b"moof":
                moof = body
                fragments.add(at)
            elif kind == b"mfra":
                _verify_index(body, tracks, fragments)
    # In pairs: a ``moof`` speaks of the data behind it only, and data without one are no sample's.
    middle = kinds[2:-1]
    if kinds[:2] != [b"ftyp", b"moov"] or kinds[-1:] != [b"mfra"] or middle != [b"moof", b"mdat"] * (len(middle) // 2):
        raise EvidenceError("MP4 holds other boxes than a clip does, or in another order")


def _iter_top(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes, int]]:
    at = 0
    while at < end:
        file.seek(at)
        raw = file.read(_HEADER.size)
        size, kind = _HEADER.unpack(raw) if len(raw) == _HEADER.size else (0, b"")
        # 4.2: the lengths 0 (to the end of the file) and 1 (64 bits follow) are refused with the
        # others; the muxer writes neither.
        if size < _HEADER.size or at + size > end:
            raise EvidenceError(f"MP4 has a box of no length that fits: at={at}")
        yield at, kind, size - _HEADER.size
        at += size


def _split(body: bytes) -> Iterator[Box]:
    at = count = 0
    while at < len(body):
        size, kind = _HEADER.unpack_from(body, at) if at + _HEADER.size <= len(body) else (0, b"")
        if size < _HEADER.size or at + size > len(body):
            raise EvidenceError("MP4 has a box of no length that fits")
        count += 1
        if count > _MAX_BOXES:
            raise EvidenceError("MP4 has a box with too many in it")
        yield Box(kind, body[at + _HEADER.size : at + size])
        at += size


def _children(parent: Box) -> list[Box]:
    """Return the boxes in a box; EvidenceError if one may not be in it, or not so often."""
    boxes = list(_split(parent.body))
    for kind, count in Counter(box.kind for box in boxes).items():
        if kind not in _INSIDE[parent.kind] or (count > 1 and kind not in _REPEATED):
            raise EvidenceError(f"MP4 has a box that a clip has not: {_name(kind)} in {_name(parent.kind)}")
    _demand_form(boxes)
    return boxes


def _demand_form(boxes: list[Box]) -> None:
    for box in boxes:
        if len(box.body) != _BODY_BYTES.get(box.kind, len(box.body)):
            raise EvidenceError(f"MP4 has a box of another form than a clip's: {_name(box.kind)}")


def _find(boxes: list[Box], kind: bytes) -> Box:
    found = next((box for box in boxes if box.kind == kind), None)
    if found is None:
        raise EvidenceError(f"MP4 lacks a box: {_name(kind)}")
    return found


def _verify_movie(body: bytes) -> set[int]:
    boxes = _children(Box(b"moov", body))
    head = _find(boxes, b"mvhd").body
    # In another version the matrix lies elsewhere.
    if head[0] or head[36:72] != _IDENTITY:
        raise EvidenceError("MP4 turns or mirrors its pictures")
    if any(box.kind == b"udta" and box.body != _NO_METADATA for box in boxes):
        raise EvidenceError("MP4 holds metadata")
    tracks = [_verify_track(box) for box in boxes if box.kind == b"trak"]
    if len(set(tracks)) != len(tracks):
        raise EvidenceError("MP4 has a track twice")
    _children(_find(boxes, b"mvex"))
    return set(tracks)


def _verify_track(trak: Box) -> int:
    boxes = _children(trak)
    head = _find(boxes, b"tkhd").body
    # 8.3.2: version 0, enabled and in the movie; players do not show a track that lacks either
    # flag.
    if head[:4] != b"\x00\x00\x00\x03" or head[40:76] != _IDENTITY:
        raise EvidenceError("MP4 hides, turns or mirrors a track")
    mdia = _children(_find(boxes, b"mdia"))
    if _find(mdia, b"hdlr").body not in _HANDLERS:
        raise EvidenceError("MP4 has a track of another kind than a clip's")
    minf = _children(_find(mdia, b"minf"))
    if _find(_children(_find(minf, b"dinf")), b"dref").body != _SELF_CONTAINED:
        raise EvidenceError("MP4 has its samples elsewhere")
    tables = _children(_find(minf, b"stbl"))
    _verify_entry(_find(tables, b"stsd").body)
    # 8.6, 8.7: in a fragmented file the tables are empty, so that their bodies are zeros.
    if any(box.body.strip(b"\0") for box in tables if box.kind != b"stsd"):
        raise EvidenceError("MP4 has samples beside its fragments")
    return int.from_bytes(head[12:16], "big")


def _verify_entry(body: bytes) -> None:
    entries = list(_split(body[8:]))
    if body[:8] != b"\0\0\0\0\0\0\0\x01" or len(entries) != 1:
        raise EvidenceError("MP4 has not one description of its samples")
    kind = entries[0].kind
    if kind not in _VISUAL_ENTRIES | _SOUND_ENTRIES:
        raise EvidenceError(f"MP4 has samples of another kind: {_name(kind)}")
    inside = list(_split(entries[0].body[_ENTRY_BYTES[kind in _VISUAL_ENTRIES] :]))
    for box in inside:
        if box.kind not in _IN_ENTRY:
            raise EvidenceError(f"MP4 has a box that a clip has not: {_name(box.kind)} in {_name(kind)}")
    _demand_form(inside)


def _verify_index(body: bytes, tracks: set[int], fragments: set[int]) -> None:
    """The index behind the fragments names, once per track, fragments that are there."""
    indexed = []
    for box in (box for box in _children(Box(b"mfra", body)) if box.kind == b"tfra"):
        version, track, lengths, count = _TFRA_HEAD.unpack_from(box.body)
        # 8.8.10: version 1 has places of 64 bits; lengths 0 are one byte each for the numbers of
        # ``traf``, ``trun`` and sample.
        size = _TFRA_HEAD.size + count * _TFRA_ENTRY.size
        if (version, lengths, size) != (1 << 24, 0, len(box.body)):
            raise EvidenceError("MP4 has an index that cannot be read")
        entries = list(_TFRA_ENTRY.iter_unpack(box.body[_TFRA_HEAD.size :]))
        places = [place for _, place, _ in entries]
        is_there = len(set(places)) == len(places) and fragments.issuperset(places)
        if not is_there or any(numbers != b"\1\1\1" for *_, numbers in entries):
            raise EvidenceError("MP4 has an index of other fragments than it holds")
        indexed.append(track)
    if len(set(indexed)) != len(indexed) or not set(indexed) <= tracks:
        raise EvidenceError("MP4 has an index of other tracks than it holds")


def _verify_samples(moof: bytes, size: int, tracks: set[int]) -> int:
    """The samples of a fragment fill its data, to the byte; returns how many they are."""
    # 8.8.7: offsets count from the first byte of ``moof``; its header and that of ``mdat`` lie
    # before the data.
    at, samples = 2 * _HEADER.size + len(moof), 0
    for start, length, count in sorted(_iter_runs(moof, tracks)):
        if start != at:
            raise EvidenceError("MP4 has data that is no sample's")
        at += length
        samples += count
    if at != 2 * _HEADER.size + len(moof) + size:
        raise EvidenceError("MP4 has data that is no sample's")
    return samples


def _iter_runs(moof: bytes, tracks: set[int]) -> Iterator[tuple[int, int, int]]:
    """Yield offset, from the fragment's start, length and number of each run of samples."""
    for traf in (box for box in _children(Box(b"moof", moof)) if box.kind == b"traf"):
        boxes = _children(traf)
        head = _find(boxes, b"tfhd").body
        flags, track, *fields = struct.unpack(f">{len(head) // 4}I", head)
        if track not in tracks or flags & ~_TFHD_KNOWN or len(fields) != (flags & _TFHD_FIELDS).bit_count():
            raise EvidenceError("MP4 has a fragment of another track or place")
        # Before the default size may stand the default duration.
        default = fields[bool(flags & 0x08)] if flags & _TFHD_SIZE else None
        yield from (_measure_run(box.body, default) for box in boxes if box.kind == b"trun")


def _measure_run(body: bytes, default: int | None) -> tuple[int, int, int]:
    words = struct.unpack(f">{len(body) // 4}I", body)
    flags, count, offset = words[0] & 0xFFFFFF, words[1], words[2]
    rows = words[3 + bool(flags & 0x004) :]
    width = (flags & 0xF00).bit_count()
    if flags & ~_TRUN_KNOWN or not flags & 0x001 or len(rows) != count * width:
        raise EvidenceError("MP4 has a run of samples that cannot be read")
    if not flags & 0x200 and default is None:
        raise EvidenceError("MP4 has samples without a length")
    sizes = rows[bool(flags & 0x100) :: width] if flags & 0x200 else (default or 0,)
    # A sample without a byte costs FFmpeg memory, and no other program any.
    if not count or not sizes or min(sizes) == 0 or max(sizes) > MAX_SAMPLE_BYTES:
        raise EvidenceError("MP4 has a sample of no length that it can have")
    return offset, sum(sizes) if flags & 0x200 else count * sizes[0], count


def _name(kind: bytes) -> str:
    return repr(kind.decode("ascii", "replace"))

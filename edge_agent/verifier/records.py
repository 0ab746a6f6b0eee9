"""The records of a bundle, each one that of the chain, with the digests that its header commits to (FORMAT 6).

Owns one line of ``records.jsonl``: its record's tracks and access units, and the time that it may claim.
Keeps of each record what every check needs, and reads its access units again from the file for the clip that they are
in: memory does not grow with the footage. Reads that one file.
"""

import re
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from edge_agent.base64url import parse_b64
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.record import parse_header, record_digest
from edge_agent.errors import EvidenceError, RingError
from edge_agent.media import commitments
from edge_agent.units import MINUTE_NS, SECOND_NS, ClockState, parse_rfc3339
from edge_agent.verifier.chain import (
    MAX_RECORDS,
    Chain,
    EvidenceLine,
    Link,
    RecordPlace,
    add_fault,
    make_link,
    parse_line,
    read_lines,
)

_MAX_STEP_NS = MINUTE_NS
"""A gateway whose clock was stepped by more decides nothing before its owner has confirmed the clock."""
MAX_UNITS = 20_000
"""Access units of one record: four minutes of pictures and sound."""
_CLIP = re.compile(r"clips/[0-9]{3}\.mp4")
_PLACE = struct.Struct(">IBq16s32s")
_SALT_BYTES = 2 * commitments.UNIT_SALT_BYTES


@dataclass(frozen=True, slots=True)
class Shown:
    """An access unit of which at least the place is shown; ``body`` is None if it must come from the clip."""

    index: int
    track: int
    pts: int
    salt: commitments.UnitSalt
    body: bytes | None


@dataclass(frozen=True, slots=True)
class TrackShown:
    """A track as committed to."""

    index: int
    codec: str
    time_base: Fraction
    parameters: bytes


@dataclass(frozen=True, slots=True)
class Media:
    """The facts of a line about a recording, its digests checked against the chain. About 500 bytes per access unit."""

    tracks: Mapping[int, TrackShown]
    digests: tuple[bytes, ...]
    """Of the access units."""
    delivered: Mapping[str, tuple[Shown, ...]]
    places: Mapping[int, Shown]


@dataclass(frozen=True, slots=True)
class RecordShown:
    """One line of ``records.jsonl`` about footage, checked against the chain; its content is read again from it."""

    ref: int
    place: RecordPlace
    start_ns: int
    end_ns: int
    clock_state: ClockState
    """By its header."""
    rebased: bool
    """Counted back, later, from the time since boot."""
    is_dated: bool
    """Its time follows from the recorder's signature."""
    at: int
    """Of its line in the file."""
    size: int
    has_media: bool = False
    """The gateway could take it apart."""
    clips: tuple[str, ...] = ()
    """Files that hold pictures or sound of it."""


@dataclass(frozen=True, slots=True)
class Records:
    """The footage of a bundle: the part that every check needs, and the file that has the rest."""

    path: Path
    shown: Sequence[RecordShown] = ()
    faults: Sequence[str] = ()
    """Of lines that are left out for it."""

    def read_media(self, file: BinaryIO, record: RecordShown) -> Media:
        """Read once more what a record shows; it was verified before."""
        file.seek(record.at)
        return _read_media(parse_line(file.read(record.size)), f"block={record.place[0]} index={record.place[1]}")


_ALWAYS = {"ref", "kind", "block", "index", "start", "end", "clock", "rebased", "header", "body_sha256"}
_MEDIA = {"tracks", "digests", "delivered", "places"}
_KINDS = {"gop": Kind.GOP, "gap": Kind.GAP, "run": Kind.RUN, "clock": Kind.CLOCK}


def verify_records(path: Path, chain: Chain) -> Records:
    """Check every record against the chain, and a GOP's digests against the commitment in its header.

    A record in which anything does not fit is left out, and named in ``faults``: clips of others stand without it.

    Raises:
        EvidenceError: The file is none of records, or has more than a bundle shows.
    """
    shown: list[RecordShown] = []
    faults: list[str] = []
    seen, notes = set[RecordPlace](), 0
    with path.open("rb") as file:
        for number, line in enumerate(read_lines(file, _ALWAYS, {"note", *_MEDIA})):
            try:
                record = _verify_record(line, number, chain)
            except (EvidenceError, RingError) as error:
                add_fault(faults, str(error))
                continue
            # As for blocks: any shape of JSON ends as a fault of this line.
            except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, struct.error):
                add_fault(faults, f"a line of the records is malformed: ref={number}")
                continue
            if record is None:
                notes += 1
            elif record.place in seen:
                add_fault(faults, f"record is there twice: block={record.place[0]} index={record.place[1]}")
            else:
                seen.add(record.place)
                shown.append(record)
            if len(shown) + notes > MAX_RECORDS:
                raise EvidenceError(f"more records than a bundle shows: more than {MAX_RECORDS}")
    return Records(path, shown, faults)


def _verify_record(evidence: EvidenceLine, ref: int, chain: Chain) -> RecordShown | None:
    """Return what is shown of a record of footage; None for a note."""
    line = evidence.members
    header_bytes, body = parse_b64(line["header"]), bytes.fromhex(line["body_sha256"])
    header = parse_header(header_bytes)
    place = (header.seq, header.index)
    where = f"block={place[0]} index={place[1]}"
    start_ns, end_ns = parse_rfc3339(line["start"]), parse_rfc3339(line["end"])
    # A note may lie in a block without footage, of which the bundle has no page: it is then the gateway's word.
    link = chain.links.find(place) or (None if header.kind is Kind.GOP else make_link(header, b"", b""))
    if link is None:
        raise EvidenceError(f"record is not in the chain: {where}")
    if (line["block"], line["index"]) != place or (link.digest and record_digest(header_bytes, body) != link.digest):
        raise EvidenceError(f"record is not the one in the chain: {where}")
    if line["ref"] != ref or type(line["ref"]) is not int:
        raise EvidenceError(f"records are not numbered in order: ref={line['ref']!r:.20}")
    if _KINDS[line["kind"]] is not header.kind or end_ns - start_ns != header.duration_ns:
        raise EvidenceError(f"record is described wrongly: {where}")
    if line["clock"] != link.clock_state.value or type(line["rebased"]) is not bool:
        raise EvidenceError(f"record's clock was in another state: {where}")
    is_dated = _verify_date(chain, link, start_ns, where, is_rebased=line["rebased"])
    if header.kind is not Kind.GOP:
        return None
    record = RecordShown(
        ref, place, start_ns, end_ns, link.clock_state, line["rebased"], is_dated, evidence.at, evidence.size
    )
    # A record that the gateway could not take apart has none of a recording's members: nothing of it is delivered.
    if not _MEDIA & line.keys():
        return record
    # Before anything of the line is read: the digests are then those of the chain, and each part is
    # held against one.
    _verify_commitment(line, header.commitment, where)
    delivered = _read_media(line, where).delivered
    if any(_CLIP.fullmatch(name) is None for name in delivered):
        raise EvidenceError(f"record names a clip that no bundle has: {where}")
    clips = tuple(sys.intern(name) for name, units in delivered.items() if units)
    return replace(record, has_media=True, clips=clips)


def _verify_date(chain: Chain, link: Link, start_ns: int, where: str, *, is_rebased: bool) -> bool:
    """Return whether the recorder signed what a record's time follows from; otherwise it is the gateway's word.

    The offset that a boot was counted back with is taken down in the chain: it is the same for all records of the boot.

    Raises:
        EvidenceError: The recorder signed another time, or the gateway counted back with two.
    """
    forged = EvidenceError(f"record is dated otherwise than it was recorded: {where}")
    if not is_rebased:
        # The header's own time, which the chain signs: not one nanosecond may differ.
        if start_ns != link.start_ns:
            raise forged
        return True
    # FORMAT 7.8: only a record from before the clock was set is counted back, and only if it has a
    # time since boot.
    if not link.is_floor_only or not link.boot_ns:
        raise forged
    offset = start_ns - link.boot_ns
    if not link.boot_id:
        return False
    if chain.claimed.setdefault(link.boot_id, offset) != offset:
        raise forged
    off_by = chain.find_witness(link.boot_id, offset)
    # FORMAT 7.8 takes the offset from a page or record of this boot: the nearest signed one cannot
    # be far from it.
    if off_by is not None and off_by > _MAX_STEP_NS:
        raise forged
    return off_by is not None and off_by <= SECOND_NS


def _verify_commitment(line: Mapping[str, Any], commitment: bytes, where: str) -> None:
    if commitments.commitment(_read_leaves(line)) != commitment:
        raise EvidenceError(f"digests are not what the recorder committed to: {where}")


def _read_leaves(line: Mapping[str, Any]) -> list[bytes]:
    blob, step = parse_b64(line["digests"]), commitments.DIGEST_BYTES
    # Before the list is made: a line of 8 MiB has room for many more digests than a record.
    if len(blob) > MAX_UNITS * step:
        raise EvidenceError(f"record has more access units than one holds: more than {MAX_UNITS}")
    return [blob[at : at + step] for at in range(0, len(blob), step)]


def _read_media(line: Mapping[str, Any], where: str) -> Media:
    """Read a line's content, and check it against its digests."""
    leaves = _read_leaves(line)
    tracks: dict[int, TrackShown] = {}
    for number, entry in enumerate(line["tracks"]):
        track = TrackShown(
            entry["track"], entry["codec"], _read_time_base(entry["time_base"]), parse_b64(entry["parameters"])
        )
        digest = commitments.track_digest(
            parse_b64(entry["salt"]), track.index, track.codec, track.time_base, track.parameters
        )
        if digest != leaves[number]:
            raise EvidenceError(f"track is not the one committed to: {where} track={track.index}")
        tracks[track.index] = track
    digests = tuple(leaves[len(tracks) :])
    count = sum(len(part["units"]) for part in line["delivered"])
    # Before the values are made, too. In base64 a place needs four thirds of its bytes: twice is
    # room enough.
    if count > len(digests) or len(line["places"]) > len(digests) * 2 * _PLACE.size:
        raise EvidenceError(f"record shows more access units than it has: {where}")
    places = {place.index: place for place in _iter_places(parse_b64(line["places"]))}
    for shown in places.values():
        assert shown.body is not None
        if commitments.unit_digest(shown.salt.place, shown.track, shown.pts, shown.body) != digests[shown.index]:
            raise EvidenceError(f"place of an access unit is not the one committed to: {where} unit={shown.index}")
    delivered = {part["clip"]: tuple(_iter_delivered(part)) for part in line["delivered"]}
    for units in delivered.values():
        order = [-1, *(unit.index for unit in units), len(digests)]
        # Rising, so none twice, and none behind the last one that was committed to.
        if any(index >= following for index, following in pairwise(order)):
            raise EvidenceError(f"access units are not in the order of the record: {where}")
    if len(delivered) != len(line["delivered"]):
        raise EvidenceError(f"record names a clip twice: {where}")
    if any(unit.track not in tracks for units in (*delivered.values(), places.values()) for unit in units):
        raise EvidenceError(f"access unit is of a track that is not committed to: {where}")
    return Media(tracks, digests, delivered, places)


def _read_time_base(value: object) -> Fraction:
    """Read the two numbers that a track's digest is over (FORMAT 6.3): a text could name one that takes hours."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a time base is not two numbers")
    if any(type(each) is not int or not 0 <= each < 1 << 32 for each in value):
        raise ValueError("a time base is not of numbers of 32 bits")
    return Fraction(*value)


def _iter_places(blob: bytes) -> Iterator[Shown]:
    for index, track, pts, salt, body in _PLACE.iter_unpack(blob):
        yield Shown(index, track, pts, commitments.UnitSalt(salt, b""), body)


def _iter_delivered(part: Mapping[str, Any]) -> Iterator[Shown]:
    salts, half = parse_b64(part["salts"]), commitments.UNIT_SALT_BYTES
    if len(salts) != len(part["units"]) * _SALT_BYTES:
        raise ValueError("not one salt per access unit")
    for number, (index, track, pts) in enumerate(part["units"]):
        salt = salts[number * _SALT_BYTES : (number + 1) * _SALT_BYTES]
        yield Shown(index, track, pts, commitments.UnitSalt(salt[:half], salt[half:]), None)

"""The records of a bundle, each one that of the chain, with the digests that its header commits to (FORMAT 6).

Owns one line of ``records.jsonl``: what it shows of a record's tracks and access units, and which time it may claim.
Pure: bytes in, values out.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from edge_agent.base64url import parse_b64
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.record import parse_header
from edge_agent.errors import EvidenceError, RingError
from edge_agent.media import commitments
from edge_agent.units import MINUTE_NS, SECOND_NS, ClockState, parse_rfc3339
from edge_agent.verifier.chain import Chain, Link, Place, read_lines

_MAX_STEP_NS = MINUTE_NS
"""A gateway whose clock was stepped by more decides nothing before its owner has confirmed the clock."""
_PLACE = struct.Struct(">IBq16s32s")
_SALT_BYTES = 2 * commitments.UNIT_SALT_BYTES


@dataclass(frozen=True, slots=True)
class Shown:
    """An access unit of which at least the place is shown; ``body`` is None where it must come from the clip."""

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
class RecordShown:
    """One line of ``records.jsonl``, its digests checked against the chain."""

    ref: int
    place: Place
    kind: Kind
    start_ns: int
    end_ns: int
    clock_state: ClockState
    """By its header."""
    rebased: bool
    """Counted back, later, from the time since boot."""
    is_dated: bool
    """Its time follows from what the recorder signed."""
    tracks: Mapping[int, TrackShown] = field(default_factory=dict)
    digests: tuple[bytes, ...] = ()
    """Of the access units."""
    delivered: Mapping[str, tuple[Shown, ...]] = field(default_factory=dict)
    places: Mapping[int, Shown] = field(default_factory=dict)

    @property
    def is_footage(self) -> bool:
        """Tell whether it is a recording, and no note."""
        return self.kind is Kind.GOP


_ALWAYS = {"ref", "kind", "block", "index", "start", "end", "clock", "rebased", "header", "body_sha256"}
_MEDIA = {"tracks", "digests", "delivered", "places"}
_KINDS = {"gop": Kind.GOP, "gap": Kind.GAP, "run": Kind.RUN, "clock": Kind.CLOCK}


def verify_records(lines: bytes, chain: Chain) -> list[RecordShown]:
    """Check every record against the chain, and a GOP's digests against the commitment in its header.

    Raises:
        EvidenceError: Anything does not fit; the message names block and index.
    """
    records: list[RecordShown] = []
    for line in read_lines(lines, _ALWAYS, {"note", *_MEDIA}):
        try:
            record = _verify_record(line, chain)
        except RingError as error:
            raise EvidenceError(str(error)) from error
        except (KeyError, TypeError, ValueError, struct.error) as error:
            raise EvidenceError(f"a line of the records is malformed: ref={len(records)}") from error
        if record.ref != len(records):
            raise EvidenceError(f"records are not numbered in order: ref={record.ref}")
        records.append(record)
    return records


def _verify_record(line: Mapping[str, Any], chain: Chain) -> RecordShown:
    place = (line["block"], line["index"])
    where = f"block={place[0]} index={place[1]}"
    header = parse_header(parse_b64(line["header"]))
    start_ns, end_ns = parse_rfc3339(line["start"]), parse_rfc3339(line["end"])
    # A note may lie in a block without footage, of which the bundle has no page: it is then the gateway's word.
    link = chain.links.get(place) or (None if header.kind is Kind.GOP else Link(header, b""))
    if link is None:
        raise EvidenceError(f"record is not in the chain: {where}")
    if header != link.header or (link.body_sha256 and bytes.fromhex(line["body_sha256"]) != link.body_sha256):
        raise EvidenceError(f"record is not the one in the chain: {where}")
    if _KINDS[line["kind"]] is not header.kind or end_ns - start_ns != header.duration_ns:
        raise EvidenceError(f"record is described wrongly: {where}")
    if line["clock"] != link.clock_state.value or type(line["rebased"]) is not bool:
        raise EvidenceError(f"record's clock was in another state: {where}")
    record = RecordShown(
        ref=line["ref"],
        place=place,
        kind=header.kind,
        start_ns=start_ns,
        end_ns=end_ns,
        clock_state=link.clock_state,
        rebased=line["rebased"],
        is_dated=_verify_date(chain, link, start_ns, where, is_rebased=line["rebased"]),
    )
    # A record that the gateway could not take apart has none of a recording's members: nothing of it is delivered.
    if header.kind is not Kind.GOP or not _MEDIA & line.keys():
        return record
    return _verify_media(line, record, header.commitment, where)


def _verify_date(chain: Chain, link: Link, start_ns: int, where: str, *, is_rebased: bool) -> bool:
    """Return whether the recorder signed what a record's time follows from; otherwise it is the gateway's word.

    What a boot was counted back with is taken down in the chain: it is the same for all records of the boot.

    Raises:
        EvidenceError: The recorder signed another time, or the gateway counted back with two.
    """
    forged = EvidenceError(f"record is dated otherwise than it was recorded: {where}")
    header = link.header
    if not is_rebased:
        if start_ns != header.start_ns:
            raise forged
        return True
    if not link.is_floor_only or not header.boot_ns:
        raise forged
    offset = start_ns - header.boot_ns
    if not link.boot_id:
        return False
    if chain.claimed.setdefault(link.boot_id, offset) != offset:
        raise forged
    off_by = min((abs(each - offset) for each in chain.witnessed.get(link.boot_id, ())), default=None)
    if off_by is not None and off_by > _MAX_STEP_NS:
        raise forged
    return off_by is not None and off_by <= SECOND_NS


def _verify_media(line: Mapping[str, Any], record: RecordShown, commitment: bytes, where: str) -> RecordShown:
    blob = parse_b64(line["digests"])
    leaves = [blob[at : at + commitments.DIGEST_BYTES] for at in range(0, len(blob), commitments.DIGEST_BYTES)]
    if commitments.commitment(leaves) != commitment:
        raise EvidenceError(f"digests are not what the recorder committed to: {where}")
    tracks: dict[int, TrackShown] = {}
    for number, entry in enumerate(line["tracks"]):
        track = TrackShown(
            entry["track"], entry["codec"], Fraction(*entry["time_base"]), parse_b64(entry["parameters"])
        )
        digest = commitments.track_digest(
            parse_b64(entry["salt"]), track.index, track.codec, track.time_base, track.parameters
        )
        if digest != leaves[number]:
            raise EvidenceError(f"track is not the one committed to: {where} track={track.index}")
        tracks[track.index] = track
    digests = tuple(leaves[len(tracks) :])
    places = {place.index: place for place in _iter_places(parse_b64(line["places"]))}
    for shown in places.values():
        assert shown.body is not None
        if commitments.unit_digest(shown.salt.place, shown.track, shown.pts, shown.body) != digests[shown.index]:
            raise EvidenceError(f"place of an access unit is not the one committed to: {where} unit={shown.index}")
    delivered = {part["clip"]: tuple(_iter_delivered(part)) for part in line["delivered"]}
    for units in delivered.values():
        order = [-1, *(unit.index for unit in units), len(digests)]
        if any(index >= following for index, following in pairwise(order)):
            raise EvidenceError(f"access units are not in the order of the record: {where}")
    if len(delivered) != len(line["delivered"]):
        raise EvidenceError(f"record names a clip twice: {where}")
    return replace(record, tracks=tracks, digests=digests, delivered=delivered, places=places)


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

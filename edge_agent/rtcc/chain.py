"""The two evidence files of a bundle, read strictly and checked against signatures made while recording.

Owns the walk along the ring's chain from signed page to signed page, and the digests of every record (FORMAT 5 and 6).
Pure: bytes in, findings and values out.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent import media
from edge_agent.b64 import parse_b64
from edge_agent.buffer.crypt import verify_page
from edge_agent.buffer.format import FLAG_FLOOR_ONLY, Kind
from edge_agent.buffer.page import Page, chain_start, parse_page
from edge_agent.buffer.record import RecordHeader, next_chain, parse_header, record_digest
from edge_agent.clock import ClockState
from edge_agent.errors import EvidenceError, RingError
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, Window, parse_rfc3339

MAX_LINE_BYTES = 8 << 20
_MAX_STEP_NS = MINUTE_NS
"""A gateway whose clock was stepped by more decides nothing before its owner has confirmed the clock."""
Place = tuple[int, int]
"""Block and index of a record in the ring."""
_PLACE = struct.Struct(">IBq16s32s")
_SALT_BYTES = 2 * media.UNIT_SALT_BYTES


@dataclass(frozen=True, slots=True)
class Link:
    """A record as the chain knows it."""

    header: RecordHeader
    body_sha256: bytes
    boot_id: bytes = b""
    """Of the block's page; empty where it is not here."""

    @property
    def clock_state(self) -> ClockState:
        """What the clock was good for when it was timed."""
        return ClockState.FLOOR_ONLY if self.header.flags & FLAG_FLOOR_ONLY else ClockState.SYNCHRONISED

    @property
    def is_floor_only(self) -> bool:
        """Tell whether it was timed before the clock was set."""
        return self.clock_state is ClockState.FLOOR_ONLY


@dataclass(slots=True)
class Chain:
    """All blocks of the bundle, verified."""

    links: dict[Place, Link] = field(default_factory=dict)
    """In the order of the ring."""
    blocks: list[int] = field(default_factory=list)
    """In order."""
    signed: set[int] = field(default_factory=set)
    """Blocks whose end the next page signs."""
    holes: dict[int, list[range]] = field(default_factory=dict)
    """Per block the records that are not shown: damaged, says the gateway."""
    pages: dict[int, Page] = field(default_factory=dict)
    """Every page that is shown, by the number of its block: signed by the recorder while recording."""

    claimed: dict[bytes, int] = field(default_factory=dict)
    """Per boot UTC less boot time, as the gateway counted back with it."""

    witnessed: dict[bytes, list[int]] = field(default_factory=dict)
    """Per boot UTC less boot time, wherever the recorder signed both while its clock was set (FORMAT 7.8)."""

    def find_span(self, link: Link, *, as_written: bool) -> Window | None:
        """Return the span of a record by what counts for the others of its boot; None where it has no time.

        Args:
            link: The record.
            as_written: Take a time from before the clock was set at its word, where nothing dates it.
        """
        start_ns, boot_ns = link.header.start_ns, link.header.boot_ns
        if link.is_floor_only:
            known = [*filter(None, [self.claimed.get(link.boot_id)]), *self.witnessed.get(link.boot_id, ())]
            if known and boot_ns:
                start_ns = UtcNs(boot_ns + known[0])
            elif not as_written:
                return None
        end_ns = UtcNs(start_ns + link.header.duration_ns)
        return Window(start_ns, end_ns) if start_ns < end_ns else None

    def is_signed(self, place: Place) -> bool:
        """Tell whether the page after the block of a record vouches for it: there is no hole behind it."""
        block, index = place
        return block in self.signed and not any(hole.stop > index for hole in self.holes.get(block, ()))

    def is_joined(self, block: int) -> bool:
        """Tell whether a block's page signs the end of the disclosed block before it."""
        return block - 1 in self.signed and block - 1 in self.blocks


@dataclass(frozen=True, slots=True)
class Shown:
    """An access unit of which at least the place is shown; ``body`` is None where it must come from the clip."""

    index: int
    track: int
    pts: int
    salt: media.UnitSalt
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
    tracks: Mapping[int, TrackShown]
    digests: tuple[bytes, ...]
    """Of the access units."""
    delivered: Mapping[str, tuple[Shown, ...]]
    places: Mapping[int, Shown]

    @property
    def is_footage(self) -> bool:
        """Tell whether it is a recording, and no note."""
        return self.kind is Kind.GOP


def verify_blocks(lines: bytes, ring_id: bytes, recorder: Ed25519PublicKey) -> Chain:
    """Check every block: its page's signature, the chain through its records, the page that signs its end.

    Raises:
        EvidenceError: Anything does not fit; the message names block and record.
    """
    chain = Chain()
    for line in _read_lines(lines, {"block", "page", "next_page", "records"}):
        try:
            _verify_block(chain, line, ring_id, recorder)
        except RingError as error:
            raise EvidenceError(str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise EvidenceError("a line of the blocks is malformed") from error
    for boot_id, offset in _iter_witnesses(chain):
        chain.witnessed.setdefault(boot_id, []).append(offset)
    return chain


def _iter_witnesses(chain: Chain) -> Iterator[tuple[bytes, int]]:
    for page in chain.pages.values():
        if page.clock_state is ClockState.SYNCHRONISED:
            yield page.boot_id, page.opened_utc_ns - page.opened_boot_ns
    for place, link in chain.links.items():
        if chain.is_signed(place) and not link.is_floor_only and link.header.boot_ns:
            yield link.boot_id, link.header.start_ns - link.header.boot_ns


def _verify_block(chain: Chain, line: Mapping[str, Any], ring_id: bytes, recorder: Ed25519PublicKey) -> None:
    raw = parse_b64(line["page"])
    page = _take_page(chain, raw, ring_id, recorder)
    if page.seq != line["block"] or (chain.blocks and page.seq <= chain.blocks[-1]):
        raise EvidenceError(f"block is not in its place: block={page.seq}")
    before = chain.blocks[-1] if chain.blocks else None
    if before == page.seq - 1 and before not in chain.signed and not page.previous_lost:
        raise EvidenceError(f"the page that signs a block's end is kept back: block={before}")
    chain.blocks.append(page.seq)
    value, number = chain_start(raw), 0
    for entry in line["records"]:
        header_bytes, body = parse_b64(entry["header"]), bytes.fromhex(entry["body_sha256"])
        header = parse_header(header_bytes)
        if header.seq == page.seq and header.index > number:
            chain.holes.setdefault(page.seq, []).append(range(number, header.index))
            number, value = header.index, header.previous_chain
        if (header.seq, header.index) != (page.seq, number) or header.previous_chain != value:
            raise EvidenceError(f"chain is broken: block={page.seq} index={number}")
        value = next_chain(value, record_digest(header_bytes, body))
        chain.links[(header.seq, header.index)] = Link(header, body, page.boot_id)
        number += 1
    if line["next_page"] is None:
        return
    following = _take_page(chain, parse_b64(line["next_page"]), ring_id, recorder)
    end = following.previous
    if end.records > number:
        chain.holes.setdefault(page.seq, []).append(range(number, end.records))
        number, value = end.records, end.chain
    if (following.seq, end.chain, end.records) != (page.seq + 1, value, number):
        raise EvidenceError(f"the page after a block does not sign its end: block={page.seq}")
    chain.signed.add(page.seq)


def _take_page(chain: Chain, raw: bytes, ring_id: bytes, recorder: Ed25519PublicKey) -> Page:
    """Verify a page; of each block there is but one."""
    page = parse_page(raw)
    verify_page(raw, page, recorder)
    if page.ring_id != ring_id:
        raise EvidenceError(f"page is of another ring: block={page.seq}")
    if chain.pages.setdefault(page.seq, page) != page:
        raise EvidenceError(f"a block has two pages: block={page.seq}")
    return page


_ALWAYS = {"ref", "kind", "block", "index", "start", "end", "clock", "rebased", "header", "body_sha256"}
_MEDIA = {"tracks", "digests", "delivered", "places"}
_KINDS = {"gop": Kind.GOP, "gap": Kind.GAP, "run": Kind.RUN, "clock": Kind.CLOCK}


def verify_records(lines: bytes, chain: Chain) -> list[RecordShown]:
    """Check every record against the chain, and a GOP's digests against the commitment in its header.

    Raises:
        EvidenceError: Anything does not fit; the message names block and index.
    """
    records: list[RecordShown] = []
    for line in _read_lines(lines, _ALWAYS, {"note", *_MEDIA}):
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
    is_dated = _is_dated(chain, link, start_ns, is_rebased=line["rebased"])
    if is_dated is None:
        raise EvidenceError(f"record is dated otherwise than it was recorded: {where}")
    empty = RecordShown(
        line["ref"],
        place,
        header.kind,
        start_ns,
        end_ns,
        link.clock_state,
        line["rebased"],
        is_dated,
        {},
        (),
        {},
        {},
    )
    # A record that the gateway could not take apart has none of a recording's members: nothing of it is delivered.
    if header.kind is not Kind.GOP or not _MEDIA & line.keys():
        return empty
    return _verify_media(line, empty, header.commitment, where)


def _is_dated(chain: Chain, link: Link, start_ns: int, *, is_rebased: bool) -> bool | None:
    """Tell whether the recorder signed what a record's time follows from; None where it signed another time."""
    header = link.header
    if not is_rebased:
        return True if start_ns == header.start_ns else None
    if not link.is_floor_only or not header.boot_ns:
        return None
    offset = start_ns - header.boot_ns
    if not link.boot_id:
        return False
    if chain.claimed.setdefault(link.boot_id, offset) != offset:
        return None
    off_by = min((abs(each - offset) for each in chain.witnessed.get(link.boot_id, ())), default=None)
    if off_by is not None and off_by > _MAX_STEP_NS:
        return None
    return off_by is not None and off_by <= SECOND_NS


def _verify_media(line: Mapping[str, Any], empty: RecordShown, commitment: bytes, where: str) -> RecordShown:
    blob = parse_b64(line["digests"])
    leaves = [blob[at : at + media.DIGEST_BYTES] for at in range(0, len(blob), media.DIGEST_BYTES)]
    if media.commitment(leaves) != commitment:
        raise EvidenceError(f"digests are not what the recorder committed to: {where}")
    tracks: dict[int, TrackShown] = {}
    for number, entry in enumerate(line["tracks"]):
        track = TrackShown(
            entry["track"], entry["codec"], Fraction(*entry["time_base"]), parse_b64(entry["parameters"])
        )
        digest = media.track_digest(
            parse_b64(entry["salt"]), track.index, track.codec, track.time_base, track.parameters
        )
        if digest != leaves[number]:
            raise EvidenceError(f"track is not the one committed to: {where} track={track.index}")
        tracks[track.index] = track
    digests = tuple(leaves[len(tracks) :])
    places = {place.index: place for place in _iter_places(parse_b64(line["places"]))}
    for shown in places.values():
        assert shown.body is not None
        if media.unit_digest(shown.salt.place, shown.track, shown.pts, shown.body) != digests[shown.index]:
            raise EvidenceError(f"place of an access unit is not the one committed to: {where} unit={shown.index}")
    delivered = {part["clip"]: tuple(_iter_delivered(part)) for part in line["delivered"]}
    for units in delivered.values():
        order = [-1, *(unit.index for unit in units), len(digests)]
        if any(index >= following for index, following in pairwise(order)):
            raise EvidenceError(f"access units are not in the order of the record: {where}")
    if len(delivered) != len(line["delivered"]):
        raise EvidenceError(f"record names a clip twice: {where}")
    return replace(empty, tracks=tracks, digests=digests, delivered=delivered, places=places)


def _iter_places(blob: bytes) -> Iterator[Shown]:
    for index, track, pts, salt, body in _PLACE.iter_unpack(blob):
        yield Shown(index, track, pts, media.UnitSalt(salt, b""), body)


def _iter_delivered(part: Mapping[str, Any]) -> Iterator[Shown]:
    salts, half = parse_b64(part["salts"]), media.UNIT_SALT_BYTES
    if len(salts) != len(part["units"]) * _SALT_BYTES:
        raise ValueError("not one salt per access unit")
    for number, (index, track, pts) in enumerate(part["units"]):
        salt = salts[number * _SALT_BYTES : (number + 1) * _SALT_BYTES]
        yield Shown(index, track, pts, media.UnitSalt(salt[:half], salt[half:]), None)


def _read_lines(lines: bytes, always: set[str], sometimes: frozenset[str] | set[str] = frozenset()) -> Iterator[Any]:
    if lines and not lines.endswith(b"\n"):
        raise EvidenceError("a file of lines is cut short")
    for line in lines.splitlines():
        if len(line) > MAX_LINE_BYTES:
            raise EvidenceError("a line of evidence is too long")
        try:
            members = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise EvidenceError("a line of evidence is no JSON") from error
        if not isinstance(members, dict) or not always <= members.keys() <= always | sometimes:
            raise EvidenceError("a line of evidence has other members than it should")
        yield members

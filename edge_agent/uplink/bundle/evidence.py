"""The evidence that a stranger needs to check a clip, collected while it is made: records, digests, salts, blocks.

Owns the two files of JSON lines in a bundle (docs/evidence.md). A salt goes in only for an access unit that is in the
clip, so that everything else stays a digest that says nothing. Holds about 3 KiB per record, never a picture. Pure.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from edge_agent.base64url import encode_b64
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.records import BlockEvidence, StoredRecord
from edge_agent.errors import EvidenceError
from edge_agent.media import commitments
from edge_agent.units import UtcNs, encode_rfc3339
from edge_agent.uplink.clip import messages as wire

_UNIT = struct.Struct(">IBq")
PLACE = struct.Struct(">IBq16s32s")
"""A unit that is not in the clip: its number, track, PTS, place salt and body digest."""
_NAMES: Mapping[Kind, str] = {Kind.GOP: "gop", Kind.GAP: "gap", Kind.RUN: "run", Kind.CLOCK: "clock"}
_MAX_NOTE_BYTES = 4096
"""A longer note goes in empty; the header beside it stays."""
# A run's facts name the camera's place in the home network: these alone leave.
_RUN_FACTS = frozenset(
    {"codec", "codecs", "tracks", "width", "height", "transport", "audio", "time_base", "frame_rate"}
)


@dataclass(slots=True)
class _Entry:
    """The parts that are kept of one record."""

    kind: Kind
    seq: int
    index: int
    start_ns: int
    end_ns: int
    clock: str
    rebased: bool
    run_id: bytes
    header: bytes
    body_sha256: bytes
    salt: bytes = b""
    commitment: bytes = b""
    note: Mapping[str, object] = field(default_factory=dict)
    tracks: tuple[wire.TrackSeen, ...] = ()
    units: bytes = b""
    digests: bytes = b""
    delivered: dict[str, bytearray] = field(default_factory=dict)


class EvidenceBook:
    """Collects, in the order of the ring; then writes lines."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._extents: dict[str, _Extent] = {}

    def add(self, record: StoredRecord, salt: bytes) -> int:
        """Take down a record; return its number, under which events refer to it."""
        header = record.header
        entry = _Entry(
            kind=header.kind,
            seq=record.seq,
            index=record.index,
            start_ns=record.start_ns,
            end_ns=record.start_ns + header.duration_ns,
            clock=record.clock_state.value,
            rebased=record.rebased,
            run_id=record.run_id,
            header=record.header_bytes,
            body_sha256=record.body_sha256,
            salt=salt,
            commitment=header.commitment,
            note={} if header.kind is Kind.GOP else read_note(record),
        )
        self._entries.append(entry)
        return len(self._entries) - 1

    def see(self, seen: wire.RecordSeen) -> bool:
        """Take down the digests that the child made; False if they are not the bytes that the recorder committed to."""
        entry = self._find(seen.ref)
        entry.tracks, entry.units = seen.tracks, seen.units
        digests = _digests(entry)
        entry.digests = b"".join(digests)
        return commitments.commitment(digests) == entry.commitment

    def deliver(self, clip: str, delivered: wire.Delivered) -> None:
        """Take down which access units are in a clip."""
        extent = self._extents.get(clip)
        for ref, index, track, pts in wire.DELIVERED.iter_unpack(delivered.units):
            entry, place = self._find(ref), (ref, index)
            if extent is None:
                extent = self._extents[clip] = _Extent(place, place)
            elif place > extent.last:
                extent.last = place
            if clip not in entry.delivered:
                entry.delivered[clip] = bytearray()
            entry.delivered[clip] += _UNIT.pack(index, track, pts)

    def _find(self, ref: int) -> _Entry:
        if not 0 <= ref < len(self._entries):
            raise EvidenceError(f"clip child named an unknown record: ref={ref}")
        return self._entries[ref]

    @property
    def clock_states(self) -> list[str]:
        """The states of the clock under which the footage was recorded."""
        return sorted({entry.clock for entry in self._entries if entry.kind is Kind.GOP})

    @property
    def is_rebased(self) -> bool:
        """Tell whether any footage was dated afterwards."""
        return any(entry.rebased for entry in self._entries if entry.kind is Kind.GOP)

    def clock_offsets(self) -> list[int]:
        """Return the camera's clock less the gateway's, in ns, as noted in the sessions that the footage is from."""
        runs = {entry.run_id for entry in self._entries if entry.kind is Kind.GOP}
        notes = (entry.note for entry in self._entries if entry.kind is Kind.CLOCK and entry.run_id in runs)
        found = (note.get("camera_offset_ns") for note in notes)
        # JSON's ``true`` would pass ``isinstance``.
        return [offset for offset in found if type(offset) is int]

    def spans(self, kind: Kind) -> list[tuple[int, int, str]]:
        """Return start, end and reason of the records of one kind."""
        return [
            (entry.start_ns, entry.end_ns, str(entry.note.get("reason", "gap")))
            for entry in self._entries
            if entry.kind is kind
        ]

    def lines(self) -> Iterator[bytes]:
        """Write ``evidence/records.jsonl``: one record a line."""
        for ref, entry in enumerate(self._entries):
            line: dict[str, object] = {
                "ref": ref,
                "kind": _NAMES[entry.kind],
                "block": entry.seq,
                "index": entry.index,
                "start": encode_rfc3339(UtcNs(entry.start_ns)),
                "end": encode_rfc3339(UtcNs(entry.end_ns)),
                "clock": entry.clock,
                "rebased": entry.rebased,
                "header": encode_b64(entry.header),
                "body_sha256": entry.body_sha256.hex(),
            }
            if entry.kind is not Kind.GOP:
                line["note"] = entry.note
            elif entry.digests:  # Of a record that could not be taken apart there are none.
                line |= _media_members(entry, ref, self._extents)
            yield encode_line(line)


def _media_members(entry: _Entry, ref: int, extents: Mapping[str, "_Extent"]) -> dict[str, object]:
    salts = commitments.UnitSalts(entry.salt)
    return {
        "tracks": [
            {
                "track": track.track,
                "codec": track.codec,
                "time_base": list(track.time_base),
                "parameters": encode_b64(track.parameters),
                "salt": encode_b64(commitments.track_salt(entry.salt, track.track)),
            }
            for track in entry.tracks
        ],
        "digests": encode_b64(entry.digests),
        "delivered": [
            {
                "clip": clip,
                "units": [list(unit) for unit in _UNIT.iter_unpack(bytes(units))],
                "salts": encode_b64(
                    b"".join(half for index, _, _ in _UNIT.iter_unpack(units) for half in salts.of(index))
                ),
            }
            for clip, units in entry.delivered.items()
        ],
        "places": encode_b64(b"".join(_places(entry, ref, extents))),
    }


def _digests(entry: _Entry) -> list[bytes]:
    """Compute the record's digests from the child's account, with the record's own salt."""
    digests = [
        commitments.track_digest(
            commitments.track_salt(entry.salt, track.track),
            track.track,
            track.codec,
            Fraction(*track.time_base),
            track.parameters,
        )
        for track in entry.tracks
    ]
    salts = commitments.UnitSalts(entry.salt)
    for index, (track, pts, body) in enumerate(wire.UNIT.iter_unpack(entry.units)):
        digests.append(commitments.unit_digest(salts.of(index).place, track, pts, body))
    return digests


def _places(entry: _Entry, ref: int, extents: Mapping[str, "_Extent"]) -> Iterator[bytes]:
    """Show the place, not the body, of units that lie between a clip's units: so that no picture is suspected there.

    Of units before a clip's first or after its last nothing is shown but the place of the record's first picture: the
    record's start, which its header tells in any case, is the time of that one.
    """
    delivered = {index for units in entry.delivered.values() for index, _, _ in _UNIT.iter_unpack(bytes(units))}
    # Every unit is in a clip: nothing is left to be shown.
    if len(delivered) * wire.UNIT.size == len(entry.units):
        return
    # Outside of all clips a unit's place would tell its time, and no check needs it.
    if not any(extent.first[0] <= ref <= extent.last[0] for extent in extents.values()):
        return
    pictures = {
        track.track for track in entry.tracks if commitments.codec_kind(track.codec) is not commitments.CodecKind.AUDIO
    }
    salts, is_first = commitments.UnitSalts(entry.salt), True
    for index, (track, pts, body) in enumerate(wire.UNIT.iter_unpack(entry.units)):
        is_origin, is_first = is_first and track in pictures, is_first and track not in pictures
        is_inside = any(extent.first < (ref, index) < extent.last for extent in extents.values())
        if index not in delivered and (is_inside or is_origin):
            yield PLACE.pack(index, track, pts, salts.of(index).place, body)


@dataclass(slots=True)
class _Extent:
    """The first and the last unit of a clip: record and number."""

    first: tuple[int, int]
    last: tuple[int, int]


def block_line(block: BlockEvidence) -> bytes:
    """Write one line of ``evidence/blocks.jsonl``: signed pages, and the chain between them."""
    return encode_line(
        {
            "block": block.seq,
            "page": encode_b64(block.page_bytes),
            "next_page": None if block.next_page_bytes is None else encode_b64(block.next_page_bytes),
            "records": [
                {"header": encode_b64(record.header_bytes), "body_sha256": record.body_sha256.hex()}
                for record in block.records
            ],
        }
    )


def read_note(record: StoredRecord) -> Mapping[str, object]:
    """Read the JSON of a GAP, RUN or CLOCK record; of a run only what says nothing about the home network."""
    if len(record.plaintext) > _MAX_NOTE_BYTES:
        return {}
    try:
        note = json.loads(record.plaintext)
    # Empty as well: a note that cannot be read must not keep the footage beside it from its bundle.
    except (ValueError, RecursionError):
        return {}
    if not isinstance(note, dict):
        return {}
    if record.header.kind is Kind.RUN:
        return {name: value for name, value in note.items() if name in _RUN_FACTS}
    return note


def encode_line(members: Mapping[str, object]) -> bytes:
    """Write one JSON line."""
    return json.dumps(members, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode() + b"\n"


def find_gaps(
    granted: Sequence[tuple[int, int]],
    delivered: Sequence[tuple[int, int, str]],
    known: Sequence[tuple[int, int, str]],
    footage: Sequence[tuple[int, int, str]],
    least_ns: int,
) -> list[tuple[int, int, str]]:
    """Return what of the granted windows is not delivered, with the best reason there is.

    Args:
        granted: Windows, in order.
        delivered: Spans of the clips and why each ended; of an export they may overlap, and go back.
        known: Gaps and losses with their reasons.
        footage: Spans of the records read.
        least_ns: Shorter gaps are rounding, not gaps.
    """
    gaps = []
    for start, end in granted:
        at, ended = start, ""
        inside = sorted((a, b, why) for a, b, why in delivered if a < end and b > start)
        for begin, until, why in [*inside, (end, end, "")]:
            if begin - at >= least_ns:
                gaps.append((at, min(begin, end), _reason_for(at, begin, ended, known, footage)))
            at, ended = max(at, until), why
    return gaps


def _reason_for(
    start: int, end: int, ended: str, known: Sequence[tuple[int, int, str]], footage: Sequence[tuple[int, int, str]]
) -> str:
    def overlap(span: tuple[int, int, str]) -> int:
        return min(end, span[1]) - max(start, span[0])

    # The ring's own word first; only without one it follows from how a clip ended.
    best = max(known, key=overlap, default=None)
    if best is not None and overlap(best) > 0:
        return best[2]
    if not any(overlap(span) > 0 for span in footage):
        return "no-footage"
    if ended == "window-end":
        return "reordered-at-end"
    return ended if ended and ended != "end" else "before-first-keyframe"

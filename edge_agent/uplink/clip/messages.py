"""The language between the releaser and its clip child: framed messages on two pipes.

Owns the messages and their sizes. Both sides are ours, but the child's words are not believed: it has parsed a
camera's bytes. So every length is bounded before anything is allocated, and the parent reads events as plain JSON.
Imports no FFmpeg.
"""

import base64
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from edge_agent.errors import EvidenceError
from edge_agent.units import UtcNs, Window

MAX_MESSAGE_BYTES = 8 << 20
"""A record holds 4 MiB at most (FORMAT 4.1), and FFmpeg hands over less at a time; the rest is room for lists."""

JOB, RECORD, NUT, END = b"J", b"R", b"N", b"E"
"""Releaser to child: one job; records in order, each what is known of it and then its NUT file; the end."""
DATA, EVENT = b"D", b"V"
"""Child to releaser: bytes of the open MP4, and their kind."""


class Readable(Protocol):
    """The reading end of a pipe."""

    def read(self, size: int, /) -> bytes:
        """Read ``size`` bytes, fewer only at the end."""


UNIT = struct.Struct(">Bq32s")
"""Track, PTS, body digest."""
DELIVERED = struct.Struct(">IIBq")
"""Record, unit, track, PTS."""
_FRAME = struct.Struct(">cI")


@dataclass(frozen=True, slots=True)
class Job:
    """The part to cut out of the records that follow."""

    windows: tuple[Window, ...]
    """In order, disjoint."""
    audio: bool = False
    evidence: bool = True
    """Tell the digests of all that is read, and the part that went into the clip."""
    masks: tuple[tuple[tuple[int, int], ...], ...] = ()
    """Polygons in thousandths of width and height; any at all means decode, paint, encode anew."""
    stills: int = 0
    """Not a clip but this many JPEG pictures."""
    grid: bool = False
    """Not a clip but the newest keyframe as PNG, with a grid and the outlines of ``masks`` on it."""
    cpu_s: int = 600
    memory_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class RecordHead:
    """The facts that the child needs of a record beside its NUT file."""

    ref: int
    """The record's number in this job, from 0."""
    start_ns: int
    """UTC of the first video access unit in file order."""
    break_before: str
    """Why this record does not continue the one before; empty if it does."""
    salt: bytes


def encode_job(job: Job) -> bytes:
    """Write a job as JSON."""
    return json.dumps(asdict(job) | {"windows": [(w.start, w.end) for w in job.windows]}).encode()


def parse_job(raw: bytes) -> Job:
    """Read a job; the parent wrote it, so nothing is checked."""
    members = json.loads(raw)
    members["windows"] = tuple(Window(UtcNs(start), UtcNs(end)) for start, end in members["windows"])
    members["masks"] = tuple(tuple((x, y) for x, y in mask) for mask in members["masks"])
    return Job(**members)


def encode_head(head: RecordHead) -> bytes:
    """Write what is known of a record as JSON."""
    return json.dumps(_members(head) | {"salt": head.salt.hex()}).encode()


def parse_head(raw: bytes) -> RecordHead:
    """Read the facts of a record."""
    members = json.loads(raw)
    return RecordHead(**members | {"salt": bytes.fromhex(members["salt"])})


@dataclass(frozen=True, slots=True)
class Ready:
    """The child is confined and begins."""

    is_walled: bool
    """The kernel denies it every path as well (Landlock)."""


@dataclass(frozen=True, slots=True)
class End:
    """The child has done its whole job."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record's payload was no NUT file."""

    ref: int


@dataclass(frozen=True, slots=True)
class TrackSeen:
    """A track of a record, as the child describes it; the record's digests cover it."""

    track: int
    codec: str
    time_base: tuple[int, int]
    parameters: bytes


@dataclass(frozen=True, slots=True)
class RecordSeen:
    """A record's tracks, and of every access unit, in the order of the NUT file, track, PTS and body digest."""

    ref: int
    tracks: tuple[TrackSeen, ...]
    units: bytes
    """``UNIT`` after ``UNIT``."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """The MP4 of a run begins with the data that follows."""

    codec: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The MP4 is complete: why it ends, what it spans, and per track its PTS less the PTS in the MP4."""

    reason: str
    start_ns: int
    end_ns: int
    offsets: tuple[tuple[int, int], ...]
    audio_coded: bool
    master_sha256: bytes = b""
    """Of the MP4 as it would be without masks, which nobody gets; empty if there are none."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Access units that are in the open MP4, byte for byte, in the order of the MP4."""

    units: bytes
    """``DELIVERED`` after ``DELIVERED``."""


@dataclass(frozen=True, slots=True)
class Still:
    """A small picture."""

    utc_ns: int
    image: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The child gives up: the name of the error and where, never data."""

    reason: str


ClipEvent = Ready | End | Unreadable | RecordSeen | RunStart | RunEnd | Delivered | Still | Failed
_EVENTS: Mapping[str, type[ClipEvent]] = {
    kind.__name__: kind for kind in (Ready, End, Unreadable, RecordSeen, RunStart, RunEnd, Delivered, Still, Failed)
}
_MAX_TEXT = 64


def encode_event(event: ClipEvent) -> bytes:
    """Write an event as JSON."""
    return json.dumps([type(event).__name__, _members(event)], separators=(",", ":"), default=_encode_other).encode()


def _members(value: Any) -> dict[str, object]:
    # Not asdict, which copies every unit of a list of thousands.
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _encode_other(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else _members(value)


def parse_event(raw: bytes) -> ClipEvent:
    """Read an event of the child and check the type of everything in it; EvidenceError if anything is amiss."""
    try:
        name, members = json.loads(raw)
        kind = _EVENTS[name]
        if kind is RecordSeen:
            members |= {
                "tracks": tuple(_parse_track(track) for track in members["tracks"]),
                "units": _parse_units(members["units"], UNIT.size),
            }
        elif kind is RunEnd:
            members["offsets"] = tuple(_integers(pair, 2) for pair in members["offsets"])
            members["master_sha256"] = base64.b64decode(members["master_sha256"], validate=True)
        elif kind is Still:
            members["image"] = base64.b64decode(members["image"], validate=True)
        elif kind is Delivered:
            members["units"] = _parse_units(members["units"], DELIVERED.size)
        event = kind(**members)
        for field in fields(event):
            _check(getattr(event, field.name), field.type)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EvidenceError("clip child sent a malformed event") from error
    return event


def _parse_units(text: str, size: int) -> bytes:
    units = base64.b64decode(text, validate=True)
    if len(units) % size:
        raise ValueError("units are cut short")
    return units


def _parse_track(value: Mapping[str, Any]) -> TrackSeen:
    base = _integers(value["time_base"], 2)
    if not (0 < base[0] < 1 << 32 and 0 < base[1] < 1 << 32 and 0 <= value["track"] < 256 and len(value["codec"]) < 64):
        raise ValueError("no such track")
    track = TrackSeen(
        value["track"], value["codec"], (base[0], base[1]), base64.b64decode(value["parameters"], validate=True)
    )
    _check(track.track, int)
    _check(track.codec, str)
    return track


def _integers(value: object, count: int) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) != count or any(type(item) is not int for item in value):
        raise ValueError("not a list of integers")
    return tuple(value)


def _check(value: object, kind: object) -> None:
    if kind in (int, bool, str) and (type(value) is not kind or (type(value) is str and len(value) > _MAX_TEXT)):
        raise ValueError("a member has the wrong type")


def write_message(descriptor: int, kind: bytes, body: bytes | memoryview = b"") -> None:
    """Write one frame to a pipe, in one piece; blocks while the pipe is full."""
    size = len(body)
    if size > MAX_MESSAGE_BYTES:
        raise EvidenceError(f"message to or from the clip child is too large: bytes={size}")
    frame = _FRAME.pack(kind, size)
    written = os.writev(descriptor, (frame, body))
    if written < len(frame) + size:  # a signal came in between
        left = memoryview(frame + body)[written:]
        while left:
            left = left[os.write(descriptor, left) :]


def read_message(pipe: Readable) -> tuple[bytes, bytes] | None:
    """Read one frame, or None at the end of the pipe; EvidenceError if it is cut short or too large."""
    header = pipe.read(_FRAME.size)
    if not header:
        return None
    if len(header) < _FRAME.size:
        raise EvidenceError("clip pipe was cut short")
    kind, size = _FRAME.unpack(header)
    if size > MAX_MESSAGE_BYTES:
        raise EvidenceError(f"message on the clip pipe is too large: bytes={size}")
    body = pipe.read(size)
    if len(body) < size:
        raise EvidenceError("clip pipe was cut short")
    return kind, body

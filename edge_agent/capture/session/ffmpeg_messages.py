"""The language between the recorder and the child in which FFmpeg reads a camera: framed messages on two pipes.

Owns the messages and their sizes. Both sides are ours, but what the child says is not believed: a camera's bytes have
been through it. Every length is bounded before anything is allocated, and every value is checked here, for the side of
the recorder. Imports no FFmpeg.
"""

import base64
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from edge_agent.capture.camera_tls import Trust
from edge_agent.capture.reasons import REASONS, CaptureError
from edge_agent.capture.session.interface import AUDIO_CODECS, VIDEO_CODECS, Arrival, Endpoint, SenderReport
from edge_agent.media.packets import TrackTemplate
from edge_agent.printable_text import show_line
from edge_agent.units import MonoNs, UtcNs

MAX_MESSAGE_BYTES = 8 << 20
"""An access unit and its head: a record holds 4 MiB at most (FORMAT 4.1)."""

READY, OPENED, ARRIVED, MISSED, SENT, END = b"R", b"O", b"A", b"M", b"S", b"E"
"""Child to recorder: it is confined; the session's tracks; an access unit; a gap in the numbers of packets; what a
sender report counts; the end and its reason. The other way goes one job, and the pipe's end for the session's."""
FRAME = struct.Struct("<cI")
"""Kind, and length of what follows in bytes."""
# An access unit on the wire: this, then its bytes. Little-endian.
#    0  1  track                        18  8  boot_ns     CLOCK_BOOTTIME, when FFmpeg handed it over
#    1  1  flags  _KEYFRAME and others  26  8  camera_utc  by the camera's clock
#    2  8  pts    ticks                 34  8  ntp         of a sender report
#   10  8  duration                     42  4  rtp         that belongs to ntp
_HEAD = struct.Struct("<BBqqqqQI")
_COUNT = struct.Struct("<BI")
"""Track, and packets as RTCP counts them (32 bits)."""
_KEYFRAME, _HAS_PTS, _HAS_CAMERA_UTC, _HAS_REPORT, _BY_ARRIVAL = 1, 2, 4, 8, 16
_MOST_TRACKS = 2
_MOST_TICKS_A_SECOND = 1_000_000_000
_MOST_NUMBER = 1 << 20
_MOST_EXTRADATA_BYTES = 1 << 20
_MOST_TEXT = 200
FAILED = "reader-failed"


@dataclass(frozen=True, slots=True)
class ReadJob:
    """The child's order: a session to read."""

    endpoint: Endpoint
    silence_s: float


@dataclass(frozen=True, slots=True)
class Opened:
    """The description of an open session (``interface.Session``)."""

    tracks: tuple[TrackTemplate, ...]
    reorders: bool
    silence: str


def encode_job(job: ReadJob) -> bytes:
    """Write a job as JSON. A secret: the login is in it."""
    trust = job.endpoint.trust
    told = None if trust is None else [str(trust.ca_file.absolute()), trust.verify_host]
    return json.dumps({"endpoint": asdict(job.endpoint) | {"trust": told}, "silence_s": job.silence_s}).encode()


def parse_job(raw: bytes) -> ReadJob:
    """Read a job; the recorder wrote it, so nothing is checked."""
    members = json.loads(raw)
    endpoint, told = members["endpoint"], members["endpoint"]["trust"]
    trust = None if told is None else Trust(Path(told[0]), told[1])
    return ReadJob(Endpoint(**endpoint | {"trust": trust}), members["silence_s"])


def encode_opened(opened: Opened) -> bytes:
    """Write the description of a session as JSON."""
    return json.dumps([[_members(track) for track in opened.tracks], opened.reorders, opened.silence]).encode()


def _members(track: TrackTemplate) -> dict[str, Any]:
    return asdict(track) | {
        "time_base": str(track.time_base),
        "sample_aspect": str(track.sample_aspect),
        "extradata": base64.b64encode(track.extradata).decode(),
    }


def parse_opened(raw: bytes) -> Opened:
    """Read the description of a session; CaptureError if anything is amiss."""
    try:
        tracks, reorders, silence = json.loads(raw)
        if not 0 < len(tracks) <= _MOST_TRACKS:
            raise ValueError("so many tracks")
        parsed = tuple(_parse_track(place, track) for place, track in enumerate(tracks))
        return Opened(parsed, reorders is True, show_line(str(silence), _MOST_TEXT))
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        raise CaptureError(FAILED, "it described no tracks") from None


def _parse_track(place: int, members: Mapping[str, Any]) -> TrackTemplate:
    kind, codecs = ("audio", AUDIO_CODECS) if place else ("video", VIDEO_CODECS)
    time_base, aspect = Fraction(members["time_base"]), Fraction(members["sample_aspect"])
    extradata = base64.b64decode(members["extradata"], validate=True)
    numbers = {name: members[name] for name in ("width", "height", "sample_rate", "channels")}
    if members["kind"] != kind or members["codec"] not in codecs or len(extradata) > _MOST_EXTRADATA_BYTES:
        raise ValueError("no such track")
    if any(type(number) is not int or not 0 <= number < _MOST_NUMBER for number in numbers.values()):
        raise ValueError("no such size")
    if not 0 < time_base <= 1 or time_base.denominator > _MOST_TICKS_A_SECOND:
        raise ValueError("no such time base")
    # 0 stands for an aspect that is not known.
    if not aspect >= 0 or max(aspect.as_integer_ratio()) >= _MOST_NUMBER:
        raise ValueError("no such pixel")
    return TrackTemplate(place, kind, members["codec"], time_base, extradata, **numbers, sample_aspect=aspect)


def encode_head(arrival: Arrival) -> bytes:
    """Write the head of an access unit: all but its bytes. Its UTC is the recorder's to tell."""
    flags = (
        _KEYFRAME * arrival.is_keyframe
        | _HAS_PTS * (arrival.pts is not None)
        | _HAS_CAMERA_UTC * (arrival.camera_utc is not None)
        | _HAS_REPORT * (arrival.report is not None)
        | _BY_ARRIVAL * arrival.is_by_arrival
    )
    report = arrival.report or SenderReport(0, 0)
    times = arrival.pts or 0, arrival.duration, arrival.boot, arrival.camera_utc or 0
    return _HEAD.pack(arrival.track, flags, *times, report.ntp, report.rtp)


def parse_arrival(body: bytes, tracks: int, utc: UtcNs, boot: MonoNs, since: MonoNs) -> Arrival:
    """Read an access unit; CaptureError if it has no head or is of no track.

    Args:
        body: Of the message.
        tracks: How many there are.
        utc: The wall clock now.
        boot: The time since boot now, read with it: nothing arrived later.
        since: Nor did anything arrive before this.
    """
    if len(body) <= _HEAD.size:
        raise CaptureError(FAILED, "it sent no picture")
    track, flags, pts, duration, arrived, camera_utc, ntp, rtp = _HEAD.unpack_from(body)
    if track >= tracks:
        raise CaptureError(FAILED, "it sent another track")
    # A time is clamped, not refused: the child may be slow, but what it says of the clock is never believed beyond us.
    arrived = max(since, min(boot, arrived))
    return Arrival(
        track=track,
        pts=pts if flags & _HAS_PTS else None,
        duration=duration,
        is_keyframe=bool(flags & _KEYFRAME),
        data=body[_HEAD.size :],
        utc=UtcNs(utc - boot + arrived),
        boot=MonoNs(arrived),
        camera_utc=UtcNs(camera_utc) if flags & _HAS_CAMERA_UTC else None,
        report=SenderReport(ntp, rtp) if flags & _HAS_REPORT else None,
        is_by_arrival=bool(flags & _BY_ARRIVAL),
    )


def encode_count(track: int, packets: int) -> bytes:
    """Write a number of packets, of a track if it is known."""
    return _COUNT.pack(track, packets & 0xFFFFFFFF)


def parse_count(body: bytes) -> tuple[int, int]:
    """Read a number of packets; CaptureError if it is none."""
    if len(body) != _COUNT.size:
        raise CaptureError(FAILED, "it sent no number")
    track, packets = _COUNT.unpack(body)
    return min(track, _MOST_TRACKS - 1), packets


def encode_end(error: CaptureError) -> bytes:
    """Write why a session ended or could not be opened, as JSON."""
    return json.dumps([error.reason, error.detail]).encode()


def parse_end(raw: bytes) -> CaptureError:
    """Read why a session ended; any but one of our reasons is a failure of the child."""
    try:
        reason, detail = json.loads(raw)
        if reason in REASONS:
            return CaptureError(reason, show_line(str(detail), _MOST_TEXT))
    except (ValueError, TypeError, RecursionError):
        # The child parses a stranger's bytes: its words may be anything.
        pass
    return CaptureError(FAILED, "it gave no reason")


def write_message(descriptor: int, kind: bytes, *parts: bytes) -> None:
    """Write one message to a pipe; blocks while the pipe is full.

    Raises:
        CaptureError: It is longer than the other side takes.
        BrokenPipeError: Nobody reads any more.
    """
    size = sum(map(len, parts))
    if size > MAX_MESSAGE_BYTES:
        raise CaptureError("protocol-error", f"a picture of {size} bytes")
    frame = FRAME.pack(kind, size)
    # One call and no copy in the usual case; a full pipe takes the rest in pieces.
    written = os.writev(descriptor, (frame, *parts))
    if written < len(frame) + size:
        left = memoryview(b"".join((frame, *parts)))[written:]
        while left:
            left = left[os.write(descriptor, left) :]

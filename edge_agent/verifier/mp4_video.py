"""MP4 as a verifier needs it: the access units as they lie in the file, and a copy for players that want one.

The only user of FFmpeg at the RTCC's side beside the demo. Copies bytes, and decodes only the few pictures of a report.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container.input import InputContainer

from edge_agent.errors import EvidenceError

_AS_STORED = {"ignore_editlist": "1"}
_STILL_WIDTH = 640
"""Pixels: of a report's pictures, for paper; the clip has the whole ones."""


@dataclass(frozen=True, slots=True)
class Mp4Track:
    """One track of an MP4."""

    number: int
    kind: str
    codec: str
    time_base: Fraction
    extradata: bytes


@dataclass(frozen=True, slots=True)
class Mp4Unit:
    """One access unit of an MP4, PTS in the track's time base."""

    track: int
    pts: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Mp4:
    """An open MP4."""

    tracks: tuple[Mp4Track, ...]
    _container: InputContainer

    def units(self) -> Iterator[Mp4Unit]:
        """Yield every access unit in the order of the file."""
        try:
            for packet in self._container.demux():
                if packet.size:
                    # A packet without PTS cannot be compared with a record's, and players would
                    # guess when to show it.
                    if packet.pts is None:
                        raise EvidenceError("MP4 holds an access unit without a time")
                    yield Mp4Unit(packet.stream_index, packet.pts, bytes(packet))
        except av.FFmpegError as error:
            raise EvidenceError(f"MP4 cannot be read: {type(error).__name__}") from error


@contextmanager
def open_mp4(path: Path) -> Iterator[Mp4]:
    """Open an MP4 for checking; edit lists are ignored, so that they can hide nothing."""
    try:
        container = av.open(str(path), options=_AS_STORED)
    except (av.FFmpegError, OSError) as error:
        raise EvidenceError(f"MP4 cannot be read: {type(error).__name__}") from error
    with container:
        tracks = tuple(
            Mp4Track(
                stream.index,
                stream.type,
                stream.codec_context.name,
                stream.time_base or Fraction(1),
                bytes(stream.codec_context.extradata or b""),
            )
            for stream in container.streams
        )
        yield Mp4(tracks, container)


def copy_progressive(source: Path, target: Path) -> None:
    """Write a copy with its index in front: the same access units, for players that cannot do fragments.

    Whole or not at all: half a clip would be handed over as one.
    """
    part = target.with_suffix(".part")
    try:
        with (
            av.open(str(source), options=_AS_STORED) as container,
            av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as copy,
        ):
            streams = {}
            for stream in container.streams:
                streams[stream.index] = copy.add_stream_from_template(stream, opaque=True)
                if stream.codec_context.name == "hevc":
                    # Without it the muxer writes ``hev1``, which players of Apple refuse.
                    streams[stream.index].codec_context.codec_tag = "hvc1"
            for packet in container.demux():
                if packet.size:
                    packet.stream = streams[packet.stream_index]
                    copy.mux(packet)
        part.replace(target)
    except (av.FFmpegError, OSError) as error:
        raise EvidenceError(f"no progressive copy: {source.name}: {type(error).__name__}") from error
    finally:
        part.unlink(missing_ok=True)


def read_stills(path: Path, count: int) -> list[tuple[float, bytes]]:
    """Decode pictures from the whole length of a clip; return for each its second in the clip, and a JPEG.

    Raises:
        EvidenceError: It cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            start, duration = stream.start_time or 0, stream.duration or 0
            found: dict[int, bytes] = {}
            for number in range(count):
                container.seek(start + duration * number // max(1, count), stream=stream)
                frame = next(container.decode(stream), None)
                if frame is not None and frame.pts is not None and frame.pts not in found:
                    found[frame.pts] = _encode_jpeg(frame)
            base = stream.time_base or Fraction(1)
            return [(float((pts - start) * base), jpeg) for pts, jpeg in sorted(found.items())]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise EvidenceError(f"no pictures of {path.name}: {type(error).__name__}") from error


def _encode_jpeg(frame: av.VideoFrame) -> bytes:
    width = min(frame.width, _STILL_WIDTH)
    height = max(2, frame.height * width // frame.width // 2 * 2)
    codec = av.CodecContext.create("mjpeg", "w")
    small = frame.reformat(width=width // 2 * 2, height=height, format="yuvj420p")
    codec.width, codec.height, codec.pix_fmt = small.width, small.height, "yuvj420p"
    codec.time_base = Fraction(1, 25)
    small.pts = 0
    return b"".join(bytes(packet) for packet in (*codec.encode(small), *codec.encode(None)))

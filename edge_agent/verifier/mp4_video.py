"""MP4 as a verifier needs it: the access units as they lie in the file, and a copy for players that want one.

The only user of FFmpeg at the RTCC's side beside the demo. Copies bytes, decodes nothing.
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
    """Write a copy with its index in front: the same access units, for players that cannot do fragments."""
    try:
        with (
            av.open(str(source), options=_AS_STORED) as container,
            av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as copy,
        ):
            streams = {}
            for stream in container.streams:
                streams[stream.index] = copy.add_stream_from_template(stream, opaque=True)
                if stream.codec_context.name == "hevc":
                    streams[stream.index].codec_context.codec_tag = "hvc1"
            for packet in container.demux():
                if packet.size:
                    packet.stream = streams[packet.stream_index]
                    copy.mux(packet)
    except (av.FFmpegError, OSError) as error:
        raise EvidenceError(f"no progressive copy: {source.name}: {type(error).__name__}") from error

"""Coded packets and the tracks that they belong to, as values: capture records them, the clip reads them.

Pure: knows no container and no codec. In which order the packets of a record lie, and which DTS they have, is decided
here, for the writer and for the reader of a record alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class TrackTemplate:
    """One track of a run or of a NUT file: all that a decoder must know before the first packet."""

    index: int
    """From 0."""
    kind: str
    """``video`` or ``audio``."""
    codec: str
    """FFmpeg's name: ``h264``, ``hevc``, ``mjpeg``, ``aac``, ``pcm_alaw``, ``pcm_mulaw``, ``opus``."""
    time_base: Fraction
    """Seconds in a tick."""
    extradata: bytes
    """The decoder's set-up: parameter sets, AudioSpecificConfig; may be empty."""
    width: int
    """Of a picture in pixels; 0 for sound, and if it is not known yet."""
    height: int
    sample_rate: int
    """In Hz; 0 for pictures."""
    channels: int
    """0 for pictures."""
    sample_aspect: Fraction = Fraction(0)
    """Width of a pixel by its height; 0 if the stream does not say."""


class NutPacket(NamedTuple):
    """One access unit; PTS, DTS and duration in ticks of its track's time base."""

    track: int
    """A place among the tracks, from 0."""
    pts: int
    dts: int
    duration: int
    is_keyframe: bool
    """Whether a decoder may begin here."""
    data: bytes
    """The coded bytes as the camera sent them."""


class CodedStream(Protocol):
    """The members of FFmpeg's stream that ``describe_stream`` reads."""

    @property
    def type(self) -> str:
        """``video`` or ``audio``."""

    @property
    def codec_context(self) -> Any:
        """Parameters of the decoder."""

    @property
    def time_base(self) -> Fraction | None:
        """Length of a tick in seconds."""


def describe_stream(stream: CodedStream, index: int) -> TrackTemplate:
    """Describe a stream of an open container as track ``index`` of the files to be made of it."""
    context, is_video = stream.codec_context, stream.type == "video"
    return TrackTemplate(
        index=index,
        kind=stream.type,
        codec=context.name,
        time_base=stream.time_base or Fraction(1, 90_000),
        extradata=bytes(context.extradata or b""),
        width=getattr(context, "width", 0) if is_video else 0,
        height=getattr(context, "height", 0) if is_video else 0,
        sample_rate=0 if is_video else getattr(context, "sample_rate", 0),
        channels=0 if is_video else getattr(context, "channels", 0),
        sample_aspect=getattr(stream, "sample_aspect_ratio", None) or Fraction(0),
    )


def interleave(tracks: Sequence[TrackTemplate], packets: Iterable[NutPacket]) -> list[NutPacket]:
    """Return the packets in the order in which a NUT file holds them: by DTS, then by track."""
    if len(tracks) == 1:
        return sorted(packets, key=attrgetter("dts"))
    bases = [track.time_base for track in tracks]
    return sorted(packets, key=lambda packet: (packet.dts * bases[packet.track], packet.track))


def reorder_depth(pts: Sequence[int]) -> int:
    """Return how many pictures a decoder holds back to show these in order; ``pts`` of one track in decode order."""
    ordered = sorted(pts)
    if ordered == list(pts):
        return 0
    depth = 0
    for position, value in enumerate(pts):
        while ordered[max(position - depth, 0)] > value:
            depth += 1
    return depth


def derive_dts(pts: Sequence[int]) -> list[int]:
    """Derive DTS from the PTS of one track in decode order: rising, never above PTS, as little below it as can be.

    Every DTS is one of the PTS, moved back by the depth of reordering; before the first PTS they go on in its step.
    """
    ordered, depth = sorted(pts), reorder_depth(pts)
    step = max(1, ordered[1] - ordered[0]) if len(ordered) > 1 else 1
    return [
        ordered[position - depth] if position >= depth else ordered[0] - (depth - position) * step
        for position in range(len(ordered))
    ]

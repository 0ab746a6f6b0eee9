"""Takes the NUT file of a record apart, through FFmpeg's demuxer.

Owns every quirk of that demuxer. It never changes a packet's bytes or its PTS, and never reads or writes a file.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import av
from av.container.input import InputContainer
from av.stream import Stream

from edge_agent.errors import IntegrityError
from edge_agent.media.nut_writer import NUT_MAGIC
from edge_agent.media.packets import NutPacket, TrackTemplate, derive_dts, describe_stream

_NO_OPTIONS: Mapping[str, str] = {}
# A NUT header tells all that taking it apart needs; else FFmpeg decodes pictures: 8.4 ms a record of 1080p, not 0.1.
_AS_IT_LIES = {"probesize": "32", "skip_frame": "all"}


@dataclass(frozen=True, slots=True)
class StoredTrack(TrackTemplate):
    """A track of a record, and a handle to make another track like it."""

    template: Stream = field(kw_only=True, repr=False, compare=False)
    """Keeps its container alive; valid until that container is closed."""


def open_nut(data: bytes, options: Mapping[str, str] = _NO_OPTIONS) -> InputContainer:
    """Open a NUT file for decoding, or with ``_AS_IT_LIES`` for taking apart; close it.

    Raises:
        IntegrityError: The bytes are no NUT file.
    """
    if not data.startswith(NUT_MAGIC):
        raise IntegrityError(f"not a NUT file: bytes={len(data)}")
    try:
        return av.open(io.BytesIO(data), "r", format="nut", options=dict(options))
    except (av.FFmpegError, ValueError) as error:
        raise IntegrityError(f"not a NUT file: bytes={len(data)} error={type(error).__name__}") from error


def read_nut(data: bytes) -> tuple[tuple[StoredTrack, ...], tuple[NutPacket, ...]]:
    """Take a NUT file apart.

    Returns:
        The tracks, whose templates live as long as they are referenced, and the packets in file order. NUT stores no
        DTS: it is derived from the order (``derive_dts``), over this file alone.

    Raises:
        IntegrityError: The bytes are no NUT file, or are cut short.
    """
    container = open_nut(data, _AS_IT_LIES)
    tracks = tuple(_store_track(stream) for stream in container.streams)
    try:
        found = [packet for packet in container.demux() if packet.size]
    except av.FFmpegError as error:
        raise IntegrityError(f"NUT file is cut short: bytes={len(data)} error={type(error).__name__}") from error
    if any(packet.pts is None for packet in found):
        raise IntegrityError(f"NUT file holds a packet without PTS: bytes={len(data)}")
    dts = [iter(derive_dts([p.pts or 0 for p in found if p.stream_index == track.index])) for track in tracks]
    packets = tuple(
        NutPacket(
            track=packet.stream_index,
            pts=packet.pts or 0,
            dts=next(dts[packet.stream_index]),
            duration=packet.duration or 0,
            is_keyframe=packet.is_keyframe,
            data=bytes(packet),
        )
        for packet in found
    )
    return tracks, packets


def _store_track(stream: Stream) -> StoredTrack:
    described = describe_stream(stream, stream.index)
    return StoredTrack(**{each.name: getattr(described, each.name) for each in fields(described)}, template=stream)

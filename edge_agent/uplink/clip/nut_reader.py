"""Takes the NUT file of a record apart, through FFmpeg's demuxer.

Owns every quirk of that demuxer. It never changes a packet's bytes or its PTS, and never reads or writes a file.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import av
from av.container.input import InputContainer
from av.stream import Stream

from edge_agent.errors import IntegrityError
from edge_agent.media.nut_frames import NutFrame, OtherNutError, read_frames, split_header
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
    frames = [(packet.stream_index, packet.pts or 0, packet.is_keyframe, bytes(packet)) for packet in found]
    return tracks, _make_packets(tracks, frames, [packet.duration or 0 for packet in found])


class NutRunReader:
    """Takes the NUT files of records apart, one behind the other: as ``read_nut``, and three times as fast.

    FFmpeg takes as long to open a file as to read it. The headers are the same for all records of a run, so it reads
    the first of them; the frames behind the same headers are found in plain Python, if that found the very same in the
    first. Whatever is another file, or damaged, is FFmpeg's.
    """

    def __init__(self) -> None:
        self._header = b""
        self._tracks: tuple[StoredTrack, ...] = ()
        self._durations: dict[tuple[int, int], int] = {}
        """By track and ``_duration_key``. NUT keeps none: that of a picture is 0."""

    def read(self, data: bytes) -> tuple[tuple[StoredTrack, ...], tuple[NutPacket, ...]]:
        """Take a NUT file apart.

        Raises:
            IntegrityError: As ``read_nut``.
        """
        if self._header and data.startswith(self._header):
            try:
                frames = read_frames(data, len(self._header), len(self._tracks))
            except OtherNutError:
                return read_nut(data)
            keys = [_duration_key(self._tracks[each[0]], each[3]) for each in frames]
            if self._durations.keys() >= set(keys):
                return self._tracks, _make_packets(self._tracks, frames, [self._durations[key] for key in keys])
        tracks, packets = read_nut(data)
        self._learn(data, tracks, packets)
        return tracks, packets

    def _learn(self, data: bytes, tracks: tuple[StoredTrack, ...], packets: Sequence[NutPacket]) -> None:
        try:
            header, count = split_header(data)
            frames = read_frames(data, len(header), count)
        except OtherNutError:
            return
        is_same = [(each.track, each.pts, each.is_keyframe, each.data) for each in packets] == frames
        durations: dict[tuple[int, int], set[int]] = {}
        for each in packets:
            track = tracks[each.track]
            found = durations.setdefault(_duration_key(track, each.data), set())
            found.add(each.duration if track.kind == "audio" else 0)
        if is_same and all(len(found) == 1 for found in durations.values()):
            known = self._durations if header == self._header else {}
            self._header, self._tracks = header, tracks
            self._durations = known | {key: found.pop() for key, found in durations.items()}


def _duration_key(track: StoredTrack, data: bytes) -> tuple[int, int]:
    """Return what the duration of a packet follows from: its track, and of sound in plain samples its size."""
    return track.index, len(data) if track.codec.startswith("pcm") else 0


def _make_packets(
    tracks: Sequence[StoredTrack], frames: Sequence[NutFrame], durations: Sequence[int]
) -> tuple[NutPacket, ...]:
    dts = [iter(derive_dts([pts for number, pts, _, _ in frames if number == track.index])) for track in tracks]
    return tuple(
        NutPacket(track, pts, next(dts[track]), duration, is_keyframe, data)
        for (track, pts, is_keyframe, data), duration in zip(frames, durations, strict=True)
        if data
    )


def _store_track(stream: Stream) -> StoredTrack:
    described = describe_stream(stream, stream.index)
    return StoredTrack(**{each.name: getattr(described, each.name) for each in fields(described)}, template=stream)

"""NUT files in memory: how the packets of one record are put together and taken apart again.

Owns every quirk of FFmpeg's NUT muxer and demuxer. It never changes a packet's bytes or its PTS, and never reads or
writes a file. Types of PyAV stop here, except the opaque ``template`` which only says "a track like this one".
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.container.input import InputContainer
from av.container.output import OutputContainer
from av.stream import Stream

from edge_agent.errors import IntegrityError

_BUFFER_BYTES = 128 << 10  # a Python sink is called a quarter as often as with the default; more costs fresh pages
_NUT_MAGIC = b"nut/multimedia container\x00"
_NO_OPTIONS: Mapping[str, str] = {}
# A NUT header tells all that taking it apart needs; else FFmpeg decodes pictures: 8.4 ms a record of 1080p, not 0.1.
_AS_IT_LIES = {"probesize": "32", "skip_frame": "all"}


@dataclass(frozen=True, slots=True)
class TrackTemplate:
    """One track of a run or of a NUT file: what a decoder must know, and a handle to make another track like it."""

    index: int
    kind: str
    """``video`` or ``audio``."""
    codec: str
    """FFmpeg's name: ``h264``, ``hevc``, ``mjpeg``, ``aac``, ``pcm_alaw``, ``pcm_mulaw``, ``opus``."""
    time_base: Fraction
    extradata: bytes
    width: int
    height: int
    sample_rate: int
    channels: int
    template: Stream = field(repr=False, compare=False)
    """Keeps its container alive; valid until that container is closed."""


@dataclass(frozen=True, slots=True)
class NutPacket:
    """One access unit; PTS, DTS and duration in ticks of its track's time base."""

    track: int
    pts: int
    dts: int
    duration: int
    is_keyframe: bool
    data: bytes


def describe_stream(stream: Stream, index: int) -> TrackTemplate:
    """Describe a stream of an open container as track ``index`` of the files to be made of it."""
    context = stream.codec_context
    is_video = stream.type == "video"
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
        template=stream,
    )


def retemplate(track: TrackTemplate, parameter_sets: bytes, keyframe: bytes) -> TrackTemplate:
    """Describe a video track anew after its encoder was set anew: other extradata, perhaps another size.

    Also a track whose session began without a picture, so that FFmpeg does not know its size.

    Args:
        track: The track so far.
        parameter_sets: NAL units behind lengths of four bytes (``media.inband_parameter_sets``).
        keyframe: The first one coded with them.
    """
    extradata, place = b"", 0
    while place < len(parameter_sets):
        end = place + 4 + int.from_bytes(parameter_sets[place : place + 4], "big")
        extradata += b"\x00\x00\x00\x01" + parameter_sets[place + 4 : end]
        place = end
    sink = io.BytesIO()
    with av.open(sink, "w", format="nut", buffer_size=_BUFFER_BYTES) as container:
        stream = container.add_mux_stream(
            # FFmpeg writes no header without a size; the one that is read back is the keyframe's own.
            track.codec,
            time_base=track.time_base,
            width=track.width or 16,
            height=track.height or 16,
        )
        # Without extradata of its own a stream takes them from the first packet.
        _mux(container, stream, track.time_base, NutPacket(0, 0, 0, 0, True, extradata + keyframe))
    sample = open_nut(sink.getvalue())
    return describe_stream(sample.streams[0], track.index)


def interleave(tracks: Sequence[TrackTemplate], packets: Iterable[NutPacket]) -> list[NutPacket]:
    """Return the packets in the order in which a NUT file holds them: by DTS, then by track.

    FFmpeg's interleaver would sort so in any case; sorting first is what makes a unit's number known before muxing.
    """
    if len(tracks) == 1:
        return sorted(packets, key=lambda packet: packet.dts)
    bases = [track.time_base for track in tracks]
    return sorted(packets, key=lambda packet: (packet.dts * bases[packet.track], packet.track))


def write_nut(tracks: Sequence[TrackTemplate], packets: Iterable[NutPacket], *, behind: bytes = b"") -> bytes:
    """Mux packets into a self-contained NUT file, in the order of ``interleave``.

    Args:
        tracks: In order of their index; their templates' containers are open.
        packets: PTS not negative; DTS strictly rising within a track and never above PTS.
        behind: What the file is to stand behind; put together later, half a megabyte would be copied to fresh pages.

    Returns:
        ``behind``, then the file.

    Raises:
        ValueError: FFmpeg refuses the packets; the message names its error, never data.
    """
    sink = io.BytesIO()
    sink.write(behind)
    # Without the option a first DTS below zero (B-frames) shifts every PTS of the file.
    options = {"avoid_negative_ts": "disabled"}
    try:
        with av.open(sink, "w", format="nut", container_options=options, buffer_size=_BUFFER_BYTES) as container:
            # opaque=False leaks about 1 KB a file (PyAV #2135).
            streams = [container.add_stream_from_template(track.template, opaque=True) for track in tracks]
            for packet in packets:
                _mux(container, streams[packet.track], tracks[packet.track].time_base, packet)
            container.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"cannot write NUT: {type(error).__name__}") from error
    return sink.getvalue()


def _mux(container: OutputContainer, stream: Stream, time_base: Fraction, packet: NutPacket) -> None:
    coded = av.Packet(packet.data)
    coded.stream = stream
    coded.time_base = time_base
    coded.pts, coded.dts, coded.duration = packet.pts, packet.dts, packet.duration
    coded.is_keyframe = packet.is_keyframe
    container.mux_one(coded)


def open_nut(data: bytes, options: Mapping[str, str] = _NO_OPTIONS) -> InputContainer:
    """Open a NUT file for decoding, or with ``_AS_IT_LIES`` for taking apart; close it.

    Raises:
        IntegrityError: The bytes are no NUT file.
    """
    if not data.startswith(_NUT_MAGIC):
        raise IntegrityError(f"not a NUT file: bytes={len(data)}")
    try:
        return av.open(io.BytesIO(data), "r", format="nut", options=dict(options))
    except (av.FFmpegError, ValueError) as error:
        raise IntegrityError(f"not a NUT file: bytes={len(data)} error={type(error).__name__}") from error


def read_nut(data: bytes) -> tuple[tuple[TrackTemplate, ...], tuple[NutPacket, ...]]:
    """Take a NUT file apart.

    Returns:
        The tracks, whose templates live as long as they are referenced, and the packets in file order. NUT stores no
        DTS: it is derived from the order (``derive_dts``), over this file alone.

    Raises:
        IntegrityError: The bytes are no NUT file, or are cut short.
    """
    container = open_nut(data, _AS_IT_LIES)
    tracks = tuple(describe_stream(stream, stream.index) for stream in container.streams)
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


def derive_dts(pts: Sequence[int]) -> list[int]:
    """Derive DTS from the PTS of one track in decode order: rising, never above PTS, as little below it as can be.

    Every DTS is one of the PTS, moved back by the depth of reordering; before the first PTS they go on in its step.
    """
    ordered = sorted(pts)
    depth = 0
    for position, value in enumerate(pts):
        while ordered[max(position - depth, 0)] > value:
            depth += 1
    step = max(1, ordered[1] - ordered[0]) if len(ordered) > 1 else 1
    return [
        ordered[position - depth] if position >= depth else ordered[0] - (depth - position) * step
        for position in range(len(ordered))
    ]

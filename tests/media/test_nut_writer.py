"""The NUT files that records are made of: written here, read back by FFmpeg, and beside what its own muxer writes."""

import io
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.nut_writer import write_nut
from edge_agent.media.packets import NutPacket, TrackTemplate, describe_stream, interleave
from edge_agent.uplink.clip.nut_reader import StoredTrack, read_nut

TICKS_PER_PICTURE = 3600
MJPEG = TrackTemplate(0, "video", "mjpeg", Fraction(1, 90_000), b"", 64, 48, 0, 0)


def encode(codec: str, pictures: int = 12, options: dict[str, str] | None = None) -> list[NutPacket]:
    """Encode noise with the codec's own reordering."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
    context.time_base, context.framerate = Fraction(1, 90_000), Fraction(25)
    context.options = options or {}
    noise = np.random.default_rng(1)
    coded = []
    for number in range(pictures):
        frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (72, 64), dtype=np.uint8), format="yuv420p")
        frame.pts, frame.time_base = number * TICKS_PER_PICTURE, Fraction(1, 90_000)
        coded += context.encode(frame.reformat(format=context.pix_fmt))
    coded += context.encode(None)
    return [NutPacket(0, p.pts or 0, p.dts or 0, TICKS_PER_PICTURE, p.is_keyframe, bytes(p)) for p in coded]


def stored(codec: str, packets: list[NutPacket]) -> StoredTrack:
    """Describe the track of these packets as FFmpeg's reader does, parameter sets and all."""
    sink = write_nut([replace(template(codec, packets), extradata=b"")], packets)
    with av.open(io.BytesIO(sink), "r", format="nut") as container:
        described = describe_stream(container.streams[0], 0)
    return read_nut(write_nut([described], packets))[0][0]


def template(codec: str, packets: list[NutPacket], rate: int | None = None) -> TrackTemplate:
    """Make the template that a session would give for these packets."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="nut") as container:
        base = Fraction(1, rate or 90_000)
        if rate:
            stream = container.add_stream(codec, rate=rate, layout="mono")
        else:
            stream = container.add_mux_stream(codec, time_base=base, width=64, height=48)
        for packet in packets[:1]:
            coded = av.Packet(packet.data)
            coded.stream, coded.time_base, coded.pts, coded.dts = stream, base, 0, 0
            coded.is_keyframe = True
            container.mux_one(coded)
    sink.seek(0)
    return describe_stream(av.open(sink, "r", format="nut").streams[0], 0)


CODECS = {
    "h264 without B-frames": ("libx264", "h264", {"tune": "zerolatency"}),
    "h264 with B-frames": ("libx264", "h264", {"bf": "2"}),
    "h265 with B-frames": ("libx265", "hevc", {"x265-params": "log-level=none:bframes=3"}),
    "mjpeg": ("mjpeg", "mjpeg", {}),
}


@pytest.mark.parametrize(("encoder", "codec", "options"), CODECS.values(), ids=CODECS.keys())
def test_read_returns_the_bytes_and_pts_that_were_written(encoder: str, codec: str, options: dict[str, str]) -> None:
    """Bytes, PTS, keyframes and time base of every packet survive, B-frames with a DTS below zero included."""
    packets = encode(encoder, options=options)
    tracks, found = read_nut(write_nut([template(codec, packets)], packets))
    assert [(p.pts, p.is_keyframe, p.data) for p in found] == [(p.pts, p.is_keyframe, p.data) for p in packets]
    assert (tracks[0].codec, tracks[0].time_base, tracks[0].width) == (codec, Fraction(1, 90_000), 64)


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw"])
def test_tracks_keep_the_order_of_interleave(codec: str) -> None:
    """A unit's number, which the commitment uses, is its place in ``interleave``, whatever order it was handed in."""
    video = encode("libx264", options={"tune": "zerolatency"})
    audio = [NutPacket(1, n * 160, n * 160, 160, True, bytes([n]) * 160) for n in range(24)]
    voice = template(codec, [NutPacket(0, 0, 0, 160, True, bytes(160))], rate=8000)
    tracks = [template("h264", video), voice]
    mixed = interleave(tracks, audio + video)
    _, found = read_nut(write_nut(tracks, mixed))
    assert [(p.track, p.pts, p.data) for p in found] == [(p.track, p.pts, p.data) for p in mixed]


def test_file_is_the_same_behind_other_bytes() -> None:
    """A file of any size can be put behind a salt as it comes."""
    large = [packet._replace(data=packet.data + bytes(100_000)) for packet in encode("libx264", options={"bf": "2"})]
    tracks = [template("h264", large)]
    assert write_nut(tracks, large, behind=b"salt") == b"salt" + write_nut(tracks, large)


def write_by_ffmpeg(tracks: Sequence[StoredTrack], packets: list[NutPacket]) -> bytes:
    """Mux the same packets with FFmpeg's own writer."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="nut", container_options={"avoid_negative_ts": "disabled"}) as container:
        streams = [container.add_stream_from_template(track.template, opaque=True) for track in tracks]
        for packet in packets:
            coded = av.Packet(packet.data)
            coded.stream, coded.time_base = streams[packet.track], tracks[packet.track].time_base
            coded.pts, coded.dts, coded.duration = packet.pts, packet.dts, packet.duration
            coded.is_keyframe = packet.is_keyframe
            container.mux_one(coded)
    return sink.getvalue()


_OF_A_MISSING_INDEX = ("no index at the end", "read_timestamp failed", "(repeated")
"""A record holds none: it is read from its beginning. FFmpeg looks for it at the end, and then for the length."""


def read_all(data: bytes) -> tuple[list[Any], list[Any]]:
    """Let FFmpeg probe and demux a file as a player does; it complains of nothing but that no index is there."""
    av.logging.set_level(av.logging.INFO)
    with av.logging.Capture() as told, av.open(io.BytesIO(data), "r", format="nut") as container:
        shapes = [
            (describe_stream(stream, stream.index), stream.codec_context.has_b_frames if stream.type == "video" else 0)
            for stream in container.streams
        ]
        found = [(p.stream_index, p.pts, p.dts, p.is_keyframe, bytes(p)) for p in container.demux() if p.size]
    complaints = [text for level, _, text in told if level <= av.logging.WARNING]
    assert [text for text in complaints if not text.lstrip().startswith(_OF_A_MISSING_INDEX)] == []
    return shapes, found


def encode_sound(codec: str) -> tuple[StoredTrack, list[NutPacket]]:
    """Encode a second of sound, and take the track as FFmpeg's reader describes it."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="nut") as container:
        rate = 8000 if codec.startswith("pcm") else 48_000
        stream = container.add_stream(codec, rate=rate, layout="mono")
        for number in range(50):
            samples = np.full((1, rate // 50), number * 100, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, number * rate // 50, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    tracks, packets = read_nut(sink.getvalue())
    first = min(packet.pts for packet in packets)
    return replace(tracks[0], index=1), [p._replace(track=1, pts=p.pts - first, dts=p.dts - first) for p in packets]


def later(tracks: Sequence[TrackTemplate], packet: NutPacket) -> NutPacket:
    """Move a packet by the second with which every run begins: with less, FFmpeg's own files have a DTS below zero."""
    lead = int(1 / tracks[packet.track].time_base)
    return packet._replace(pts=packet.pts + lead, dts=packet.dts + lead)


SOUNDS = {"A-law": "pcm_alaw", "µ-law": "pcm_mulaw", "AAC": "aac", "Opus": "libopus"}


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS.keys())
@pytest.mark.parametrize(("encoder", "codec", "options"), CODECS.values(), ids=CODECS.keys())
def test_ffmpeg_reads_what_its_own_muxer_would_have_written(
    encoder: str, codec: str, options: dict[str, str], sound: str
) -> None:
    """Every packet, its times and every track's parameters are those of FFmpeg's own file, which needs no warning."""
    video = encode(encoder, options=options)
    picture, (voice, audio) = stored(codec, video), encode_sound(sound)
    tracks = [picture, voice]
    mixed = [later(tracks, packet) for packet in interleave(tracks, [*video, *audio])]
    ours, theirs = read_all(write_nut(tracks, mixed)), read_all(write_by_ffmpeg(tracks, mixed))
    assert ours == theirs
    assert len(ours[1]) == len(mixed)


LARGE = {
    "a syncpoint between two pictures": [40_000] * 6,
    "just below a checksum": [2 << 16],
    "with a checksum": [(2 << 16) + 1, 10, 300_000],
    "a megabyte": [1 << 20],
}


@pytest.mark.parametrize("sizes", LARGE.values(), ids=LARGE.keys())
def test_pictures_of_any_size_are_read_back(sizes: list[int]) -> None:
    """The demuxer calls a file damaged if syncpoints lie too far apart, or if a long frame has no checksum."""
    packets = [NutPacket(0, n * 3600, n * 3600, 3600, True, bytes([n + 1]) * size) for n, size in enumerate(sizes)]
    _, found = read_nut(write_nut([MJPEG], packets))
    assert [(p.pts, p.is_keyframe, p.data) for p in found] == [(p.pts, p.is_keyframe, p.data) for p in packets]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(1, 70_000)), min_size=1, max_size=12),
    st.integers(0, 1 << 40),
)
def test_whatever_is_written_is_read_back(shape: list[tuple[int, bool, int]], start: int) -> None:
    """Of any mix of two tracks, sizes and a start far into a run, bytes, PTS and order come back."""
    packets = [
        NutPacket(track, start + n * 900, start + n * 900, 900, is_key or n == 0, bytes([n]) * size)
        for n, (track, is_key, size) in enumerate(shape)
    ]
    _, found = read_nut(write_nut([MJPEG, replace(MJPEG, index=1)], packets))
    assert [(p.track, p.pts, p.data) for p in found] == [(p.track, p.pts, p.data) for p in packets]


def test_decoder_parameters_of_any_length_are_read_back() -> None:
    """A header of more than 4096 bytes has a checksum of its own."""
    sets = b"\x00\x00\x00\x01\x67" + bytes(range(1, 256)) * 20
    tracks, _ = read_nut(write_nut([replace(MJPEG, extradata=sets)], [NutPacket(0, 0, 0, 1, True, b"picture")]))
    assert tracks[0].extradata == sets


def test_shape_of_pixels_is_kept() -> None:
    """A camera of the analogue age has pixels of 12:11; a player stretches them by what the header says."""
    wide = replace(MJPEG, sample_aspect=Fraction(12, 11))
    tracks, _ = read_nut(write_nut([wide], [NutPacket(0, 0, 0, 1, True, b"picture")]))
    assert tracks[0].sample_aspect == Fraction(12, 11)


REFUSED = {
    "codec": (replace(MJPEG, codec="vp9"), 0, "no name for the codec vp9"),
    "size": (replace(MJPEG, width=0), 0, "picture of 0 x 48"),
    "time": (MJPEG, -1, "PTS below zero"),
}


@pytest.mark.parametrize(("track", "pts", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_what_no_demuxer_would_take_is_not_written(track: TrackTemplate, pts: int, told: str) -> None:
    """Such a file would be read as damaged; the error names no data."""
    with pytest.raises(ValueError, match=told):
        write_nut([track], [NutPacket(0, pts, pts, 1, True, b"picture")])

"""The NUT files that records are made of."""

import io
import itertools
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import IntegrityError
from edge_agent.media.nut import NutPacket, TrackTemplate, derive_dts, describe_stream, interleave, read_nut, write_nut

TICKS_PER_PICTURE = 3600


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
    """FFmpeg never goes back in what it writes: a file of any size can be put behind a salt as it comes."""
    large = [replace(packet, data=packet.data + bytes(100_000)) for packet in encode("libx264", options={"bf": "2"})]
    tracks = [template("h264", large)]
    assert write_nut(tracks, large, behind=b"salt") == b"salt" + write_nut(tracks, large)


@given(st.permutations(range(8)), st.integers(1, 9000))
def test_derived_dts_rises_and_stays_below_pts(order: list[int], step: int) -> None:
    """Whatever the reordering, DTS strictly rises and no picture is decoded after it is shown."""
    pts = [place * step for place in order]
    dts = derive_dts(pts)
    assert all(before < after for before, after in itertools.pairwise(dts))
    assert all(decoded <= shown for decoded, shown in zip(dts, pts, strict=True))


BROKEN = {"empty": b"", "no NUT": b"nothing of the kind" * 9, "magic alone": b"nut/multimedia container\x00"}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_read_refuses_what_is_no_nut(data: bytes) -> None:
    """Bytes that are no NUT file end in an integrity error that shows none of them."""
    with pytest.raises(IntegrityError, match="not a NUT file"):
        read_nut(data)

"""Sequence parameter sets, read as FFmpeg's decoders read them."""

import contextlib
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.session.reset_track import retemplate
from edge_agent.media.commitments import CodecKind, inband_parameter_sets
from edge_agent.media.decoder_sets import find_active_sps, merge_sets
from edge_agent.media.packets import TrackTemplate
from edge_agent.media.sps import PictureFormat, parse_sps

Coded = tuple[bytes, bytes, tuple[int, int, Fraction]]


def encode(codec: str, size: tuple[int, int], options: dict[str, str], pixels: str, aspect: str) -> Coded:
    """Encode a picture; return it with its parameter sets, and what FFmpeg's decoder says of it."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base, encoder.framerate = pixels, Fraction(1, 25), Fraction(25)
    if aspect:
        encoder.sample_aspect_ratio = Fraction(aspect)
    encoder.options = options
    frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 90, np.uint8), format="rgb24")
    frame = frame.reformat(format=pixels)
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    decoder = av.CodecContext.create("hevc" if codec == "libx265" else "h264", "r")
    (shown, *_) = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    kind = CodecKind.H265 if codec == "libx265" else CodecKind.H264
    told = decoder.sample_aspect_ratio or Fraction(0)
    return inband_parameter_sets(kind, b"", data), data, (shown.width, shown.height, told)


X264, X265 = "libx264", "libx265"
ENCODINGS = {
    "640 x 480": (X264, (640, 480), {}, "yuv420p", ""),
    "cropped": (X264, (1918, 1078), {}, "yuv420p", ""),
    "1080 lines": (X264, (1920, 1080), {"profile": "baseline"}, "yuv420p", ""),
    "wide pixels": (X264, (704, 576), {}, "yuv420p", "12/11"),
    "pixels of no table": (X264, (704, 576), {}, "yuv420p", "37/29"),
    "interlaced, cropped": (X264, (720, 1080), {"x264-params": "tff=1"}, "yuv420p", ""),
    "scaling lists": (X264, (640, 360), {"x264-params": "cqm=jvt"}, "yuv420p", "4/3"),
    "hypothetical decoder": (X264, (640, 360), {"x264-params": "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900"},
                             "yuv420p", ""),
    "all of the colours told": (X264, (640, 360), {"x264-params": "overscan=show:colorprim=bt709:transfer=bt709"
                                                                  ":colormatrix=bt709:chromaloc=1"}, "yuv420p", "4/3"),
    "4:2:2": (X264, (642, 362), {}, "yuv422p", ""),
    "4:4:4": (X264, (641, 361), {}, "yuv444p", ""),
    "grey": (X264, (642, 362), {}, "gray", ""),
    "H.265": (X265, (640, 480), {}, "yuv420p", ""),
    "H.265, cropped": (X265, (1918, 1078), {}, "yuv420p", "16/11"),
    "H.265, reference sets": (X265, (640, 360), {"x265-params": "bframes=4:ref=5:b-pyramid=1"}, "yuv420p", "37/29"),
    "H.265, scaling lists": (X265, (640, 360), {"x265-params": "scaling-list=default"}, "yuv420p", "12/11"),
    "H.265, 4:4:4": (X265, (642, 362), {}, "yuv444p", "3/2"),
    "H.265, no tools": (X265, (640, 360), {"x265-params": "no-sao=1:no-amp=1:no-strong-intra-smoothing=1"
                                                          ":temporal-layers=3"}, "yuv420p", "4/3"),
}  # fmt: skip


@pytest.mark.parametrize("made", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_size_and_shape_are_those_of_the_decoder(made: tuple[str, tuple[int, int], dict[str, str], str, str]) -> None:
    """Width, height and the shape of a pixel, with everything that may stand before them."""
    codec, size, options, pixels, aspect = made
    if codec == X265:
        options = {"x265-params": "log-level=none:" + options.get("x265-params", "repeat-headers=1")}
    sets, keyframe, (width, height, told) = encode(codec, size, options, pixels, aspect)
    kind = CodecKind.H265 if codec == X265 else CodecKind.H264
    sps = find_active_sps(kind, sets, keyframe)
    assert sps is not None
    found = parse_sps(kind, sps)
    assert (found.width, found.height) == (width, height) == size
    assert found.sample_aspect in (told, told or Fraction(1))


ORDERS = {
    "H.264 in order": (X264, {"bf": "0"}, 0),
    "H.264, baseline": (X264, {"profile": "baseline"}, 0),
    "H.264 with B-frames": (X264, {"bf": "1"}, 1),
    "H.264 with a pyramid": (X264, {"x264-params": "bframes=3:b-pyramid=normal"}, 2),
    "H.265 in order": (X265, {"x265-params": "bframes=0"}, 0),
    "H.265 with a pyramid": (X265, {"x265-params": "bframes=4:b-pyramid=1"}, 2),
}


@pytest.mark.parametrize(("codec", "options", "depth"), ORDERS.values(), ids=ORDERS.keys())
def test_reordering_is_told(codec: str, options: dict[str, str], depth: int) -> None:
    """How many pictures are held back, as the encoder says it."""
    if codec == X265:
        options = {"x265-params": options["x265-params"] + ":log-level=none"}
    sets, keyframe, _ = encode(codec, (320, 180), options, "yuv420p", "")
    kind = CodecKind.H265 if codec == X265 else CodecKind.H264
    sps = find_active_sps(kind, sets, keyframe)
    assert sps is not None
    assert parse_sps(kind, sps).reorder_depth == depth


def test_size_is_that_of_the_set_in_use() -> None:
    """Of two sets in force the one counts by which the keyframe is decoded, whichever came first."""
    small, first, _ = encode(X264, (320, 180), {"x264-params": "sps-id=0"}, "yuv420p", "")
    large, second, _ = encode(X264, (640, 360), {"x264-params": "sps-id=3"}, "yuv420p", "")
    track = TrackTemplate(0, "video", "h264", Fraction(1, 90_000), b"", 0, 0, 0, 0)
    for both in (merge_sets(CodecKind.H264, small, large), merge_sets(CodecKind.H264, large, small)):
        sizes = [(found.width, found.height) for found in (retemplate(track, both, each) for each in (first, second))]
        assert sizes == [(320, 180), (640, 360)]


def test_track_without_its_sets_has_no_size() -> None:
    """A keyframe whose parameter set is not there gives no size, rather than the size before."""
    sets, keyframe, _ = encode(X264, (320, 180), {}, "yuv420p", "")
    track = TrackTemplate(0, "video", "h264", Fraction(1, 90_000), b"", 64, 48, 0, 0)
    assert retemplate(track, b"", keyframe).width == 0
    assert retemplate(track, sets, b"").width == 0
    assert retemplate(track, sets, keyframe).width == 320


@pytest.mark.parametrize("codec", [X264, X265])
def test_set_that_is_cut_is_refused_or_has_its_size(codec: str) -> None:
    """A set of which the end is missing gives the same size or an error, never another size."""
    options = {"x265-params": "log-level=none"} if codec == X265 else {}
    sets, keyframe, _ = encode(codec, (1280, 720), options, "yuv420p", "")
    kind = CodecKind.H265 if codec == X265 else CodecKind.H264
    sps = find_active_sps(kind, sets, keyframe)
    assert sps is not None
    sizes = set()
    for length in range(len(sps)):
        with contextlib.suppress(ValueError):
            sizes.add((parse_sps(kind, sps[:length]).width, parse_sps(kind, sps[:length]).height))
    assert sizes == {(1280, 720)}


SEEDS = [
    (CodecKind.H264, bytes.fromhex("67640028acd940780227e5c05a808080a0000003002000000781e30632c0")),
    (
        CodecKind.H265,
        bytes.fromhex("420101016000000300900000030000030078a003c08010e596ea4932bc052e02000003000200000300"),
    ),
]


@given(st.sampled_from(SEEDS), st.data())
def test_what_a_stranger_sends_is_read_or_refused(seed: tuple[CodecKind, bytes], data: st.DataObject) -> None:
    """Cut anywhere, changed anywhere: a size within bounds, or ValueError."""
    kind, nal = seed[0], bytearray(seed[1])
    for _ in range(data.draw(st.integers(0, 6))):
        nal[data.draw(st.integers(0, len(nal) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_sps(kind, bytes(nal[: data.draw(st.integers(0, len(nal)))]))
    except ValueError:
        return
    assert isinstance(found, PictureFormat)
    assert 0 < found.width <= 16_384
    assert found.sample_aspect >= 0


@given(st.sampled_from([CodecKind.H264, CodecKind.H265]), st.binary(max_size=5000))
def test_any_bytes_are_read_or_refused(kind: CodecKind, nal: bytes) -> None:
    """Nothing but a value or a ValueError comes of any bytes at all."""
    try:
        parse_sps(kind, nal)
    except ValueError:
        return

"""Sequence parameter sets: what real encoders write is read as FFmpeg reads it."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.rtsp.sps import PictureForm, SpsError, parse_h264_sps, parse_h265_sps
from edge_agent.media.commitments import split_annexb

READ = {"libx264": parse_h264_sps, "libx265": parse_h265_sps}


def encode_sps(
    codec: str, size: tuple[int, int], *, bframes: int, sar: Fraction | None = None, **options: str
) -> bytes:
    """Return the SPS that an encoder writes."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = *size, options.pop("pix_fmt", "yuv420p")
    context.time_base, context.framerate, context.max_b_frames = Fraction(1, 25), Fraction(25), bframes
    words = "log-level=none:repeat-headers=1" if codec == "libx265" else "repeat-headers=1"
    context.sample_aspect_ratio = sar or Fraction(0)
    context.options = {f"{codec[3:]}-params": words, **options}
    frame = av.VideoFrame.from_ndarray(np.zeros((size[1], size[0], 3), np.uint8), "rgb24")
    frame = frame.reformat(format=context.pix_fmt)
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
    kinds = {"libx264": lambda nal: nal[0] & 0x1F == 7, "libx265": lambda nal: nal[0] >> 1 & 0x3F == 33}
    return bytes(next(nal for nal in split_annexb(data) if kinds[codec](nal)))


SHAPES = {
    "1080p, cropped": ((1920, 1080), 0, None, {}),
    "odd size": ((322, 182), 2, None, {}),
    "wide pixels": ((704, 576), 0, Fraction(16, 11), {}),
    "pixels of their own shape": ((704, 480), 0, Fraction(7, 5), {}),
    "4:2:2": ((640, 362), 0, None, {"pix_fmt": "yuv422p"}),
    "4:4:4": ((646, 362), 0, None, {"pix_fmt": "yuv444p"}),
}


@pytest.mark.parametrize("codec", READ)
@pytest.mark.parametrize(("size", "bframes", "sar", "options"), SHAPES.values(), ids=SHAPES.keys())
def test_size_order_and_pixels_are_read(
    codec: str, size: tuple[int, int], bframes: int, sar: Fraction | None, options: dict[str, str]
) -> None:
    """Width, height, whether pictures are reordered, and the shape of a pixel."""
    form = READ[codec](encode_sps(codec, size, bframes=bframes, sar=sar, **options))
    assert (form.width, form.height, bool(form.reorder_depth)) == (*size, bool(bframes))
    assert form.sample_aspect in ({sar} if sar else {Fraction(0), Fraction(1)})


def test_interlaced_pictures_have_their_whole_height() -> None:
    """H.264 of fields tells half the height in macroblocks."""
    nal = encode_sps("libx264", (720, 576), bframes=0, **{"x264-params": "interlaced=1:repeat-headers=1"})
    assert parse_h264_sps(nal) == PictureForm(720, 576, parse_h264_sps(nal).reorder_depth, Fraction(0))


@pytest.mark.parametrize("codec", READ)
def test_set_that_is_cut_is_refused_or_whole(codec: str) -> None:
    """A set of which the end is missing gives the same size or an error, never another size."""
    nal = encode_sps(codec, (1280, 720), bframes=0)
    for length in range(len(nal)):
        try:
            form = READ[codec](nal[:length])
        except SpsError:
            continue
        assert (form.width, form.height) == (1280, 720)


@pytest.mark.parametrize("codec", READ)
@given(st.binary(min_size=3, max_size=120))
def test_any_bytes_are_a_form_or_refused(codec: str, data: bytes) -> None:
    """Nothing else is raised, and no size is beyond reason."""
    try:
        form = READ[codec](data)
    except SpsError:
        return
    assert 0 < form.width <= 16_384
    assert 0 < form.height <= 16_384

"""The time strip of the test pictures."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.demo.picture import draw_picture, read_strip
from edge_agent.units import UtcNs


@given(st.integers(0, (1 << 63) - 1))
def test_strip_reads_back_every_time(time: int) -> None:
    """Any time that fits is read back to the nanosecond from the picture as drawn."""
    assert read_strip(draw_picture(UtcNs(time), 160, 90)) == time


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mjpeg"])
def test_strip_survives_hard_compression(codec: str) -> None:
    """Coded at a quality nobody would record at, the strip is still exact."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = 320, 180, "yuvj420p" if codec == "mjpeg" else "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"crf": "40", "x265-params": "log-level=none", "q:v": "20"}
    times = [UtcNs(1_795_460_527_931_151_321 + n * 40_000_000) for n in range(5)]
    packets = []
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(draw_picture(time, 320, 180, "door"), format="yuv420p")
        frame.pts = number
        packets += context.encode(frame.reformat(format=context.pix_fmt))
    packets += context.encode(None)
    decoder = av.CodecContext.create({"libx264": "h264", "libx265": "hevc"}.get(codec, codec), "r")
    pictures = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    assert [read_strip(picture.to_ndarray(format="gray")) for picture in pictures] == times


def test_picture_without_strip_is_refused() -> None:
    """A picture that carries no strip raises rather than giving a time."""
    with pytest.raises(ValueError, match="no readable time strip"):
        read_strip(np.full((180, 320), 200, np.uint8))

"""Slices that begin a picture, and slices that go on with one."""

import pytest

from edge_agent.capture.session.slice_header import continues_picture

START = b"\x00\x00\x00\x01"
SETS = START + b"\x67\x42\x00\x1e" + START + b"\x68\xce"
SETS_H265 = START + b"\x40\x01\x0c" + START + b"\x42\x01\x01" + START + b"\x44\x01\xc1"

CASES = {
    "h264, first slice": ("h264", SETS + START + b"\x65\x88\x84", False),
    "h264, later slice": ("h264", SETS + START + b"\x65\x05\x84", True),
    "h264, later slice alone": ("h264", START + b"\x65\x05\x84", True),
    "h265, first slice": ("hevc", SETS_H265 + START + b"\x26\x01\xaf", False),
    "h265, later slice": ("hevc", SETS_H265 + START + b"\x26\x01\x2f", True),
    "parameter sets alone": ("h264", SETS, False),
    "nothing": ("h264", b"", False),
    "cut behind the header": ("h264", START + b"\x65", False),
}


@pytest.mark.parametrize(("codec", "data", "continues"), CASES.values(), ids=CASES.keys())
def test_first_bit_of_the_slice_tells(codec: str, data: bytes, continues: bool) -> None:
    """Parameter sets before it change nothing."""
    assert continues_picture(codec, data) is continues

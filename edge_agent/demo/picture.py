"""Test pictures that carry their own time, twice: as text for people and as a strip of cells for tests.

Owns the drawing and the reading of the strip. A test that reads the strip of a delivered clip knows, from the pixels
alone, when each picture was taken.
"""

import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339

Pixels = NDArray[np.uint8]

# The strip: two rows of 40 cells along the upper edge, each cell width // 40 wide and twice as high. Bits, most
# significant first: 64 of UTC in nanoseconds, 16 of the CRC-32 of those eight bytes. White is 1.
_COLUMNS = 40
_ROWS = 2
_TIME_BYTES = 8
_CHECK_MASK = 0xFFFF
_BLACK, _GREY, _WHITE = 16, 110, 235  # studio range: what an encoder keeps
_MIDDLE = 126


def draw_picture(time: UtcNs, width: int, height: int, label: str = "") -> Pixels:
    """Draw one picture as planar YUV 4:2:0: the strip, the time as text, and a bar that moves.

    Args:
        time: The number that strip and text show.
        width: At least 160; even.
        height: At least 90; even.
        label: A second line of text, such as the camera's name.

    Returns:
        ``height * 3 // 2`` rows of ``width`` bytes, as ``VideoFrame.from_ndarray(…, format="yuv420p")`` wants them.
    """
    luma = np.full((height, width), _GREY, np.uint8)
    _draw_bar(luma, time)
    _draw_strip(luma, time)
    scale = width / 640
    for line, text in enumerate((encode_rfc3339(UtcNs(time - time % 1_000_000)), label)):
        place = (width // 40, height * (6 + line * 2) // 10)
        cv2.putText(luma, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _WHITE, max(1, width // 320), cv2.LINE_AA)
    chroma = np.full((height // 2, width), 128, np.uint8)
    return np.vstack((luma, chroma))


def read_strip(picture: NDArray[Any]) -> UtcNs:
    """Read the time that a decoded picture carries.

    Args:
        picture: Grey or planar YUV (two dimensions), or interleaved colour (three), of the size it was drawn in.

    Raises:
        ValueError: No strip, or one too damaged to read.
    """
    luma = picture.mean(axis=2) if picture.ndim == 3 else picture
    cell = luma.shape[1] // _COLUMNS
    margin = max(1, cell // 4)
    bits = 0
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            rows = slice(row * 2 * cell + margin, (row + 1) * 2 * cell - margin)
            columns = slice(column * cell + margin, (column + 1) * cell - margin)
            bits = bits << 1 | int(luma[rows, columns].mean() > _MIDDLE)
    time, check = bits >> 16, bits & _CHECK_MASK
    if zlib.crc32(time.to_bytes(_TIME_BYTES, "big")) & _CHECK_MASK != check:
        raise ValueError("no readable time strip in the picture")
    return UtcNs(time)


def _draw_strip(luma: Pixels, time: UtcNs) -> None:
    code = time.to_bytes(_TIME_BYTES, "big")
    bits = time << 16 | (zlib.crc32(code) & _CHECK_MASK)
    cell = luma.shape[1] // _COLUMNS
    for place in range(_ROWS * _COLUMNS):
        row, column = divmod(place, _COLUMNS)
        white = bits >> (_ROWS * _COLUMNS - 1 - place) & 1
        luma[row * 2 * cell : (row + 1) * 2 * cell, column * cell : (column + 1) * cell] = _WHITE if white else _BLACK


def _draw_bar(luma: Pixels, time: UtcNs) -> None:
    height, width = luma.shape
    left = (time % (4 * SECOND_NS)) * width // (4 * SECOND_NS)
    luma[height * 85 // 100 : height * 95 // 100, left : left + width // 20] = _WHITE

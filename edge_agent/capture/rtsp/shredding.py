"""Whether a coded picture is shredded into more NAL units than any encoder makes of one.

A slice may hold start codes that its camera put there. Each makes a NAL unit more for whoever takes the picture apart
(FORMAT 6.2): a picture of 4 MiB of them took 8 s. To count them in every picture would take as long as a tenth of all
reading; a few places that the camera cannot foresee are enough. Pure but for them.
"""

import random

_START_CODE = b"\0\0\1"
_EVERY_BYTES, _WINDOW_BYTES, _MOST_IN_WINDOW = 64 << 10, 1 << 10, 4
_MOST_NALS, _LEAST_BYTES = 512, 256
"""More than so many are too many if they have less than so many bytes each: slices of a packet's size are usual."""
# Seeded by the kernel. A camera sees none of its numbers, so it foresees none; safe from any thread.
_places = random.Random()  # noqa: S311


def is_shredded(data: bytes) -> bool:
    """Tell whether a picture has too many NAL units, as far as its places show; it takes two microseconds."""
    size = len(data)
    for begin in range(0, size, _EVERY_BYTES):
        span = min(_EVERY_BYTES, size - begin)
        at = begin + (_places.getrandbits(32) * span >> 32)
        at = max(0, min(at, size - _WINDOW_BYTES))
        if data.count(_START_CODE, at, at + _WINDOW_BYTES) > _MOST_IN_WINDOW:
            return data.count(_START_CODE) > max(_MOST_NALS, size // _LEAST_BYTES)
    return False

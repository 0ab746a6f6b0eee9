"""The figures that tell one drawing of masks from another in a line: number, share of the picture, digest. Pure."""

import hashlib
from collections.abc import Sequence

from edge_agent.protocol import jws
from edge_agent.protocol.verdict import Mask

_PICTURE = 1000 * 1000
"""In the masks' unit: thousandths of width and height."""


def say_masks(masks: Sequence[Mask], of_the_picture: str) -> str:
    """Return number, share and digest, such as ``2 (12 % of the picture, 1a2b3c4d)``, of masks in the terms' order.

    The share is the sum of their areas, rounded down, 100 % at most. The digest is the first 8 hexadecimal digits of
    SHA-256 over the points as JSON: another drawing of the same size has another one.
    """
    percent = min(100, int(sum(map(_area, masks)) * 100 / _PICTURE))
    digest = hashlib.sha256(jws.encode_json([mask.points for mask in masks])).hexdigest()[:8]
    return f"{len(masks)} ({percent or '<1'} % {of_the_picture}, {digest})"


def _area(mask: Mask) -> float:
    """Return the area of a polygon by the shoelace formula."""
    following = (*mask.points[1:], mask.points[0])
    return abs(sum(x * y2 - x2 * y for (x, y), (x2, y2) in zip(mask.points, following, strict=True))) / 2

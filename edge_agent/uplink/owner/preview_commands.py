"""The owner looks: a few stills of the footage that a request asks for, or one picture to draw masks on.

Owns the way from the owner's verified order to pictures. Never sent anywhere; it takes the same signature and makes the
same ledger entry as an export, because it opens footage as well.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from edge_agent.buffer.format.constants import FLAG_CONTINUES, Kind
from edge_agent.buffer.read.losses import Loss
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import UtcNs, Window, encode_rfc3339
from edge_agent.uplink.bundle.export import OwnFootage
from edge_agent.uplink.owner.preview_stills import MAX_STILLS, StillPicture, take_grid, take_stills

MAX_MASKS, MAX_POINTS = 16, 32
"""As many as consent.yaml can name."""

Take = Callable[[OwnFootage, ExportOrder], Sequence[StillPicture]]


def parse_wish(members: Mapping[str, Any]) -> Take:
    """Return what takes the pictures: ``stills`` says how many, ``masks`` asks for one with a grid and these zones."""
    if "masks" in members:
        masks = _parse_masks(members["masks"])
        return lambda reader, order: take_grid(reader.read_own(order, on_loss=_pass_over), order.window, masks)
    count = members.get("stills")
    if type(count) is not int or not 1 <= count <= MAX_STILLS:
        raise UsageError(f"a look is at 1 to {MAX_STILLS} pictures")
    return lambda reader, order: take_stills(find_keyframes(reader, order, count), order.window, count)


def find_keyframes(reader: OwnFootage, order: ExportOrder, count: int) -> Iterator[StoredRecord]:
    """Yield the first record of each equal part of the window that begins with a keyframe: little else is decrypted."""
    window = order.window
    starts = [UtcNs(window.start + window.duration_ns * part // count) for part in range(count + 1)]
    for start, end in pairwise(starts):
        # Less than the order allows: a part of its window.
        part = replace(order, window=Window(start, end))
        for record in reader.read_own(part, on_loss=_pass_over):
            is_first = record.header.kind is Kind.GOP and not record.header.flags & FLAG_CONTINUES
            if is_first and record.start_ns >= start:
                yield record
                break


def _parse_masks(value: object) -> list[list[tuple[int, int]]]:
    try:
        masks = [[(x, y) for x, y in mask] for mask in value]  # type: ignore[attr-defined]
        numbers = [number for mask in masks for point in mask for number in point]
    except (TypeError, ValueError):
        masks, numbers = [], [-1]
    is_sound = len(masks) <= MAX_MASKS and all(3 <= len(mask) <= MAX_POINTS for mask in masks)
    if not is_sound or any(type(number) is not int or not 0 <= number <= 1000 for number in numbers):
        raise UsageError("masks are lists of points in thousandths")
    return masks


def _pass_over(_loss: Loss) -> None:
    """A ring that cannot be read is not looked at."""


def write_picture(picture: StillPicture, descriptor: int) -> dict[str, Any]:
    """Write a picture into the owner's file; return its time and its size."""
    rest = memoryview(picture.image)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise EdgeAgentError(f"picture cannot be written: {error.strerror}") from error
    return {"at": encode_rfc3339(picture.at), "size": len(picture.image)}

"""The owner looks: a few stills of what a request asks for, or one picture to draw masks on.

Owns the way from the owner's verified order to pictures in the descriptor that came with it. Never sent anywhere; it
takes the same signature and makes the same ledger entry as an export, because it opens footage as well.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.buffer.format import FLAG_CONTINUES, Kind
from edge_agent.buffer.reader import Loss, StoredRecord
from edge_agent.clock import Clock
from edge_agent.consent.order import verify_order
from edge_agent.consent.verdict import ExportOrder
from edge_agent.control import Answer, Handler, Peer
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.units import HOUR_NS, UtcNs, Window, encode_rfc3339
from edge_agent.uplink import ledger
from edge_agent.uplink.export import OwnFootage
from edge_agent.uplink.footage import Footage
from edge_agent.uplink.stills import MAX_STILLS, StillPicture, take_grid, take_stills
from edge_agent.uplink.store import Store

LONGEST_NS = 12 * HOUR_NS
"""As long as a request's window can be."""
MAX_MASKS, MAX_POINTS = 16, 32
"""As many as consent.yaml can name."""


class LookDesk:
    """The handler of ``look``.

    Args:
        gateway: This gateway's id: orders name it.
        owner: The pinned key.
        store: Orders that were used, and the ledger.
        footage: Opens rings and holds.
        clock: The moment of each command.
    """

    def __init__(self, gateway: str, owner: Ed25519PublicKey, store: Store, footage: Footage, clock: Clock) -> None:
        self._gateway, self._owner = gateway, owner
        self._store, self._footage, self._clock = store, footage, clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What the control socket is given."""
        return {"look": self._look}

    def _look(self, members: Mapping[str, Any], peer: Peer) -> Answer:
        """Write pictures into the descriptor that came along; the ledger entry is durable before the first byte."""
        now = self._clock.utc()
        order = verify_order(str(members["jws"]).encode(), self._gateway, self._owner, now)
        wanted = order.value
        if not isinstance(wanted, ExportOrder) or peer.fd is None:
            raise UsageError("this order is no export, or no file came with it")
        if wanted.window.duration_ns > LONGEST_NS:
            raise UsageError("a look is at twelve hours at most")
        take = _parse_wish(members)
        with self._store.transaction() as connection:
            if not self._store.burn_order(connection, order.order_id, now):
                raise UsageError("this order was carried out before")
            entry = {
                "what": "local look",
                "camera": wanted.camera,
                "quality": wanted.quality.value,
                "window": str(wanted.window),
                "order_id": order.order_id,
            }
            ledger.append(connection, "export", entry, now)
        jti = str(members.get("jti", ""))[:64]
        with self._footage.open(wanted.camera, wanted.quality, jti) as reader:
            pictures = take(reader, wanted)
        return {"pictures": [_write(picture, peer.fd) for picture in pictures]}


Take = Callable[[OwnFootage, ExportOrder], Sequence[StillPicture]]


def _parse_wish(members: Mapping[str, Any]) -> Take:
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
        # Less than what the order allows: a part of its window.
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
    """What cannot be read is not looked at."""


def _write(picture: StillPicture, descriptor: int) -> dict[str, Any]:
    rest = memoryview(picture.image)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise EdgeAgentError(f"picture cannot be written: {error.strerror}") from error
    return {"at": encode_rfc3339(picture.at), "size": len(picture.image)}

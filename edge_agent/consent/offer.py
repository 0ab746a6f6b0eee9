"""The offer: the rest of a request that waits for the owner, as it is shown, signed and digested.

Owns its form and its digest (PROTOCOL 6.3), for both sides of the control socket: the releaser describes the bound,
the owner's command shows that and signs its digest, and the gate compares. Pure.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.consent.bound import Bound, CameraBound
from edge_agent.protocol.jws import encode_json
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Mask
from edge_agent.units import Window, encode_rfc3339


@dataclass(frozen=True, slots=True)
class Offer:
    """The most of one camera that a yes can let out."""

    camera: str
    quality: Quality
    windows: tuple[Window, ...]
    audio: bool
    masks: tuple[Mask, ...]


@dataclass(frozen=True, slots=True)
class Offers:
    """Everything that a yes can let out, and whether escrow can read it beside the crime center."""

    cameras: tuple[Offer, ...]
    escrow: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' ids."""
        return tuple(each.camera for each in self.cameras)


def offers_of(bound: Bound | None) -> Offers:
    """Return what a bound offers; nothing if there is none."""
    if bound is None:
        return Offers((), False)
    return Offers(tuple(_offer_of(each) for each in bound.cameras), bound.escrow)


def encode_offers(offers: Offers) -> dict[str, Any]:
    """Write an offer as JSON values, in the order of PROTOCOL 6.3."""
    return {"cameras": [_encode(each) for each in offers.cameras], "escrow": offers.escrow}


def parse_offers(found: Mapping[str, Any]) -> Offers:
    """Read the value of ``encode_offers``."""
    return Offers(tuple(_parse(each) for each in found["cameras"]), bool(found["escrow"]))


def digest_offers(offers: Offers) -> bytes:
    """Digest an offer: SHA-256 of its JSON without spaces. An approval names it."""
    return hashlib.sha256(encode_json(encode_offers(offers))).digest()


def _offer_of(bound: CameraBound) -> Offer:
    return Offer(bound.camera, bound.quality, bound.windows, bound.audio, bound.masks)


def _encode(offer: Offer) -> dict[str, Any]:
    return {
        "camera": offer.camera,
        "quality": offer.quality.value,
        "windows": [{"start": encode_rfc3339(one.start), "end": encode_rfc3339(one.end)} for one in offer.windows],
        "audio": offer.audio,
        "masks": [[list(point) for point in mask.points] for mask in offer.masks],
    }


def _parse(found: Mapping[str, Any]) -> Offer:
    masks: Sequence[Any] = found["masks"]
    return Offer(
        str(found["camera"]),
        Quality(found["quality"]),
        tuple(Window.parse(window["start"], window["end"]) for window in found["windows"]),
        bool(found["audio"]),
        tuple(Mask(tuple((int(x), int(y)) for x, y in mask)) for mask in masks),
    )

"""Which terms are tighter: a partial order, and the tighter of two.

Owns, for each term, the direction in which it allows less. ``meet`` takes of each term the part that both sides allow,
so that a file without a signature can only take away. Pure.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.consent.hours import Hours
from edge_agent.consent.policy import Mode, Refusal, Signatures, Terms
from edge_agent.protocol.request import Quality

_Meet = Callable[[Any, Any], Any]
"""Of two values of one term, allows what both allow, and no more."""


def _rank(*tightest_first: object) -> _Meet:
    return lambda one, other: min(one, other, key=tightest_first.index)


def _meet_masks(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted({*one, *other}, key=lambda mask: mask.points))


_LOWER, _HIGHER, _FEWER, _MORE = min, max, operator.and_, operator.or_

_CAMERA: Mapping[str, _Meet] = {
    "mode": _rank(Mode.DENY, Mode.ASK, Mode.AUTO),
    "hours": Hours.intersect,
    "categories": _FEWER,
    "distance_m": _LOWER,
    "window": _LOWER,
    "footage_age": _LOWER,
    "requests_per_day": _LOWER,
    "requests_per_month": _LOWER,
    "requests_per_incident": _LOWER,
    "minutes_per_month": _LOWER,
    "quality": _rank(Quality.SUB, Quality.MAIN),
    "masks": _meet_masks,
    # False is lower than True.
    "audio": _LOWER,
}
_HOUSE: Mapping[str, _Meet] = {
    "agencies": _FEWER,
    "signatures": _rank(Signatures.THREE, Signatures.TWO),
    "reported_within": _LOWER,
    "padding": _LOWER,
    "ask_timeout": _LOWER,
    "cooling_off": _HIGHER,
    "blackout_dates": _MORE,
    "escrow": _LOWER,
    "refusals": lambda one, other: _meet(_REFUSALS, one, other),
    # The owner is told of every occasion that either side names: an unsigned edit must not make the house quiet.
    "notify": _MORE,
    "expires_after": _LOWER,
}
_REFUSALS: Mapping[str, _Meet] = {
    "area": _rank(Refusal.SILENCE, Refusal.DECLINED),
    "gateway": _rank(Refusal.SILENCE, Refusal.DECLINED),
}


def meet(one: Terms, other: Terms) -> Terms:
    """Return the widest terms that are as tight as both: term by term what both allow."""
    return Terms(camera=_meet(_CAMERA, one.camera, other.camera), house=_meet(_HOUSE, one.house, other.house))


@dataclass(frozen=True, slots=True)
class Difference:
    """One term that two sets of terms have differently."""

    path: str
    """``camera.window`` or ``house.agencies``."""
    file: Any
    effective: Any

    @property
    def waits(self) -> bool:
        """Tell whether something of the file's value waits for the owner's signature: all of it is not tighter."""
        return bool(self.effective != self.file)


def differences(signed: Terms, file: Terms) -> Iterator[Difference]:
    """Yield each term in which the file differs from the signed one, and the term that counts meanwhile."""
    for part, orders in (("camera", _CAMERA), ("house", _HOUSE)):
        ours, theirs = getattr(signed, part), getattr(file, part)
        for name, meet_values in orders.items():
            one, other = getattr(ours, name), getattr(theirs, name)
            if one != other:
                yield Difference(f"{part}.{name}", other, meet_values(one, other))


def _meet(orders: Mapping[str, _Meet], one: Any, other: Any) -> Any:
    values = {name: meet_values(getattr(one, name), getattr(other, name)) for name, meet_values in orders.items()}
    # The parts were validated when they were read, and the common part of two valid terms is valid.
    return type(one).model_construct(**values)

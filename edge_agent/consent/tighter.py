"""Which terms are tighter: a partial order, and the tighter of two.

Owns, for each term, the direction in which it allows less. ``meet`` takes of each term what both sides allow, so that a
file that nobody signed can only ever take away. Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from edge_agent.consent.policy import CameraTerms, GlobalTerms, Mode, Refusal, Refusals, Signatures, Terms
from edge_agent.consent.request import Quality


@dataclass(frozen=True, slots=True)
class _Order:
    """How the values of one term compare: ``meet`` allows what both allow, and no more."""

    meet: Callable[[Any, Any], Any]


def _rank(*tightest_first: object) -> _Order:
    return _Order(lambda one, other: min(one, other, key=tightest_first.index))


def _meet_masks(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted({*one, *other}, key=lambda mask: mask.points))


_LOWER = _Order(min)
_HIGHER = _Order(max)
_FEWER = _Order(lambda one, other: one & other)
_MORE = _Order(lambda one, other: one | other)

_CAMERA: Mapping[str, _Order] = {
    "mode": _rank(Mode.DENY, Mode.ASK, Mode.AUTO),
    "hours": _Order(lambda one, other: one.intersect(other)),
    "categories": _FEWER,
    "distance_m": _LOWER,
    "window": _LOWER,
    "footage_age": _LOWER,
    "requests_per_day": _LOWER,
    "requests_per_month": _LOWER,
    "requests_per_incident": _LOWER,
    "minutes_per_month": _LOWER,
    "quality": _rank(Quality.SUB, Quality.MAIN),
    "masks": _Order(_meet_masks),
    "audio": _LOWER,
}
_HOUSE: Mapping[str, _Order] = {
    "agencies": _FEWER,
    "signatures": _rank(Signatures.THREE, Signatures.TWO),
    "reported_within": _LOWER,
    "padding": _LOWER,
    "ask_timeout": _LOWER,
    "cooling_off": _HIGHER,
    "blackout_dates": _MORE,
    "escrow": _LOWER,
    "refusals": _Order(lambda one, other: _meet(_REFUSALS, one, other)),
    # The owner is told of whatever either side names: an unsigned edit must not make the house quiet.
    "notify": _MORE,
    "expires_after": _LOWER,
}
_REFUSALS: Mapping[str, _Order] = {
    "area": _rank(Refusal.SILENCE, Refusal.DECLINED),
    "gateway": _rank(Refusal.SILENCE, Refusal.DECLINED),
}
_ORDERS: Mapping[type[BaseModel], Mapping[str, _Order]] = {
    CameraTerms: _CAMERA,
    GlobalTerms: _HOUSE,
    Refusals: _REFUSALS,
}


def meet(one: Terms, other: Terms) -> Terms:
    """Return the widest terms that are as tight as both: term by term what both allow."""
    return Terms(camera=_meet(_CAMERA, one.camera, other.camera), house=_meet(_HOUSE, one.house, other.house))


def is_tighter(one: Terms, other: Terms) -> bool:
    """Tell whether ``one`` allows nothing that ``other`` does not. Reflexive, antisymmetric, transitive; not total."""
    return all(difference.takes_away for difference in differences(other, one))


@dataclass(frozen=True, slots=True)
class Difference:
    """One term that two sets of terms have differently."""

    path: str
    """``camera.window`` or ``house.agencies``."""
    signed: Any
    file: Any
    effective: Any

    @property
    def takes_away(self) -> bool:
        """Tell whether the file's value is tighter, and so counts as it stands."""
        return bool(self.effective == self.file)

    @property
    def waits(self) -> bool:
        """Tell whether something of the file's value waits for the owner's signature."""
        return not self.takes_away


def differences(signed: Terms, file: Terms) -> Iterator[Difference]:
    """Yield each term in which the file differs from what was signed, and what counts meanwhile."""
    for part, orders in (("camera", _CAMERA), ("house", _HOUSE)):
        ours, theirs = getattr(signed, part), getattr(file, part)
        for name, order in orders.items():
            one, other = getattr(ours, name), getattr(theirs, name)
            if one != other:
                yield Difference(f"{part}.{name}", one, other, order.meet(one, other))


def _meet(orders: Mapping[str, _Order], one: Any, other: Any) -> Any:
    values = {name: order.meet(getattr(one, name), getattr(other, name)) for name, order in orders.items()}
    # The parts were validated when they were read, and what two valid terms have in common is valid.
    return type(one).model_construct(**values)


def has_order_for_every_term() -> bool:
    """Tell whether no term was added without saying which way it is tighter; held by a test."""
    return all(set(orders) == set(model.model_fields) for model, orders in _ORDERS.items())

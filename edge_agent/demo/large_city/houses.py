"""The houses of the city: the place of each, its cameras, its owner's terms, and its due grant. Pure.

Owns the mixture. It has houses outside of the area, owners who refuse, and cameras that consent to one request alone:
a mistake in a decision changes the set of grants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.protocol.request import Category, Place

PLACE = Place(32.29876, -90.18481)
"""Of both incidents."""
AREA_M = 400.0
ASKED = (Category.ROBBERY, Category.BURGLARY)
"""The two requests, in the order in which they are sent."""

_ROBBERY, _BURGLARY = (each.value for each in ASKED)
_AUTO = {"mode": "auto", "categories": [_ROBBERY], "distance_m": 300}
_BOTH = {**_AUTO, "categories": [_ROBBERY, _BURGLARY]}
_THEFT = {**_AUTO, "categories": [_BURGLARY]}
_NEVER = {**_AUTO, "mode": "deny"}
_STEP, _NEXT_STREET, _NEXT_TOWN = 0.00012, 0.006, 0.08
"""Degrees of latitude: 13 m, 670 m (the same cell, and farther than any owner here allows), 9 km (another cell)."""
_PLACES = 12
_WAITS, _WAIT_S = 10, 4
"""Cooling-off is spread over so many steps of so long: with few gateways, too, something is under way all the time."""


@dataclass(frozen=True, slots=True)
class HouseKind:
    """One kind of house, by the reason why it is there."""

    what: str
    cameras: Mapping[str, Mapping[str, Any]]
    """The owner's terms by camera."""
    grants: Mapping[Category, frozenset[str]] = field(default_factory=dict)
    """Cameras that each request must get."""
    north: float = 0.0
    """Degrees from the incident."""


def _grants(robbery: Sequence[str] = (), burglary: Sequence[str] = ()) -> Mapping[Category, frozenset[str]]:
    return {Category.ROBBERY: frozenset(robbery), Category.BURGLARY: frozenset(burglary)}


KINDS = (
    HouseKind("one camera that consents", {"door": _AUTO}, _grants(["door"])),
    HouseKind("two cameras that consent", {"door": _AUTO, "yard": _AUTO}, _grants(["door", "yard"])),
    HouseKind("an owner who refuses", {"door": _NEVER}),
    HouseKind("a camera that consents to both requests", {"door": _BOTH}, _grants(["door"], ["door"])),
    HouseKind("outside of the area, hears nothing", {"door": _BOTH}, north=_NEXT_TOWN),
    HouseKind("two cameras of which one refuses", {"door": _AUTO, "yard": _NEVER}, _grants(["door"])),
    HouseKind("one camera that consents", {"door": _AUTO}, _grants(["door"])),
    HouseKind("in the next street, hears it and is too far", {"door": _BOTH}, north=_NEXT_STREET),
    HouseKind("a camera that consents to the second request alone", {"door": _THEFT}, _grants((), ["door"])),
    HouseKind("one camera that consents", {"door": _AUTO}, _grants(["door"])),
)


@dataclass(frozen=True, slots=True)
class House:
    """One house: its number, which is its folder's name as well, and its kind."""

    number: int

    @property
    def kind(self) -> HouseKind:
        """Return its kind, which its number decides."""
        return KINDS[self.number % len(KINDS)]

    @property
    def place(self) -> Place:
        """Return where it stands: around the incident, or as far off as its kind says."""
        step = self.number // len(KINDS) % _PLACES
        return Place(PLACE.lat + self.kind.north + step * _STEP, PLACE.lon)

    @property
    def cooling_off_s(self) -> int:
        """Return how long its owner lets a granted release wait."""
        # 7 and 10 have no common factor: ten houses in a row have ten different waits.
        return self.number * 7 % _WAITS * _WAIT_S


def count_kinds(houses: Sequence[House]) -> dict[str, int]:
    """Return how many houses there are of each kind, in the order of the kinds."""
    found = dict.fromkeys((kind.what for kind in KINDS), 0)
    for house in houses:
        found[house.kind.what] += 1
    return found

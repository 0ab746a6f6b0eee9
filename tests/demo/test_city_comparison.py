"""The verdict of ``scripts/demo --city``: what counts as equal, and the exit code."""

import pytest

from edge_agent.demo.large_city import scenario
from edge_agent.demo.large_city.comparison import GrantComparison
from edge_agent.demo.large_city.houses import KINDS, House
from edge_agent.errors import UnavailableError
from edge_agent.protocol.geohash import cells_touched, distance_m, geohash_encode
from edge_agent.protocol.request import Category

ONE, TWO = ("gateway-1", "jti-1", "door"), ("gateway-2", "jti-1", "door")
EQUAL = GrantComparison(frozenset({ONE, TWO}), frozenset({ONE, TWO}), frozenset({ONE, TWO}), {})
DIFFERENT = {
    "one is not opened": (EQUAL.expected, EQUAL.granted, frozenset({ONE})),
    "one is opened and was not granted": (frozenset({ONE}), frozenset({ONE}), EQUAL.opened),
    "one was granted against the terms": (frozenset({ONE}), EQUAL.granted, EQUAL.opened),
    "one was not granted though the terms allow it": (EQUAL.expected, frozenset({ONE}), frozenset({ONE})),
    "nothing was granted": (frozenset(), frozenset(), frozenset()),
}


@pytest.mark.parametrize("sets", DIFFERENT.values(), ids=DIFFERENT)
def test_sets_that_differ_are_not_equal(sets) -> None:
    """Each of the three sets counts, and an empty city proves nothing."""
    found = GrantComparison(*sets, {TWO: "it is cut short"})
    assert EQUAL.is_equal
    assert not found.is_equal
    assert "THE SETS DIFFER" in found.as_text()


def test_the_difference_is_named_with_its_reason() -> None:
    """Whoever reads it finds the clip and why it is not there."""
    text = GrantComparison(EQUAL.expected, EQUAL.granted, frozenset({ONE}), {TWO: "it is cut short"}).as_text()
    assert "granted and not opened whole: 1\n  gateway-2 jti-1 door it is cut short" in text
    assert "gateway-1" not in text


class Fake:
    """A scenario that ends as a test wants it."""

    peak_gib, found = 0.0, EQUAL

    def __init__(self, *_: object) -> None: ...

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None: ...

    def carry_out(self) -> None: ...

    def compare(self) -> GrantComparison:
        return self.found


def test_the_exit_code_is_the_verdict(tmp_path, monkeypatch) -> None:
    """0 if the sets are equal; 1 if they differ, or if something ended by itself."""
    monkeypatch.setattr(scenario, "CityScenario", Fake)
    assert scenario.run(tmp_path, 12) == 0
    monkeypatch.setattr(Fake, "found", GrantComparison(EQUAL.expected, EQUAL.granted, frozenset({ONE}), {}))
    assert scenario.run(tmp_path, 12) == 1

    def fail(_: Fake) -> None:
        raise UnavailableError("the broker ended")

    monkeypatch.setattr(Fake, "carry_out", fail)
    assert scenario.run(tmp_path, 12) == 1


def test_clips_that_do_not_come_are_named(tmp_path, monkeypatch) -> None:
    """A city that stands still is not waited for three times: it fails, and says what is missing."""
    still = scenario.CityScenario(tmp_path, 12, print)
    missing = GrantComparison(EQUAL.expected, frozenset({ONE}), frozenset({ONE}), {})
    monkeypatch.setattr(scenario, "_STILL_S", 0.0)
    monkeypatch.setattr(still, "_count", lambda: 1)
    monkeypatch.setattr(still, "compare", lambda: missing)
    with pytest.raises(UnavailableError, match="not granted, though the terms allow it: 1\n  gateway-2 jti-1 door"):
        still._wait_delivered(1.0)


def test_every_kind_of_house_stands_where_its_kind_says() -> None:
    """Whoever may grant lies within the area and its owner's distance; the next town hears nothing of it."""
    place = (scenario.PLACE.lat, scenario.PLACE.lon)
    cells = cells_touched(place, scenario.AREA_M)
    for house in map(House, range(200)):
        here = (house.place.lat, house.place.lon)
        hears = geohash_encode(*here) in cells
        allowed_m = max(terms["distance_m"] for terms in house.kind.cameras.values())
        if any(house.kind.grants.values()):
            assert hears
            assert distance_m(place, here) < allowed_m
        else:
            assert "hears nothing" not in house.kind.what or not hears
            assert "too far" not in house.kind.what or (hears and distance_m(place, here) > allowed_m)


def test_the_mixture_is_not_trivial() -> None:
    """Two requests, two cameras, refusals and houses elsewhere: no simple mistake leaves the set as it is."""
    granting = [kind for kind in KINDS if any(kind.grants.values())]
    assert any(len(kind.grants[Category.ROBBERY]) == 2 for kind in granting)
    assert any(set(kind.cameras) - kind.grants[Category.ROBBERY] for kind in granting)
    assert any(not kind.grants[Category.ROBBERY] for kind in granting)
    assert len(KINDS) - len(granting) >= 3

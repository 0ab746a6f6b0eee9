"""Places: cells that are never missed, and distances."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocol.geohash import cells_touched, distance_m, geohash_encode

KNOWN = {
    "Jutland (the example of the geohash's inventor)": (57.64911, 10.40744, 11, "u4pruydqqvj"),
    "Jackson": (32.2988, -90.1848, 5, "9vxze"),
    "the origin": (0, 0, 5, "s0000"),
    "the south-west corner": (-90, -180, 5, "00000"),
    "the north-east corner": (90, 180, 5, "zzzzz"),
}


@pytest.mark.parametrize(("lat", "lon", "length", "cell"), KNOWN.values(), ids=KNOWN.keys())
def test_known_cells(lat, lon, length, cell):
    """The cells are everybody's geohashes."""
    assert geohash_encode(lat, lon, length) == cell


@pytest.mark.parametrize("place", [(91, 0), (-91, 0), (0, 181), (math.nan, 0), (0, math.inf)])
def test_no_such_place(place):
    """A place that is none has no cell."""
    with pytest.raises(ValueError):
        geohash_encode(*place)


def test_known_distances():
    """A degree of the equator, half the earth, and nothing."""
    assert distance_m((0, 0), (0, 1)) == pytest.approx(111_195, abs=1)
    assert distance_m((0, 0), (0, 180)) == pytest.approx(math.pi * 6_371_008.8)
    assert distance_m((32.3, -90.2), (32.3, -90.2)) == 0


@given(st.floats(-80, 80), st.floats(-180, 179.99), st.floats(1, 5000), st.floats(0, 1), st.floats(0, 2 * math.pi))
def test_no_cell_of_the_circle_is_missed(lat, lon, radius, share, angle):
    """A house inside the circle lies in one of the cells."""
    reach = math.degrees(share * radius / 6_371_008.8)
    near = (lat + reach * math.sin(angle) * 0.999, lon + reach * math.cos(angle) / math.cos(math.radians(lat)) * 0.999)
    near = (near[0], (near[1] + 180) % 360 - 180)
    if distance_m((lat, lon), near) <= radius:
        assert geohash_encode(*near) in cells_touched((lat, lon), radius)


@pytest.mark.parametrize("radius", [40_000, 2_000_000])
def test_an_area_has_a_bound(radius):
    """A request to a whole county is not an area."""
    with pytest.raises(ValueError, match="more than 64 cells"):
        cells_touched((32.3, -90.2), radius)

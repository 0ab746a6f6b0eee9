"""Places on the earth: distances, and the cells that a circle touches.

Owns the geohash cells by which areas are addressed (five letters: at most 4.9 km by 4.9 km) and the one formula of
distance. Pure; degrees on WGS 84 are the only floats that travel, and nothing of evidence is computed from them.
"""

import math

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius (IUGG); the sphere is wrong by at most 0.56 %, 4 m in the largest distance that a policy may allow."""
CELL_LENGTH = 5
# PROTOCOL 3.2, `aud`: some 1,500 square kilometres at the equator.
MAX_CELLS = 64
_ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"


def geohash_encode(lat: float, lon: float, length: int = CELL_LENGTH) -> str:
    """Return the geohash of a point: ``length`` letters of five bits, longitude first.

    Raises:
        ValueError: No such place.
    """
    check_place(lat, lon)
    low, high = [-90.0, -180.0], [90.0, 180.0]
    point = (lat, lon)
    text, bits = "", 0
    for step in range(length * 5):
        # Even bits halve the longitude, odd ones the latitude.
        axis = 1 - step % 2
        middle = (low[axis] + high[axis]) / 2
        bits <<= 1
        if point[axis] >= middle:
            bits |= 1
            low[axis] = middle
        else:
            high[axis] = middle
        if step % 5 == 4:
            text += _ALPHABET[bits]
            bits = 0
    return text


def check_place(lat: float, lon: float) -> None:
    """Raise ValueError unless both are finite degrees in range."""
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise ValueError("a place is lat -90..90 and lon -180..180")


def distance_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the great-circle distance in metres between two (lat, lon) points (haversine)."""
    lat_a, lat_b = math.radians(a[0]), math.radians(b[0])
    half_lat = (lat_b - lat_a) / 2
    half_lon = math.radians(b[1] - a[1]) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


def cells_touched(place: tuple[float, float], radius_m: float) -> tuple[str, ...]:
    """Return every cell that a circle touches, in order, the centre's own among them.

    The box around the circle is walked in steps smaller than a cell, so that none between two steps is missed; a box
    corner that the circle itself does not reach may add a cell, and never loses one.

    Raises:
        ValueError: No such place, or more than ``MAX_CELLS`` cells.
    """
    lat, lon = place
    check_place(lat, lon)
    lat_span = math.degrees(radius_m / EARTH_RADIUS_M)
    # Nearest the pole a degree of longitude is shortest; at 89° its span is still finite.
    widest = math.radians(min(89.0, abs(lat) + lat_span))
    lon_span = lat_span / math.cos(widest)
    # A cell of five letters is 180/2**12 degrees high and 360/2**13 degrees wide: the same 0.0439 degrees.
    cell_degrees = 360 / 2**13
    lat_steps = math.ceil(2 * lat_span / cell_degrees) + 1
    lon_steps = math.ceil(2 * lon_span / cell_degrees) + 1
    # Before the walk: it bounds the work of a circle as large as the earth.
    if lat_steps * lon_steps > 16 * MAX_CELLS:
        raise ValueError(f"a circle of {radius_m:.0f} m touches more than {MAX_CELLS} cells")
    cells = {geohash_encode(lat, lon)}
    for row in range(lat_steps + 1):
        for column in range(lon_steps + 1):
            row_lat = max(-90.0, min(90.0, lat - lat_span + 2 * lat_span * row / lat_steps))
            column_lon = (lon - lon_span + 2 * lon_span * column / lon_steps + 180) % 360 - 180
            cells.add(geohash_encode(row_lat, column_lon))
    if len(cells) > MAX_CELLS:
        raise ValueError(f"a circle of {radius_m:.0f} m touches more than {MAX_CELLS} cells")
    return tuple(sorted(cells))

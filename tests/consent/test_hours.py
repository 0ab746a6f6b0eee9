"""Hours: minutes of the week on the owner's wall clock, also in the nights in which that clock is turned."""

from datetime import date
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.consent.hours import WEEK_MINUTES, Hours, encode_hours, local_dates, parse_hours
from edge_agent.units import HOUR_NS, MINUTE_NS, UtcNs, Window, parse_rfc3339
from tests.consent.strategies import hours as any_hours

CHICAGO, KOLKATA, LORD_HOWE, UTC = map(ZoneInfo, ("America/Chicago", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"))


def window(start, end):
    return Window(parse_rfc3339(start), parse_rfc3339(end))


CASES = {
    "the whole of it": (["00:00-24:00"], UTC, ("2026-07-01T10:00:00Z", "2026-07-01T12:00:00Z"), None),
    "none of it": (["22:00-06:00"], UTC, ("2026-07-01T10:00:00Z", "2026-07-01T12:00:00Z"), []),
    "the beginning": (
        ["10:00-11:00"],
        UTC,
        ("2026-07-01T10:30:00Z", "2026-07-01T12:00:00Z"),
        [("2026-07-01T10:30:00Z", "2026-07-01T11:00:00Z")],
    ),
    "two pieces": (
        ["10:00-10:10", "10:20-10:30"],
        UTC,
        ("2026-07-01T10:05:00Z", "2026-07-01T10:25:00Z"),
        [("2026-07-01T10:05:00Z", "2026-07-01T10:10:00Z"), ("2026-07-01T10:20:00Z", "2026-07-01T10:25:00Z")],
    ),
    "across midnight": (["22:00-06:00"], UTC, ("2026-07-01T23:00:00Z", "2026-07-02T01:00:00Z"), None),
    # 2026-07-05 is a Sunday.
    "from Sunday into Monday": (["sun 22:00-06:00"], UTC, ("2026-07-05T23:00:00Z", "2026-07-06T01:00:00Z"), None),
    "Sunday's night is not Monday's": (
        ["mon 22:00-06:00"],
        UTC,
        ("2026-07-05T23:00:00Z", "2026-07-06T01:00:00Z"),
        [],
    ),
    "a zone of half an hour": (
        ["12:00-13:00"],
        KOLKATA,
        ("2026-07-01T06:00:00Z", "2026-07-01T08:00:00Z"),
        [("2026-07-01T06:30:00Z", "2026-07-01T07:30:00Z")],
    ),
    # 2026-03-08, Chicago: 02:00 CST becomes 03:00 CDT at 08:00 UTC.
    "spring: the skipped hour never was": (
        ["02:00-03:00"],
        CHICAGO,
        ("2026-03-08T06:00:00Z", "2026-03-08T10:00:00Z"),
        [],
    ),
    "spring: hours around it adjoin": (
        ["01:00-04:00"],
        CHICAGO,
        ("2026-03-08T07:00:00Z", "2026-03-08T09:00:00Z"),
        None,
    ),
    "spring: the night is an hour shorter": (
        ["22:00-06:00"],
        CHICAGO,
        ("2026-03-08T03:00:00Z", "2026-03-08T12:00:00Z"),
        [("2026-03-08T04:00:00Z", "2026-03-08T11:00:00Z")],
    ),
    "spring: from half past, with odd seconds": (
        ["03:00-03:30"],
        CHICAGO,
        ("2026-03-08T07:31:07.5Z", "2026-03-08T08:20:00Z"),
        [("2026-03-08T08:00:00Z", "2026-03-08T08:20:00Z")],
    ),
    # 2026-11-01, Chicago: 02:00 CDT becomes 01:00 CST at 07:00 UTC.
    "autumn: the hour that is shown twice counts twice": (
        ["01:00-02:00"],
        CHICAGO,
        ("2026-11-01T04:00:00Z", "2026-11-01T10:00:00Z"),
        [("2026-11-01T06:00:00Z", "2026-11-01T08:00:00Z")],
    ),
    "autumn: half of the hour, twice": (
        ["01:00-01:30"],
        CHICAGO,
        ("2026-11-01T04:00:00Z", "2026-11-01T10:00:00Z"),
        [("2026-11-01T06:00:00Z", "2026-11-01T06:30:00Z"), ("2026-11-01T07:00:00Z", "2026-11-01T07:30:00Z")],
    ),
    # Lord Howe turns its clocks by half an hour: 2026-04-04T15:00Z, from +11 to +10:30.
    "a turn of half an hour": (
        ["01:30-02:00"],
        LORD_HOWE,
        ("2026-04-04T14:00:00Z", "2026-04-04T16:00:00Z"),
        [("2026-04-04T14:30:00Z", "2026-04-04T15:30:00Z")],
    ),
}


@pytest.mark.parametrize(("lines", "zone", "asked", "expected"), CASES.values(), ids=CASES.keys())
def test_hours_are_what_the_wall_clock_shows(lines, zone, asked, expected):
    """Exactly the instants whose local time lies in the hours, and no other."""
    whole = window(*asked)
    parts = [whole] if expected is None else [window(*part) for part in expected]
    assert parse_hours(lines).windows(whole, zone) == tuple(parts)


moments = st.integers(
    parse_rfc3339("2026-01-01T00:00:00Z") // MINUTE_NS, parse_rfc3339("2027-01-01T00:00:00Z") // MINUTE_NS
)


@given(any_hours, moments, st.integers(1, 720), st.sampled_from([CHICAGO, KOLKATA, LORD_HOWE, UTC]))
def test_every_minute_is_in_or_out_by_its_local_time(hours, start, length, zone):
    """The cut by spans agrees with looking at each minute of the window."""
    from datetime import UTC as PLAIN
    from datetime import datetime

    asked = Window(UtcNs(start * MINUTE_NS), UtcNs((start + length) * MINUTE_NS))
    parts = hours.windows(asked, zone)
    for minute in range(start, start + length, 7):
        local = datetime.fromtimestamp(minute * 60, PLAIN).astimezone(zone)
        of_week = local.weekday() * 1440 + local.hour * 60 + local.minute
        expected = any(a <= of_week < b for a, b in hours.spans)
        assert expected == any(part.start <= minute * MINUTE_NS < part.end for part in parts)
    assert all(before.end < after.start for before, after in pairwise(parts))


@given(any_hours)
def test_hours_survive_their_texts(hours):
    """What is signed is read back as the same set of minutes; the empty set has no text."""
    if hours.spans:
        assert parse_hours(encode_hours(hours)) == hours


@given(any_hours, any_hours)
def test_intersection_is_the_largest_common_part(one, other):
    """Minute by minute what both have."""

    def has(hours, minute):
        return any(a <= minute < b for a, b in hours.spans)

    common = one.intersect(other)
    assert common.intersect(one) == common.intersect(other) == common
    for minute in range(0, WEEK_MINUTES, 61):
        assert has(common, minute) == (has(one, minute) and has(other, minute))


REFUSED = {
    "not a list": "22:00-06:00",
    "an empty list": [],
    "33 lines": ["00:00-01:00"] * 33,
    "a number": [2200],
    "no such minute": ["10:60-11:00"],
    "no such hour": ["24:00-25:00"],
    "nothing": ["10:00-10:00"],
    "no such day": ["noday 10:00-11:00"],
    "an open range of days": ["mon- 10:00-11:00", "-"],
    "a day too many": ["mon,,tue 10:00-11:00"],
    "one digit": ["8:00-9:00"],
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_hours_that_are_none_are_refused(value):
    """Said with what is allowed."""
    with pytest.raises(ValueError, match=r"(such as|times go|days are)"):
        parse_hours(value)


def test_texts_are_short():
    """The common cases read as they were written."""
    assert encode_hours(parse_hours("always")) == "always"
    assert encode_hours(parse_hours(["mon-sun 00:00-24:00"])) == "always"
    assert encode_hours(parse_hours(["mon-fri 08:00-18:00"])) == ["mon,tue,wed,thu,fri 08:00-18:00"]
    assert encode_hours(parse_hours(["08:00-18:00"])) == ["08:00-18:00"]
    assert encode_hours(parse_hours(["sat-mon 08:00-09:00"])) == ["mon,sat,sun 08:00-09:00"]


def test_local_dates_are_the_calendars():
    """A window across local midnight touches two dates, one that ends at midnight only one."""
    night = window("2026-07-02T04:00:00Z", "2026-07-02T06:00:00Z")  # 23:00 to 01:00 in Chicago
    assert local_dates(night, CHICAGO) == (date(2026, 7, 1), date(2026, 7, 2))
    assert local_dates(Window(night.start, UtcNs(night.start + HOUR_NS)), CHICAGO) == (date(2026, 7, 1),)
    turned = window("2026-11-01T04:00:00Z", "2026-11-01T12:00:00Z")
    assert local_dates(turned, CHICAGO) == (date(2026, 10, 31), date(2026, 11, 1))


def test_hours_that_only_touch_have_nothing_in_common():
    """Half open: nine o'clock belongs to the later span alone."""
    morning, later = parse_hours(["08:00-09:00"]), parse_hours(["09:00-10:00"])
    assert morning.intersect(later) == Hours(())

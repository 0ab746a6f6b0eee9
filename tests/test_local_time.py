"""Times as people write them: what is understood, what is refused, and that both command lines agree."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import UsageError
from edge_agent.host.time_arguments import find_machine_zone, read_window
from edge_agent.local_time import encode_local, localise, parse_local, say_moment
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_rfc3339

CHICAGO = ZoneInfo("America/Chicago")
NOW = parse_rfc3339("2026-11-29T02:00:00Z")  # Saturday 20:00 in Chicago

UNDERSTOOD = {
    "now": "2026-11-29T02:00:00Z",
    "19:12": "2026-11-29T01:12:00Z",
    "7:12pm": "2026-11-29T01:12:00Z",
    "7:12 p.m.": "2026-11-29T01:12:00Z",
    "8 PM": "2026-11-29T02:00:00Z",
    "12am": "2026-11-28T06:00:00Z",
    "12:30 am": "2026-11-28T06:30:00Z",
    "12pm": "2026-11-28T18:00:00Z",
    "20:01": "2026-11-28T02:01:00Z",  # not yet today
    "19:12:05.25": "2026-11-29T01:12:05.250Z",
    "yesterday 8:10pm": "2026-11-28T02:10:00Z",
    "Today 19:12": "2026-11-29T01:12:00Z",
    "2026-11-28 19:12": "2026-11-29T01:12:00Z",
    "2026-11-28, 7:12pm": "2026-11-29T01:12:00Z",
    "2026-11-28T19:12:00": "2026-11-29T01:12:00Z",
    "2026-11-28T19:12:00-06:00": "2026-11-29T01:12:00Z",
    "2026-11-28T19:12-0600": "2026-11-29T01:12:00Z",
    "2026-11-29T01:12:00Z": "2026-11-29T01:12:00Z",
    "2026-11-29t06:57:00+05:45": "2026-11-29T01:12:00Z",
    "01:12Z": "2026-11-29T01:12:00Z",
    "10m-ago": "2026-11-29T01:50:00Z",
    "10 min ago": "2026-11-29T01:50:00Z",
    "2h ago": "2026-11-29T00:00:00Z",
    "2026-11-01T01:30:00-06:00": "2026-11-01T07:30:00Z",
    "2026-11-01 01:30 -05:00": "2026-11-01T06:30:00Z",
}


@pytest.mark.parametrize(("text", "utc"), UNDERSTOOD.items(), ids=UNDERSTOOD.keys())
def test_a_time_as_people_write_it_is_understood(text, utc):
    """In the zone of the gateway, unless an offset is written."""
    assert encode_rfc3339(parse_local(text, NOW, CHICAGO)) == utc


REFUSED = {
    "an hour that clocks showed twice": (
        "2026-11-01 01:30",
        "twice, for they were set back; write 2026-11-01T01:30:00-05:00 or 2026-11-01T01:30:00-06:00",
    ),
    "an hour that clocks never showed": ("2026-03-08 02:30", "never showed 2026-03-08 02:30:00"),
    "a day alone": ("2026-11-28", "a day without a time"),
    "yesterday alone": ("yesterday", "write for instance yesterday 00:00"),
    "a date in the American order": ("11/28/2026 19:12", "read in two ways"),
    "a date with dots": ("28.11.2026 19:12", "read in two ways"),
    "a bare number": ("19", "not a time"),
    "no minutes": ("2026-11-28 19", "not a time"),
    "hour 24": ("24:00", "no such time of day"),
    "minute 60": ("19:60", "no such time of day"),
    "13pm": ("13:00pm", "1 to 12"),
    "0am": ("0:10am", "1 to 12"),
    "a date that is none": ("2026-02-30 10:00", "no such date"),
    "an offset that is none": ("19:12+15:00", "no such offset"),
    "the year 1": ("0001-01-01 00:00", "no time that footage can have"),
    "the year 9999": ("9999-12-31 23:59", "no time that footage can have"),
    "an age before 1970": ("999999d-ago", "no time that footage can have"),
    "a minus": ("-10m-ago", "not a time"),
    "digits of another script": ("١٩:١٢", "not a time"),
    "words": ("half past nine", "such as 19:12"),
    "nothing": ("", "not a time"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_could_mean_another_time_is_refused_in_words(text, words):
    """With what to write instead."""
    with pytest.raises(ValueError) as caught:
        parse_local(text, NOW, CHICAGO)
    assert words in str(caught.value)


ZONES = st.sampled_from(
    ["UTC", "America/Chicago", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca",
     "Pacific/Apia", "Europe/Dublin"]
).map(ZoneInfo)  # fmt: skip
MOMENTS = st.integers(0, 4_000_000_000).map(lambda seconds: UtcNs(seconds * SECOND_NS))


@given(MOMENTS, ZONES)
def test_a_local_time_reads_back_as_itself_or_names_itself(moment, zone):
    """What is printed can be typed: the same moment, or refused as one of two, which are named."""
    text = encode_local(moment, zone)
    try:
        assert parse_local(text, NOW, zone) == moment
    except ValueError as error:
        ways = str(error).partition("; write ")[2].split(" or ")
        assert moment in [parse_local(each, NOW, zone) for each in ways]


@given(MOMENTS, ZONES, st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_day_is_the_last_one(now, zone, hour, minute):
    """Never in the future, never more than a day and an hour of change ago, and shown as it was written."""
    try:
        moment = parse_local(f"{hour}:{minute:02}", UtcNs(now + 10**15), zone)
    except ValueError as error:
        if "twice" in str(error) or "never" in str(error):
            return
        raise
    now += 10**15
    assert now - (49 * 3600 * SECOND_NS) < moment <= now  # Apia left out a day
    assert encode_local(moment, zone).endswith(f"{hour:02}:{minute:02}:00")


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_sentence(text):
    """No other error, and what is understood lies in the years of footage."""
    try:
        moment = parse_local(text, NOW, CHICAGO)
    except ValueError:
        return
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment // 1000)


def test_what_was_understood_is_said_in_both_ways():
    """Local time with its zone's name, and UTC."""
    assert say_moment(NOW, CHICAGO) == "2026-11-28 20:00:00 CST (2026-11-29T02:00:00Z)"


def test_a_window_may_end_by_its_length():
    """And one that ends before it starts says both moments."""
    window = read_window("19:12", "+5m", NOW, CHICAGO)
    assert window.duration_ns == 300 * SECOND_NS
    assert read_window("19:12", "19:17", NOW, CHICAGO) == window
    with pytest.raises(UsageError, match=r"--to is not after --from: 2026-11-28 19:12:00 CST"):
        read_window("19:12", "20:12", NOW, CHICAGO)
    with pytest.raises(UsageError, match="--to: not a duration"):
        read_window("19:12", "+5", NOW, CHICAGO)


@pytest.mark.parametrize(("value", "zone"), {"America/Chicago": "America/Chicago", ":UTC": "UTC"}.items())
def test_the_zone_of_the_machine(monkeypatch, value, zone):
    """What ``TZ`` says counts first; a wrong one does not end the command."""
    monkeypatch.setenv("TZ", value)
    assert str(find_machine_zone()) == zone
    monkeypatch.setenv("TZ", "No/Where")
    assert find_machine_zone() is not None


def test_times_of_the_wire_in_a_sentence_are_said_in_local_time():
    """Every one of them, and nothing else."""
    said = localise("ended on 2026-11-29T01:12:00Z, seen at 2026-11-29T01:12:00.5Z; 2026-13-29T01:12:00Z", CHICAGO)
    assert said == "ended on 2026-11-28 19:12:00, seen at 2026-11-28 19:12:00; 2026-13-29T01:12:00Z"

"""What a person types is read as meant or refused in words; every answer has a sentence."""

import dataclasses
from datetime import UTC

import pytest

from edge_agent.errors import UsageError
from edge_agent.protocol.answer import Answer, DeliveredFile, Note, Status
from edge_agent.rtcc.office.words import (
    describe_answer,
    parse_metres,
    parse_place,
    parse_window,
    say_answer,
    say_deadline,
)
from edge_agent.units import MINUTE_NS, UtcNs, Window

NOW = UtcNs(1_800_000_000_123_456_789)
WHOLE = NOW // 10**9 * 10**9


def test_a_window_is_read():
    """Two times, or a time and a length."""
    five = Window(UtcNs(WHOLE - 10 * MINUTE_NS), UtcNs(WHOLE - 5 * MINUTE_NS))
    assert parse_window("10m-ago/+5m", NOW, UTC) == parse_window("10m-ago/5m-ago", NOW, UTC) == five


@pytest.mark.parametrize(
    "text", ["", "now", "now/", "/now", "now/now", "now/10m-ago", "10m-ago/+", "10m-ago/+0m", "x/y"]
)
def test_a_window_that_is_none_is_refused(text):
    """Empty, reversed, or without an end: usage, not a traceback."""
    with pytest.raises(UsageError):
        parse_window(text, NOW, UTC)


def test_a_place_and_a_radius_are_read():
    """Degrees with a comma; metres and kilometres with their unit."""
    assert (parse_place("40.7128,-74.006").lat, parse_place("40.7128,-74.006").lon) == (40.7128, -74.006)
    assert (parse_metres("300m"), parse_metres("2km")) == (300, 2000)


@pytest.mark.parametrize("text", ["", "1", "1,", "a,b", "91,0", "0,181", "nan,0", "inf,0", "1,2,3"])
def test_a_place_that_is_none_is_refused(text):
    """No number, out of range, not finite."""
    with pytest.raises(UsageError):
        parse_place(text)


@pytest.mark.parametrize("text", ["", "m", "300", "-5m", "3 m", "1.5km"])
def test_a_radius_that_is_none_is_refused(text):
    """A radius has a whole number and a unit."""
    with pytest.raises(UsageError):
        parse_metres(text)


def test_every_status_has_words_and_json():
    """No answer leaves a person or a script without a line; refusals give no cause, and keys are not printed."""
    file = DeliveredFile("door", "upload-0001", b"\x01" * 32, 10, b"age header")
    for status in Status:
        answer = Answer("g" * 22, "rtcc", "j" * 22, 1, NOW, status, reason="why", not_before=NOW, total_bytes=0)
        assert say_answer(answer)
        assert describe_answer(answer)["status"] == status.value
    partial = dataclasses.replace(answer, status=Status.PARTIAL, files=(file,), missing=(Note("no-footage", "yard"),))
    assert say_answer(partial) == "key handed over: door as upload-0001; missing: yard: no-footage"
    assert "age_header" not in str(describe_answer(partial))


DEADLINES = {
    "just sent": (-1, False, "no answer yet; gateways take it in until 2027-01-15T08:10:00Z, and answer until"),
    "queued": (-1, True, "no final answer yet; none comes after 2027-01-15T09:00:00Z"),
    "not taken in any more": (11 * MINUTE_NS, False, "no final answer yet; none comes after"),
    "over": (61 * MINUTE_NS, True, "none will come: the time for it ended at 2027-01-15T09:00:00Z"),
}


@pytest.mark.parametrize(("later_ns", "is_answered", "said"), DEADLINES.values(), ids=DEADLINES.keys())
def test_a_request_without_a_final_answer_has_a_deadline(later_ns, is_answered, said):
    """Silence has an end: it is said until when something may still come."""
    payload = {"exp": "2027-01-15T08:10:00Z", "release_by": "2027-01-15T09:00:00Z"}
    now = UtcNs(1_800_000_000 * 10**9 + later_ns)
    assert said in say_deadline(payload, now, is_answered=is_answered)

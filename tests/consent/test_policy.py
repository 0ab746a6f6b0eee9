"""The file: typed, bounded, denying by default, and every complaint at its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.consent.policy import (
    CameraTerms,
    GlobalTerms,
    Mode,
    Policy,
    Terms,
    encode_terms,
    make_schema,
    parse_policy,
    parse_terms,
)
from edge_agent.errors import ConfigError
from edge_agent.protocol.request import Category
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS
from tests.consent import strategies

CONFIG = Path(__file__).parents[2] / "config"

FULL = """\
version: 1
house:
  agencies: [rtcc.example-city]
  cooling_off: 0s
  blackout_dates: [2026-12-24]
  refusals: {area: silence, gateway: silence}
cameras:
  door:
    mode: auto
    hours: ["mon-fri 22:00-06:00"]
    categories: [shooting, robbery]
    masks: [[[0, 0], [100, 0], [100, 100]]]
  yard:
    mode: deny
"""


def test_a_policy_is_read_into_values():
    """Durations become nanoseconds, lists become sets; what is left out has its default."""
    policy = parse_policy(FULL, "consent.yaml")
    door = policy.terms("door")
    assert door.house.agencies == frozenset({"rtcc.example-city"})
    assert (door.house.cooling_off, door.house.ask_timeout) == (0, 30 * MINUTE_NS)
    assert door.camera.categories == {Category.SHOOTING, Category.ROBBERY}
    assert (door.camera.window, door.camera.mode) == (30 * MINUTE_NS, Mode.AUTO)
    assert policy.terms("shed") is None


def test_the_defaults_are_those_of_the_design():
    """A key that is left out means this."""
    camera, house = CameraTerms(), GlobalTerms()
    assert (camera.mode, camera.categories, camera.audio, camera.masks) == (Mode.ASK, frozenset(), False, ())
    assert (camera.distance_m, camera.window, camera.footage_age) == (300, 30 * MINUTE_NS, 72 * HOUR_NS)
    assert (camera.requests_per_day, camera.requests_per_month, camera.requests_per_incident) == (2, 10, 2)
    assert (house.agencies, house.escrow, house.expires_after) == (frozenset(), False, 45 * DAY_NS)
    assert (house.cooling_off, house.ask_timeout, house.reported_within) == (
        10 * MINUTE_NS,
        30 * MINUTE_NS,
        72 * HOUR_NS,
    )


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "consent.yaml")
    return str(caught.value).splitlines()


BAD = {
    "empty": ("", "consent.yaml:1: version: missing key"),
    "another version": ("version: 2", "consent.yaml:1: version: should be 1, not '2'"),
    "a list": ("- 1", "consent.yaml:1: (file): should be a block of keys and values"),
    "unknown key": (
        "version: 1\nlive_view: true",
        "consent.yaml:2: live_view: unknown key; allowed: cameras, house, version",
    ),
    "unknown term": (
        "version: 1\ncameras:\n  door:\n    ptz: true",
        "consent.yaml:4: cameras.door.ptz: unknown key; allowed: audio, categories, distance_m",
    ),
    "a null": ("version: 1\nhouse:\n  padding:", "consent.yaml:3: house.padding: a value is missing behind the colon"),
    "an empty camera": ("version: 1\ncameras:\n  door:", "consent.yaml:3: cameras.door: should be a block"),
    "a camera's name": ("version: 1\ncameras: {Door: {}}", "consent.yaml:2: cameras.Door: String should match"),
    **{
        f"{key}: {value}": (
            f"version: 1\ncameras:\n  door:\n    {key}: {value}",
            f"consent.yaml:4: cameras.door.{key}{where}: {what}",
        )
        for key, value, where, what in [
            ("mode", "maybe", "", "should be 'auto', 'ask' or 'deny', not 'maybe'"),
            ("hours", "never", "", "should be always, or a list"),
            ("categories", "robbery", "", "should be a list"),
            ("categories", "[robbery, robbery]", "", "should name each one once"),
            ("categories", "[loitering]", "[0]", "should be 'homicide', 'shooting'"),
            ("categories", "[[1]]", "[0]", "should be 'homicide'"),
            ("distance_m", "651", "", "should be less than or equal to 650"),
            ("distance_m", "300.5", "", "should be a valid integer"),
            ("window", "13h", "", "should be a duration from 1m to 12h, such as 10m"),
            ("window", "30", "", "should be a duration from 1m to 12h"),
            ("window", "0s", "", "should be a duration from 1m to 12h"),
            ("window", "half an hour", "", "should be a duration from 1m to 12h"),
            ("quality", "4k", "", "should be 'main' or 'sub', not '4k'"),
            ("audio", "no", "", "should be true or false; write false"),
            ("masks", "[[1, 2]]", "[0]", "should be a list of 3 to 32 points [x, y]"),
            ("masks", "[[[0, 0], [1001, 0], [0, 1]]]", "[0]", "points should be [x, y] in thousandths"),
            ("masks", "[[[0, 0], [1, 0], [true, 1]]]", "[0]", "points should be [x, y] in thousandths"),
            ("requests_per_day", "-1", "", "should be greater than or equal to 0"),
        ]
    },
    "a date that is none": (
        "version: 1\nhouse: {blackout_dates: [2026-02-30]}",
        "house.blackout_dates[0]: should be a date",
    ),
    "a date in words": (
        "version: 1\nhouse: {blackout_dates: [christmas]}",
        "house.blackout_dates[0]: should be a date",
    ),
    "a number as an agency": ("version: 1\nhouse: {agencies: [7]}", "house.agencies"),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_said_at_its_line(text, expected):
    """With the path, what is wrong and what is allowed."""
    (line,) = problems(text)
    assert expected in line


def test_all_problems_are_said_at_once():
    """In the order of the lines."""
    found = problems("version: 1\nhouse:\n  padding: 31m\ncameras:\n  door:\n    mode: x\n    bogus: 1\n")
    assert [line.split(": ")[0] for line in found] == ["consent.yaml:3", "consent.yaml:6", "consent.yaml:7"]


@given(strategies.terms)
def test_terms_survive_signing(terms):
    """What was written is read back, through JSON, and says every term."""
    if not terms.camera.hours.spans:
        return
    written = encode_terms(terms)
    assert set(written["camera"]) == set(CameraTerms.model_fields)
    assert set(written["house"]) == set(GlobalTerms.model_fields)
    again = parse_terms(json.loads(json.dumps(written)))
    assert again == terms
    assert encode_terms(again) == written


def test_equal_terms_give_equal_bytes():
    """The order of the lists in the file has no effect."""
    swapped = FULL.replace("[shooting, robbery]", "[robbery, shooting]")
    one, other = (parse_policy(text, "c").terms("door") for text in (FULL, swapped))
    assert json.dumps(encode_terms(one)) == json.dumps(encode_terms(other))


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_complaint(text):
    """Nothing but a ``ConfigError`` comes out of a bad file."""
    try:
        assert isinstance(parse_policy(text, "c"), Policy)
    except ConfigError as error:
        message = str(error)
        assert message.startswith("c:")


def test_the_shipped_policy_denies_everything():
    """As installed, no camera is named and no agency is consented to."""
    policy = parse_policy((CONFIG / "consent.yaml").read_text(), "config/consent.yaml")
    assert policy.cameras == {}
    assert policy.house == GlobalTerms()
    assert Terms().camera.categories == frozenset()


def uncommented(text):
    """Return the shipped file with its example made keys, as the comment in it says."""
    lines = [line for line in text.splitlines() if line != "cameras: {}"]
    return "\n".join(line.removeprefix("#:").removeprefix(" ") if line.startswith("#:") else line for line in lines)


def test_the_shipped_policy_shows_every_key_with_its_default():
    """Each key stands there, commented out where it has to be, and its example is valid."""
    text = uncommented((CONFIG / "consent.yaml").read_text())
    policy = parse_policy(text, "config/consent.yaml")
    door = policy.cameras["front-door"]
    assert door.model_fields_set == set(CameraTerms.model_fields)
    assert policy.house.model_fields_set == set(GlobalTerms.model_fields)
    differing = {name for name in CameraTerms.model_fields if getattr(door, name) != getattr(CameraTerms(), name)}
    assert differing == set()


def test_the_schema_for_editors_is_that_of_the_model():
    """``config/consent.schema.json`` is generated: ``python -m edge_agent.setup.schema consent``."""
    assert json.loads((CONFIG / "consent.schema.json").read_text()) == make_schema()

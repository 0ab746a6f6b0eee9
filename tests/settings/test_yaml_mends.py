"""Mistakes that people make in the three files: every one is told with its line, and in words that mend it."""

from pathlib import Path

import pytest

from edge_agent.consent.policy import parse_policy
from edge_agent.custody.credentials import load_logins
from edge_agent.errors import ConfigError
from edge_agent.settings.gateway import parse_config
from edge_agent.setup.inspection import Level, describe_cameras, inspect_place

DOOR = "cameras:\n  - id: door\n    url: rtsp://192.0.2.7/h264\n"

CONFIG = {
    "a tab": ("cameras:\n\t- id: door\n", ":2: not YAML: column 1: a tab; YAML is indented with blanks"),
    "a tab behind blanks": (
        DOOR + "    \taudio: true\n",
        ":4: not YAML: column 5: a tab",
    ),
    "a key too deep": (DOOR + "      audio: true\n", "in line with `url` of line 3, in column 5"),
    "a key not deep enough": (DOOR + "   audio: true\n", "in line with `url` of line 3, in column 5"),
    "a list item out of line": (
        DOOR + " - id: yard\n    url: rtsp://b/\n",
        ":4: not YAML: column 2: wrong indentation: put its dash below the one of line 2, in column 3",
    ),
    "no blank behind the dash": ("cameras:\n  -id: door\n    url: rtsp://a/\n", ":2: not YAML: column 4: a blank is"),
    "a key with an equals sign": ("cameras=\n  - id: door\n", ":1: not YAML: column 1: neither `key: value` nor"),
    "a mark of a merge": ("<<<<<<< ours\nclock: {}\n", ":1: not YAML: column 1: neither `key: value` nor"),
    "an unclosed quote": (
        "cameras:\n  - id: door\n    name: 'front door\n    url: rtsp://a/\n",
        ":3: not YAML: column 11: this quote is not closed",
    ),
    "an apostrophe in quotes": (
        DOOR + "    name: 'Ann's door'\n",
        ":4: not YAML: column 16: text behind a quote's end",
    ),
    "a backslash in quotes": (DOOR + '    name: "a\\d"\n', ":4: not YAML: column 14: a backslash in double quotes"),
    "a second colon": (DOOR + "    name: door: front\n", ":4: not YAML: column 15: a second colon in one line"),
    "no blank behind the colon": (DOOR + "    audio:true\n", ":4: not YAML: column 11: a blank is missing behind"),
    "an open bracket": ("gateway: {location: {lat: 1, lon: 2}\nclock: {}\n", ":1: not YAML: column 10: this bracket"),
    "a text that begins with @": (DOOR + "    name: @home\n", "must stand in quotes"),
    "typographic quotes": (DOOR + "    name: “door”\n", ":4: column 11: typographic quotes; write plain ones"),
    "a no-break space": (DOOR + "\u00a0   audio: true\n", ":4: not YAML: column 1: a no-break space"),
    "a control character": ("# \x07\n", ":1: not YAML: column 3: a character that no text has"),
    "two documents": ("clock: {}\n---\nclock: {}\n", ":2: not YAML: column 1: a second document begins here"),
    "a key twice": ("clock: {}\nclock: {}\n", ":2: clock: written twice; first in line 1"),
    "a text that begins with *": (DOOR + "    name: *home\n", "put it in quotes"),
    "a text that begins with !": (DOOR + "    name: !home\n", "begins with ! in quotes"),
    "a decimal comma": ("gateway: {location: {lat: '38,63', lon: 2}}\n", "write a decimal point: 38.63"),
    "a decimal comma in braces": ("gateway: {location: {lat: 38,63, lon: 2}}\n", "decimals have a point"),
    "a decimal comma in a block": ("gateway:\n  location:\n    lat: 38,63\n    lon: 2\n", ":3: gateway.location.lat:"),
    "a lettered coordinate": ("gateway: {location: {lat: 38.6 N, lon: 90.2 W}}\n", "are negative: -90.2"),
    "swapped coordinates": ("gateway: {location: {lat: -90.2, lon: 38.6}}\n", "is it the longitude?"),
    "a number in quotes": ("gateway: {location: {lat: '38.6', lon: 2}}\n", "without quotes: 38.6"),
    "audio: yes": (DOOR + "    audio: yes\n", ":4: cameras[0].audio: should be true or false; write true"),
    "audio: Off": (DOOR + "    audio: Off\n", ":4: cameras[0].audio: should be true or false; write false"),
    "a size without unit": ("buffer: {size: 32}\n", "with its unit, such as 32GiB (8MiB to 16TiB)"),
    "a size of another unit": ("buffer: {size: 512MB}\n", "such as 512MiB (8MiB to 16TiB)"),
    "a duration without unit": ("buffer: {keep_for: 48}\n", "such as 48h (1m to 366d)"),
    "a duration in words": ("buffer: {keep_for: 3 days}\n", "such as 3d (1m to 366d)"),
    "a duration outside": ("buffer: {sync_every: 10}\n", "such as 3s (500ms to 4s)"),
    "credentials as a map": (
        DOOR + "    credentials: {username: admin, password: hunter2}\n",
        ":4: cameras[0].credentials: should be a name alone",
    ),
    "an unknown key": (DOOR + "    Audio: true\n", "unknown key; did you mean `audio`? allowed: audio,"),
    "a key with a dash": (DOOR + "    keep-for: 24h\n", "did you mean `keep_for`?"),
    "cameras as a map": ("cameras:\n  door:\n    url: rtsp://a/\n", ":1: cameras: should be a list: each item"),
    "a block that is a text": (
        "buffer: 32GiB\n",
        "a block of keys and values, each in a line below it; allowed: block",
    ),
    "a number for a text": (DOOR + "    name: 12\n", ":4: cameras[0].name: should be text: put it in quotes"),
    "no value": (DOOR + "    name:\n", ":4: cameras[0].name: a value is missing behind the colon"),
}


@pytest.mark.parametrize(("text", "expected"), CONFIG.values(), ids=CONFIG.keys())
def test_a_mistake_in_the_configuration_is_told_with_its_mend(text: str, expected: str) -> None:
    """The line, and what to write there; never a password."""
    with pytest.raises(ConfigError) as refused:
        parse_config(text, "edge-agent.yaml", Path("/etc/edge-agent"))
    assert expected in str(refused.value)
    assert "hunter2" not in str(refused.value)


CREDENTIALS = {
    "a password cut at #": ("door: {username: a, password: hunter2}\nyard:\n  username: a\n  password: hun #ter2\n", 4),
    "digits only": ("door:\n  username: a\n  password: 271828\n", 3),
    "a per cent sign": ("door:\n  username: a\n  password: %hunter2\n", 3),
    "a colon and a blank": ("door:\n  username: a\n  password: hunter2: x\n", 3),
    "a hash first": ("door:\n  username: a\n  password: #hunter2\n", 3),
}


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.yaml"
    path.touch(0o600)
    return path


@pytest.mark.parametrize(("text", "line"), CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_password_that_yaml_would_change_wants_quotes(secret_file: Path, text: str, line: int) -> None:
    """A password that is read otherwise than it was written locks a camera; the file is refused instead."""
    secret_file.write_text(text)
    with pytest.raises(ConfigError, match="quotes") as refused:
        load_logins(secret_file)
    assert f"credentials.yaml:{line}: " in str(refused.value)
    assert not {"hun", "ter2", "271828"} & set(str(refused.value).split())
    assert "hunter2" not in str(refused.value)


def test_the_keys_of_a_login_are_listed(secret_file: Path) -> None:
    """An unknown key is told with the keys of a login, and with the one it resembles."""
    secret_file.write_text("door: {user: a, password: hunter2}\n")
    with pytest.raises(ConfigError) as refused:
        load_logins(secret_file)
    assert "unknown key; did you mean `username`? allowed: password, username" in str(refused.value)


def test_quotes_and_comment_lines_are_taken(secret_file: Path) -> None:
    """What the refusals tell people to write is read as they meant it."""
    secret_file.write_text("# the door\ndoor:\n  username: admin\n  password: 'hun #ter2: %'\n")
    assert load_logins(secret_file)["door"].password == "hun #ter2: %"


def test_an_empty_file_of_terms_is_called_empty() -> None:
    """Not only a missing key is named, but why it is missing."""
    with pytest.raises(ConfigError, match="version: missing key; it must be there; the file is empty"):
        parse_policy("# nothing\n", "consent.yaml")


def test_two_cameras_of_one_stream_and_an_antarctic_house_are_warned_of() -> None:
    """A copied entry and exchanged coordinates are legal, and most likely mistakes."""
    text = DOOR + "  - id: yard\n    url: rtsp://192.0.2.7/h264\ngateway: {location: {lat: -74.0, lon: 40.7}}\n"
    config = parse_config(text, "edge-agent.yaml", Path("/"))
    found = [*describe_cameras(config), *inspect_place(config)]
    told = [each.text for each in found if each.level is Level.WARNING]
    assert ["same stream as door" in told[0], "exchanged" in told[1]] == [True, True]

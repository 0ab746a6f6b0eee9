"""Values of a YAML file are changed, and everything else of it stays."""

from pathlib import Path

import pytest

from edge_agent.consent.policy import Mode, parse_policy
from edge_agent.errors import ConfigError
from edge_agent.settings.yaml_edit import edit_yaml

SHIPPED = (Path(__file__).parents[2] / "config" / "consent.yaml").read_text()
CHANGES = {
    ("cameras", "front-door", "mode"): "ask",
    ("cameras", "front-door", "hours"): ["22:00-06:00"],
    ("house", "agencies"): ["rtcc.example-city"],
    ("house", "cooling_off"): "30m",
}


def test_shipped_file_keeps_every_comment_and_line():
    """The first change at the desk leaves the owner the file that explains itself."""
    text = edit_yaml(SHIPPED, "consent.yaml", CHANGES)
    comments = [line for line in SHIPPED.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in text.splitlines() if line.lstrip().startswith("#")] == comments
    policy = parse_policy(text, "consent.yaml")
    assert policy.cameras["front-door"].mode is Mode.ASK
    assert policy.house.agencies == {"rtcc.example-city"}
    lost = [line for line in SHIPPED.splitlines() if line not in text.splitlines()]
    assert lost == ["  agencies: []", "  cooling_off: 10m", "cameras: {}"]


def test_same_values_change_nothing():
    """A form that is sent as it was shown leaves what it finds."""
    text = edit_yaml(SHIPPED, "consent.yaml", CHANGES)
    assert edit_yaml(text, "consent.yaml", CHANGES) == text


@pytest.mark.parametrize(
    "text",
    {"list": "- 1", "broken": "a: [", "text": "x", "empty": "", "two of a key": "house: {}\nhouse: {}",
     "map that is none": "version: 1\ncameras: x\n"}.items(),
    ids=lambda each: each[0],
)  # fmt: skip
def test_what_cannot_be_changed_is_an_error_of_the_file(text):
    """Never a traceback, and never a file that lost something."""
    with pytest.raises(ConfigError):
        edit_yaml(text[1], "consent.yaml", CHANGES)

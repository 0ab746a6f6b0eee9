"""Strict YAML: what it says is what it means, and every complaint leads to its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from edge_agent.errors import ConfigError
from edge_agent.settings.yaml_lines import MAX_YAML_CHARS, allowed_keys, load_yaml, validate

PLAIN = {
    "text that YAML 1.1 would change": ("a: no\nb: 22:00\nc: 2026-07-04\nd: 0x10\ne: 1e5\nf: 007\ng: yes\nh: on", str),
    "whole numbers": ("a: 0\nb: -17\nc: 123456789012345678", int),
    "numbers with a point": ("a: 0.5\nb: -90.1848", float),
    "truth": ("a: true\nb: false", bool),
    "nothing": ("a: null\nb: ~\nc:", type(None)),
    "quoted": ("a: 'true'\nb: \"1\"", str),
}


@pytest.mark.parametrize(("text", "kind"), PLAIN.values(), ids=PLAIN.keys())
def test_scalars_are_what_they_look_like(text, kind):
    """Only the plainest forms are anything but text."""
    values = load_yaml(text, "f").value
    assert {type(value) for value in values.values()} == {kind}


REFUSED = {
    "an anchor": ("a: &x 1\nb: *x", "f:1: anchors and aliases"),
    "an alias alone": ("a: *x", "f:1: anchors and aliases"),
    "a tag": ("a: 1\nb: !!python/object:os.system x", "f:2: tags (!) are not accepted"),
    "a key twice": ("a:\n  b: 1\n  c: 2\n  b: 3", "f:4: a.b: written twice; first in line 2"),
    "a number as a key": ("a: 1\n2: b", "f:2: (file): a number stands alone behind a comma: 2; decimals have a point"),
    "a list as a key": ("? [a]\n: 1", "f:1: (file): a key must be text"),
    "too deep": ("[" * 17 + "]" * 17, "f:1: nested too deeply"),
    "two documents": ("a: 1\n---\nb: 2", "f:2: not YAML: column 1: a second document begins"),
    "an open bracket": ("a: [", "f:1: not YAML"),
    "a control character": ("a: \x07", "f:1: not YAML"),
    "a tab": ("a:\n\t- b", "f:2: not YAML"),
    "too long": ("#" * (MAX_YAML_CHARS + 1), "f:1: longer than"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_surprises_are_refused(text, message):
    """With the line and a word on what is allowed."""
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, "f")
    assert str(caught.value).startswith(message)


def test_every_value_has_its_line():
    """A path that is not there has its nearest parent's line."""
    located = load_yaml("# comment\na:\n  - b: 1\n    c: 2\n  - d\n", "f")
    assert located.value == {"a": [{"b": 1, "c": 2}, "d"]}
    assert [located.line(path) for path in (("a",), ("a", 0, "c"), ("a", 1), ("a", 0, "zz"), ("zz",), ())] == [
        2,
        4,
        5,
        3,
        2,
        2,
    ]
    assert load_yaml("", "f").line(("a",)) == 1


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    port: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner | None = None
    many: dict[str, list[Inner]] = {}


def test_problems_come_with_their_lines_in_order():
    """Unknown, missing and wrong keys, however deep, as one text."""
    text = "inner:\n  prot: 1\nmany:\n  x:\n    - port: a\n    - {port: 1, q: 2}\n"
    with pytest.raises(ConfigError) as caught:
        validate(Outer, load_yaml(text, "f"))
    assert str(caught.value).splitlines() == [
        "f:1: inner.port: missing key; it must be there",
        "f:1: name: missing key; it must be there",
        "f:2: inner.prot: unknown key; did you mean `port`? allowed: port",
        "f:5: many.x[0].port: should be a valid integer, unable to parse string as an integer",
        "f:6: many.x[1].q: unknown key; allowed: port",
    ]


def test_an_empty_file_is_an_empty_block():
    """Its missing keys are named."""
    with pytest.raises(ConfigError, match="f:1: name: missing key"):
        validate(Outer, load_yaml("", "f"))


def test_allowed_keys_of_nowhere():
    """A path that leads out of the models has no list to offer."""
    assert allowed_keys(Outer, ("name", "x")) == ["inner", "many", "name"]
    assert allowed_keys(Outer, ()) == ["inner", "many", "name"]


@given(st.text(max_size=100))
def test_any_text_is_values_or_a_complaint(text):
    """No text makes the reader fail otherwise."""
    try:
        load_yaml(text, "f")
    except ConfigError as error:
        message = str(error)
        assert message.startswith("f:")

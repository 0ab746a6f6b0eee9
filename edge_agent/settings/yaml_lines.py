"""Strict YAML with line numbers: text → plain values, and every complaint leads to its line.

Owns how the two configuration files are read. A small part of YAML is accepted, so that a file means what it says:
no anchors, aliases or tags, no duplicate keys, only text keys, and only ``true``, ``false``, ``null`` and plain numbers
are anything but text (``no``, ``22:00`` and ``2026-07-04`` stay text; YAML 1.1 makes them false, 1320 and a date).
Opens nothing, and never prints a value that could be a password.
"""

import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, RootModel, ValidationError

from edge_agent.errors import ConfigError
from edge_agent.settings.yaml_mends import (
    Mend,
    find_odd_blank,
    mend_number,
    mend_scalar,
    mend_syntax,
    mend_truth,
    suggest_key,
)

MAX_YAML_CHARS = 256 * 1024
MAX_YAML_DEPTH = 16

YamlPath = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


class _YamlLinesError(Exception):
    """One problem at one line, before the source's name is put in front."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _StrictLoader(yaml.SafeLoader):
    """Composes nodes and refuses what could surprise a reader; constructs nothing itself."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            words = "anchors and aliases (& and *) are not accepted; write the value out, or put it in quotes: '…'"
            raise _YamlLinesError(line, words)
        if getattr(event, "tag", None) is not None:
            raise _YamlLinesError(line, "tags (!) are not accepted; put a text that begins with ! in quotes: '…'")
        if self.depth >= MAX_YAML_DEPTH:
            raise _YamlLinesError(line, f"nested too deeply; at most {MAX_YAML_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _resolve(tag: str, pattern: str, first: list[str]) -> None:
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)


# Those of YAML 1.1 go first: they read ``no`` as false and ``22:00`` as 1320.
_StrictLoader.yaml_implicit_resolvers = {}
_resolve("bool", r"^(?:true|false)$", ["t", "f"])
# At most 18 digits: each such number fits into 64 bits.
_resolve("int", r"^-?(?:0|[1-9][0-9]{0,17})$", list("-0123456789"))
_resolve("float", r"^-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}$", list("-0123456789"))
_resolve("null", r"^(?:null|~|)$", ["n", "~", ""])


@dataclass(frozen=True, slots=True)
class Located:
    """A YAML document as plain values, and the line of each of them."""

    value: Any
    source: str
    lines: dict[YamlPath, int]

    def line(self, path: YamlPath) -> int:
        """Return the line of ``path``, or of its nearest parent that is in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return self.lines.get((), 1)


def load_yaml(text: str, source: str, *, is_secret: bool = False) -> Located:
    """Read one YAML document.

    Args:
        text: At most ``MAX_YAML_CHARS`` characters.
        source: The file's name in messages.
        is_secret: Passwords are in it: a comment behind a value is refused, because it could be the value's end.

    Raises:
        ConfigError: Not the strict YAML described above; the message is ``source:line: problem``.
    """
    if len(text) > MAX_YAML_CHARS:
        raise ConfigError(f"{source}:1: longer than {MAX_YAML_CHARS} characters")
    if (blank := find_odd_blank(text)) is not None:
        raise _not_yaml(source, blank)
    loader: _StrictLoader | None = None
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        lines: dict[YamlPath, int] = {}
        value = _plain(node, (), lines) if node is not None else None
        if node is not None:
            _refuse_odd_scalars(node, text, is_secret=is_secret)
    except _YamlLinesError as error:
        raise ConfigError(f"{source}:{error.line}: {error}") from None
    except yaml.YAMLError as error:
        # Without PyYAML's own text, which quotes the line: a password may stand in it.
        raise _not_yaml(source, mend_syntax(text, error)) from None
    finally:
        if loader is not None:
            loader.dispose()
    return Located(value, source, lines)


def _not_yaml(source: str, mend: Mend) -> ConfigError:
    return ConfigError(f"{source}:{mend.line}: not YAML: column {mend.column}: {mend.text}")


def _refuse_odd_scalars(root: Any, text: str, *, is_secret: bool) -> None:
    """Refuse values without quotes that are not what they seem to be."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif node.style is None and node.start_mark.index < node.end_mark.index:
            start, end = node.start_mark.index, node.end_mark.index
            problem = mend_scalar(text[start:end], text[end:].partition("\n")[0], is_secret=is_secret)
            if problem:
                raise _YamlLinesError(node.start_mark.line + 1, f"column {node.start_mark.column + 1}: {problem}")


def _say_key(node: Any) -> str:
    """Name the fault of a key that is no text; in braces a decimal comma makes a number one: ``{lat: 32,29}``."""
    if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return f"a number stands alone behind a comma: {node.value[:20]}; decimals have a point, such as 32.29"
    return "a key must be text; put it into quotes"


def _plain(node: Any, path: YamlPath, lines: dict[YamlPath, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise _YamlLinesError(line, f"{show_path(path)}: {_say_key(key_node)}")
            if key in mapping:
                first = lines[(*path, key)]
                raise _YamlLinesError(line, f"{show_path((*path, key))}: written twice; first in line {first}")
            lines[(*path, key)] = line
            mapping[key] = _plain(value_node, (*path, key), lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node.value)]
    return _SCALARS[node.tag](node.value)


_SCALARS: dict[str, Any] = {
    "tag:yaml.org,2002:bool": lambda text: text == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:null": lambda _text: None,
    "tag:yaml.org,2002:str": str,
}


def show_path(path: YamlPath) -> str:
    """Write a path as ``cameras[0].url``; the whole document is ``(file)``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "(file)"


def validate(model: type[ModelT], located: Located) -> ModelT:
    """Check a document against a pydantic model.

    Raises:
        ConfigError: All problems, one a line: ``source:line: path: problem, allowed values``.
    """
    try:
        return model.model_validate({} if located.value is None else located.value)
    except ValidationError as error:
        problems = sorted(_problems(model, located, error))
        raise ConfigError("\n".join(f"{located.source}:{line}: {text}" for line, text in problems)) from None


def _problems(model: type[BaseModel], located: Located, error: ValidationError) -> Iterator[tuple[int, str]]:
    for problem in error.errors(include_url=False):
        path = _path_in_file(problem["loc"], located)
        missing = problem["type"] == "missing"
        where = (*path, str(problem["loc"][-1])) if missing else path
        empty = "; the file is empty" if missing and located.value is None else ""
        yield located.line(path), f"{show_path(where)}: {_say(model, path, problem)}{empty}"


def _path_in_file(loc: YamlPath, located: Located) -> YamlPath:
    """Drop what pydantic adds to a location (union branches, validators' names, missing keys)."""
    path: YamlPath = ()
    for part in loc:
        if (*path, part) in located.lines:
            path = (*path, part)
    return path


def _say(model: type[BaseModel], path: YamlPath, problem: Any) -> str:
    kind, message = problem["type"], problem["msg"]
    if kind == "missing":
        return "missing key; it must be there"
    allowed = allowed_keys(model, path[:-1] if kind == "extra_forbidden" else path)
    listed = f"allowed: {', '.join(allowed)}" if allowed else ""
    if kind == "extra_forbidden":
        return "unknown key" + (f"; {suggest_key(str(path[-1]), allowed)}{listed}" if allowed else "")
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "should be a block of keys and values" + (f", each in a line below it; {listed}" if listed else "")
    if kind in _MENDS and (mended := _MENDS[kind](problem["input"])):
        return mended
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("Input should be", "should be")
    if kind in ("enum", "literal_error") and isinstance(problem["input"], str | int):
        message += f", not {str(problem['input'])[:40]!r}"
    return str(message)


def _mend_number(value: object) -> str:
    return f"should be a number; {mend_number(value)}" if isinstance(value, str) and mend_number(value) else ""


def _mend_text(value: object) -> str:
    if value is None:
        return "a value is missing behind the colon; # after a blank begins a comment: put such a text in quotes"
    if isinstance(value, dict | list):
        return "should be one text, and not a block of keys or a list"
    return "should be text: put it in quotes, '…'"


_LIST = "should be a list: each item in a line of its own that begins with `- `"
_MENDS: dict[str, Callable[[object], str]] = {
    "bool_type": lambda value: f"should be true or false; {mend_truth(value)}",
    "bool_parsing": lambda value: f"should be true or false; {mend_truth(value)}",
    "float_type": _mend_number,
    "float_parsing": _mend_number,
    "int_type": _mend_number,
    "int_parsing": _mend_number,
    "string_type": _mend_text,
    "tuple_type": lambda _value: _LIST,
    "list_type": lambda _value: _LIST,
}
"""By pydantic's name of the problem: the value that a person should write; empty for pydantic's own words."""


def allowed_keys(model: type[BaseModel], path: YamlPath) -> list[str]:
    """List the keys that a model allows at a path; empty if the path leads into no model."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        if isinstance(part, int):
            continue
        inner: list[type[BaseModel]] = []
        for candidate in models:
            field = next((f for n, f in candidate.model_fields.items() if part in (n, f.alias)), None)
            inner.extend(_models_in(field.annotation) if field is not None else ())
        # A mapping by free names (cameras by id) has no field for the name itself: stay at its value's model.
        models = inner or models
    for candidate in models:
        if issubclass(candidate, RootModel):
            models = list(_models_in(candidate.model_fields["root"].annotation)) if path else []
    return sorted({field.alias or name for candidate in models for name, field in candidate.model_fields.items()})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not typing.get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)

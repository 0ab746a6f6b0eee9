"""Changes values of a YAML file and keeps everything else of it: comments, order, blank lines (ruamel.yaml).

For ``consent.yaml``, which its owner reads and edits too. The result is read anew by its checker (``consent.policy``);
nothing here knows the meaning of the keys. Loaded only if a file is changed.
"""

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from edge_agent.errors import ConfigError

_WIDTH = 4096
"""No line of the owner's is broken anew."""


def edit_yaml(text: str, source: str, changes: Mapping[tuple[str, ...], Any]) -> str:
    """Return the text with other values at these paths; a map that is missing on the way is made.

    Args:
        text: The file.
        source: Its name in an error.
        changes: Path of keys → new value.

    Raises:
        ConfigError: It is no YAML that could be changed, or a path leads through something else than a map.
    """
    yaml = YAML(typ="rt")
    yaml.preserve_quotes, yaml.width = True, _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        data = yaml.load(text)
        for path, value in changes.items():
            _set(data, path, value)
        out = io.StringIO()
        yaml.dump(data, out)
    except (YAMLError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"{source}: cannot be changed by itself: {error}"[:500]) from error
    return out.getvalue()


def _set(data: Any, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        found = data.get(key)
        if not found:  # an empty map is often written as {}; in the place of it stands one of lines
            found = data[key] = CommentedMap()
        data = found
    if data.get(path[-1]) != value:
        data[path[-1]] = _in_one_line(value) if isinstance(value, list) else value


def _in_one_line(values: list[Any]) -> CommentedSeq:
    """Return a list that is written as ``[a, b]``: a comment behind the old value stays behind the new one."""
    found = CommentedSeq(values)
    found.fa.set_flow_style()
    return found

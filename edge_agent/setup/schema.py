"""JSON Schemas of the configuration files, made from the models that check them: for editors, and for nothing else.

Run as ``python -m edge_agent.setup.schema config`` or ``consent``; prints the schema. A test holds the copies in
``config/`` in step.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from edge_agent.consent.policy import make_schema
from edge_agent.settings.gateway import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def encode_schema(model: type[BaseModel], title: str) -> str:
    """Return a model's JSON Schema as text, in the order of the model's fields."""
    schema: dict[str, Any] = {"$schema": DIALECT, "title": title}
    made = model.model_json_schema(by_alias=True)
    made.pop("title", None)
    return json.dumps(_without_defaults_of_parts(schema | made), indent=2, ensure_ascii=False) + "\n"


def _without_defaults_of_parts(node: Any) -> Any:
    # Defaults are values after parsing (nanoseconds, absolute paths): no editor should offer them. Titles repeat names.
    if isinstance(node, dict):
        skip = {"default"} if not isinstance(node.get("default"), bool) else set()
        titled = {"title"} if isinstance(node.get("title"), str) and "$schema" not in node else set()
        return {key: _without_defaults_of_parts(value) for key, value in node.items() if key not in skip | titled}
    if isinstance(node, list):
        return [_without_defaults_of_parts(item) for item in node]
    return node


def _with_sorted_sets(node: Any) -> Any:
    # A default that is a set comes out in the order of the day's hash seed.
    if isinstance(node, dict):
        return {
            key: sorted(value) if _is_set_default(key, value) else _with_sorted_sets(value)
            for key, value in node.items()
        }
    return [_with_sorted_sets(item) for item in node] if isinstance(node, list) else node


def _is_set_default(key: str, value: Any) -> bool:
    return key == "default" and isinstance(value, list) and all(isinstance(item, str) for item in value)


def main(arguments: Sequence[str]) -> int:
    """Print the schema of ``config`` or ``consent``."""
    if list(arguments) == ["config"]:
        print(encode_schema(Config, "edge-agent.yaml"), end="")
        return 0
    if list(arguments) == ["consent"]:
        print(json.dumps(_with_sorted_sets(make_schema()), indent=2, ensure_ascii=False))
        return 0
    print("usage: python -m edge_agent.setup.schema config|consent", file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

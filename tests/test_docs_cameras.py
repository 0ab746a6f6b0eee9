"""``docs/cameras.md`` against the program: every example loads, every reason is explained."""

import re
from pathlib import Path

import pytest

from edge_agent.capture.reasons import REASONS
from edge_agent.settings.gateway import parse_config

TEXT = (Path(__file__).parents[1] / "docs" / "cameras.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=[re.findall(r"id: (\w+)", example)[0] for example in EXAMPLES])
def test_example_loads(example: str) -> None:
    """What is pasted from the page is a configuration that is understood."""
    assert parse_config(example, "cameras.md", Path("/")).cameras


def test_every_reason_is_explained() -> None:
    """The table of reasons has a row for each, and no others."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", TEXT.partition("## What status says")[2], re.MULTILINE)
    assert rows == list(REASONS)

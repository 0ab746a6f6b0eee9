"""From `init` to the opened clip as a newcomer types it, at a terminal of 80 columns."""

import tempfile
from pathlib import Path

import pytest

from bench.newcomer import MOST_STEPS, walk_to_clip

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_a_newcomer_reaches_the_clip_in_twelve_steps():
    """Every command and every edit counts; the prompts are answered where they are asked."""
    with tempfile.TemporaryDirectory(prefix="nc-") as folder:
        steps = walk_to_clip(Path(folder))
    assert len(steps) <= MOST_STEPS
    assert sum(step.keystrokes for step in steps) < 2500

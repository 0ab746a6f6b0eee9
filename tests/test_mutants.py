"""The list of ways to break the gate stays true: each still fits the code that it breaks."""

from pathlib import Path

import pytest

from tests import mutate_rules
from tests.mutate_gate import MUTANTS as CHECKS
from tests.mutate_gate import ROOT

MUTANTS = {**CHECKS, **mutate_rules.MUTANTS}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_fits(name: str) -> None:
    """Its text is in its file, so that ``python tests/mutate_gate.py`` breaks what it says."""
    (file, tests), old, new = MUTANTS[name]
    assert old in Path(ROOT, "edge_agent", file).read_text()
    assert old != new
    assert all(Path(ROOT, test).exists() for test in tests.split())

"""The list of ways to break the gate stays true: each still fits the code that it breaks."""

from pathlib import Path

import pytest

from tests import mutate_gate, mutate_rules
from tests.mutate_gate import ROOT

MUTANTS = {**mutate_gate.MUTANTS, **mutate_rules.MUTANTS}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_fits(name: str) -> None:
    """Its text is in its file, so that ``python tests/mutate_gate.py`` breaks what it says."""
    (file, tests), old, new = MUTANTS[name]
    assert old in Path(ROOT, "edge_agent", file).read_text()
    assert old != new
    assert all(Path(ROOT, test).exists() for test in tests.split())


WRONG = ("answer.py", "tests/test_answer.py"), "return 42", "return 41"
UNTESTED = ("answer.py", "tests/test_answer.py"), "return 7", "return 8"


@pytest.fixture
def small_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of one module and its test."""
    texts = {
        "edge_agent/__init__.py": "",
        "edge_agent/answer.py": "def find():\n    return 42\n\n\ndef find_other():\n    return 7\n",
        "tests/test_answer.py": "from edge_agent.answer import find\n\n\ndef test_answer():\n    assert find() == 42\n",
        "setup.cfg": "[tool:pytest]\naddopts = -p no:hypothesispytest\n",  # it takes longer to load than the tests
        "config/none": "",
        "docs/none": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(mutate_gate, "ROOT", tmp_path)
    return tmp_path


def test_mutant_that_no_test_notices_is_an_error(small_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 names it; one that a test notices is none."""
    assert mutate_gate.main([], {"wrong answer": WRONG, "not tested": UNTESTED}) == 1
    out = capsys.readouterr().out
    assert "red   wrong answer" in out
    assert "GREEN not tested" in out


def test_test_that_is_red_anyway_notices_nothing(small_tree: Path) -> None:
    """A killer has to be green in the tree as it stands."""
    (small_tree / "tests/test_answer.py").write_text("def test_answer():\n    assert False\n")
    with pytest.raises(SystemExit, match="test_answer"):
        mutate_gate.main([], {"wrong answer": WRONG})


def test_word_that_names_no_mutant_is_an_error() -> None:
    """It lists the names, and runs nothing."""
    with pytest.raises(SystemExit, match="wrong answer"):
        mutate_gate.main(["mispelt"], {"wrong answer": WRONG})

"""Every module has a test: the file that mirrors it, or the one that is named for it."""

import shutil
from pathlib import Path

import pytest

from tests import empty_modules
from tests.empty_modules import ROOT, empty, find_tests, list_modules, mirror, read_named

TESTS = find_tests()
NAMED_TESTS = [module for tests in read_named().values() for module in tests]


def test_every_module_has_a_test() -> None:
    """``python -m tests.empty_modules`` sees that it goes red if the module is emptied."""
    assert [f"{module}: no {mirror(module)}" for module, test in TESTS.items() if not (ROOT / test).is_file()] == []


def test_no_name_is_needless() -> None:
    """A line of the list is of a module that there is, that no file mirrors, and that has no other line."""
    assert len(NAMED_TESTS) == len(set(NAMED_TESTS))
    assert {module for module in NAMED_TESTS if module not in TESTS or TESTS[module] == mirror(module)} == set()


LOADED = "import os\nDEFAULT = {}\ndef find():\n    return os.getcwd()\nHERE = find()\n"
EMPTIED = {
    "a function fails once the module is loaded": (LOADED, "find()"),
    "so does a method": ("class A:\n    def find(self): return 1\n", "A().find()"),
    "so does what is written as a program": (
        "def find():\n    return 1\nif __name__ == '__main__':\n    find()\n",
        "find()",
    ),
}


@pytest.mark.parametrize(("text", "call"), EMPTIED.values(), ids=EMPTIED)
def test_what_is_left_of_a_module_only_loads(text: str, call: str) -> None:
    """To import it is no test of it."""
    names = {"__name__": "tried"}
    exec(empty(text), names)
    with pytest.raises(NotImplementedError):
        eval(call, names)


def test_of_a_module_without_functions_imports_are_left() -> None:
    """Whoever imports a constant of it finds that it is gone."""
    names: dict[str, object] = {}
    exec(empty("import os\nMOST = 5\n"), names)
    assert "os" in names
    assert "MOST" not in names


def test_test_that_only_imports_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """It is printed, exit 1, and stays among the unseen; one that calls the module is moved to the seen."""
    lines = {each: f'"edge_agent/{each}.py" = "tests/test_{each}.py"\n' for each in ("answer", "other")}
    texts = {
        "edge_agent/__init__.py": "",
        "edge_agent/answer.py": "def find():\n    return 42\n",
        "edge_agent/other.py": "def find():\n    return 42\n",
        "tests/test_answer.py": "from edge_agent.answer import find\ndef test_answer():\n    assert find() == 42\n",
        "tests/test_other.py": "from edge_agent.other import find\ndef test_other():\n    assert find\n",
        "tests/named.toml": "# Why.\n[seen]\n[unseen]\n" + "".join(lines.values()),
        "setup.cfg": "[tool:pytest]\naddopts = -p no:hypothesispytest\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(empty_modules, "NAMED", tmp_path / "tests/named.toml")
    monkeypatch.setattr(
        empty_modules, "copy_tree", lambda folder: shutil.copytree(tmp_path, folder, dirs_exist_ok=True)
    )
    assert empty_modules.main(["--unseen"]) == 1
    out = capsys.readouterr().out
    assert "red   edge_agent/answer.py" in out
    assert "GREEN edge_agent/other.py" in out
    found = (tmp_path / "tests/named.toml").read_text()
    assert found == f"# Why.\n[seen]\n{lines['answer']}\n[unseen]\n{lines['other']}"


def test_modules_with_more_than_a_docstring_are_listed() -> None:
    """And the others, such as that of a package, are not."""
    modules = set(list_modules())
    assert "edge_agent/units.py" in modules
    assert "edge_agent/uplink/__init__.py" not in modules

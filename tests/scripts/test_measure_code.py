"""``scripts/measure-code``: each of its limits holds, and its exceptions can only shrink."""

import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PARAMETERS = ", ".join(f"p{number}" for number in range(9))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("measure_code", str(ROOT / "scripts" / "measure-code"))
    module = module_from_spec(spec_from_loader("measure_code", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


def judge(script: ModuleType, root: Path, files: dict[str, str], allowed: dict[str, dict[str, int]]) -> list[str]:
    for name, text in files.items():
        (root / name).write_text(text)
    modules = [script.Module(root / name, root) for name in files]
    return script.judge(script.measure(modules), allowed)


OVER = {
    "a long module": ({"a.py": "x = 1\n" * 401}, "module-lines: a.py: 401"),
    "a long function": ({"a.py": "def f():\n" + "    x = 1\n" * 61}, "function-lines: a.py:f: 62"),
    "many parameters": ({"a.py": f"def f({PARAMETERS}): ...\n"}, "parameters: a.py:f: 9"),
    "a circle": ({"a.py": "import b\n", "b.py": "from a import x\n"}, "circle-modules: a b: 2"),
    "a name twice": ({"a.py": "class Gap: ...\n", "b.py": "Gap = int\n"}, "same-name-types: Gap: 2"),
}


@pytest.mark.parametrize(("files", "told"), OVER.values(), ids=OVER.keys())
def test_what_is_over_a_limit_fails(script: ModuleType, tmp_path: Path, files: dict[str, str], told: str) -> None:
    """One thing over one limit is one fault, which names it."""
    faults = judge(script, tmp_path, files, {})
    assert [fault.partition(", the limit")[0] for fault in faults] == [told]


def test_what_is_within_the_limits_passes(script: ModuleType, tmp_path: Path) -> None:
    """``self`` is no parameter, a docstring no line of a function, and a type checker's import no circle."""
    method = f'class A:\n    def f(self, {PARAMETERS.removesuffix(", p8")}):\n        """' + "\n" * 70 + '"""\n'
    only_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\n"
    assert judge(script, tmp_path, {"a.py": "import b\n" + method, "b.py": only_types}, {}) == []


EXCEPTIONS = {
    "as large as it was": (402, 402, []),
    "has grown": (401, 402, ["module-lines: a.py: 402, the limit is 401"]),
    "is no longer needed": (402, 400, ["module-lines: a.py: the exception is no longer needed (--tighten)"]),
}


@pytest.mark.parametrize(("allowed", "lines", "faults"), EXCEPTIONS.values(), ids=EXCEPTIONS.keys())
def test_exceptions_only_shrink(
    script: ModuleType, tmp_path: Path, allowed: int, lines: int, faults: list[str]
) -> None:
    """An exception covers what was there and no line more, and goes when it has done its time."""
    exceptions = {"module-lines": {"a.py": allowed}}
    assert judge(script, tmp_path, {"a.py": "x = 1\n" * lines}, exceptions) == faults


def test_tighten_lowers_and_drops(script: ModuleType) -> None:
    """``--tighten`` writes no value that is higher than before, and adds none."""
    found = {kind: {} for kind in script.LIMITS} | {"module-lines": {"a.py": 410, "b.py": 90, "c.py": 500, "d.py": 401}}
    text = script.tighten(found, {"module-lines": {"a.py": 420, "b.py": 410, "c.py": 450}})
    assert [line for line in text.splitlines() if "py" in line] == ['"a.py" = 410', '"c.py" = 450']


def test_commits_are_counted_twice(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and those since the script is there: what was before it cannot change."""

    def git(*words: str) -> None:
        names = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
        subprocess.run(["git", *names, "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "before")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "measure-code").write_text("")
    git("add", ".")
    git("commit", "-m", "script", "-m", "why")
    git("commit", "--allow-empty", "-m", "after", "-m", "why")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    assert script.measure_commits() == "33.3 %"
    assert script.measure_commits(f"{script.find_beginning()}..") == "0.0 %"


def test_where_there_is_no_history_it_is_said(script: ModuleType, tmp_path: Path, monkeypatch) -> None:
    """A source archive has none, and the table is printed all the same."""
    monkeypatch.setattr(script, "ROOT", tmp_path)
    assert script.measure_commits(f"{script.find_beginning()}..") == "no history here"

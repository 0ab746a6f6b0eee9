"""Empty each module in turn, and see that its test goes red: ``python -m tests.empty_modules [WORD…]``.

A module's test is the file that mirrors it, or the one that ``tests/module_tests.toml`` names. In a copy of the tree
every function of the module fails once the module is loaded: a test that imports it and calls nothing of it stays
green, and is printed. Of a module without functions nothing is left but its imports. ``--list`` shows modules and
tests; words pick those whose module holds them. ``--unseen`` tries the named tests that were never seen red, and
moves those that go red to the others.
"""

import ast
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.mutate_gate import ROOT, copy_tree, run_tests

NAMED = ROOT / "tests" / "module_tests.toml"


def list_modules() -> Iterator[str]:
    """Yield every module that holds more than a docstring, such as ``edge_agent/uplink/store/schema.py``."""
    for path in sorted((ROOT / "edge_agent").rglob("*.py")):
        if len(ast.parse(path.read_text()).body) > 1:
            yield path.relative_to(ROOT).as_posix()


def mirror(module: str) -> str:
    """Return where a module's own test file lies, if it has one."""
    path = Path(module)
    return Path("tests", *path.parts[1:-1], f"test_{path.stem.strip('_')}.py").as_posix()


def read_named() -> dict[str, dict[str, str]]:
    """Return the test of each module that no file mirrors: those that were ``seen`` red, and those ``unseen``."""
    return tomllib.loads(NAMED.read_text())


def note_red(module: str) -> None:
    """Move a module's named test to those that were seen red; a mirror image is not in the list."""
    text, named = NAMED.read_text(), read_named()
    if module in named["unseen"]:
        named["seen"][module] = named["unseen"].pop(module)
        NAMED.write_text(text[: text.index("[")] + "\n".join(map(_write, named.items())))


def _write(part: tuple[str, dict[str, str]]) -> str:
    name, tests = part
    return f"[{name}]\n" + "".join(f'"{module}" = "{test}"\n' for module, test in sorted(tests.items()))


def find_tests() -> dict[str, str]:
    """Return the test of each module: its mirror image, else the named one, else an empty text."""
    named = read_named()
    tests = named["seen"] | named["unseen"]
    return {
        module: mirror(module) if (ROOT / mirror(module)).is_file() else tests.get(module, "")
        for module in list_modules()
    }


def empty(text: str) -> str:
    """Return a module that loads, and whose every function fails after that; without functions, its imports alone."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not functions:
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        return ast.unparse(ast.Module(imports, []))
    fail = ast.parse('if globals().get("_is_emptied"):\n    raise NotImplementedError("emptied")').body
    for function in functions:
        function.body = [*fail, *function.body]
    starts = [number for number, node in enumerate(tree.body) if isinstance(node, ast.If)]
    at = starts[-1] if starts and "__main__" in ast.unparse(tree.body[starts[-1]].test) else len(tree.body)  # type: ignore[attr-defined]
    tree.body[at:at] = ast.parse("_is_emptied = True").body
    return ast.unparse(ast.fix_missing_locations(tree))


def notices(folder: Path, module: str, test: str) -> bool:
    """Empty a module of the copy, run its test, put the text back; return whether it went red."""
    path = folder / module
    text = path.read_text()
    path.write_text(empty(text))
    try:
        return bool(run_tests(folder, [test]))
    except SystemExit as error:
        # Another module needs it while it is loaded itself: pytest does not even come to its tests (exit code 4).
        if "ImportError while loading conftest" in str(error):
            return True
        print(error, flush=True)
        return False
    finally:
        path.write_text(text)


def choose(words: list[str]) -> dict[str, str]:
    """Return modules and tests that the words pick.

    Raises:
        SystemExit: There are none.
    """
    if words == ["--unseen"]:
        return read_named()["unseen"]
    tests = {module: test for module, test in find_tests().items() if all(word in module for word in words)}
    if not tests:
        raise SystemExit(f"no module is called {' '.join(words)!r}")
    return tests


def main(words: list[str]) -> int:
    """Try all modules, or those that the words pick."""
    if words == ["--list"]:
        print("\n".join(f"{module} {test}" for module, test in find_tests().items()))
        return 0
    tests, survivors = choose(words), []
    with tempfile.TemporaryDirectory(prefix="emptied-") as temporary:
        folder = Path(temporary)
        copy_tree(folder)
        for module, test in tests.items():
            began_s, is_red = time.monotonic(), bool(test) and notices(folder, module, test)
            print(f"{'red  ' if is_red else 'GREEN'} {module} {test} ({time.monotonic() - began_s:.0f} s)", flush=True)
            if is_red:
                note_red(module)
            else:
                survivors.append(module)
    print(f"modules: {len(tests)}, not noticed: {len(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

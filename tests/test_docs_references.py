"""What the documents and the code refer to is there, and prose has lines that a terminal shows whole."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_COLUMNS = 100

_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
_DOCUMENT = re.compile(r"\bdocs/[A-Za-z0-9_/.-]*[A-Za-z0-9]\.(?:md|json)\b")
_PATH = re.compile(r"`((?:edge_agent|tests|scripts|bench|config|systemd|package|docs)/[A-Za-z0-9_./-]*)`")
_NAME_IN_PATH = re.compile(r"`([A-Za-z_.]+)`(?:\s+(?:in|of))?\s+`(edge_agent/[a-z_/]+\.py)`")
_ADR = re.compile(r"\bADR (\d{4})\b")
_TEXT = {".md", ".py", ".yaml", ".cfg", ".toml", ".service", ".timer", ".target", ".sh", ".js", ".html", ""}


def tracked() -> list[Path]:
    """Return the files of this tree, as git has them, or all but what is generated."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    names = [ROOT / name for name in listed.decode().split("\0") if name]
    if not names:
        names = [path for top in ("docs", "edge_agent", "tests", "scripts") for path in (ROOT / top).rglob("*")]
    return [path for path in names if path.is_file() and path.suffix in _TEXT and path.resolve() != Path(__file__)]


FILES = {path.relative_to(ROOT).as_posix(): path.read_text(errors="replace") for path in tracked()}
DOCUMENTS = {name: text for name, text in FILES.items() if name.endswith(".md")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name: str) -> None:
    """Every relative link of a document names a file or folder beside it."""
    folder = (ROOT / name).parent
    assert [link for link in _LINK.findall(DOCUMENTS[name]) if not (folder / link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_in_documents_are_there(name: str) -> None:
    """Every file or folder of the tree that a document names is there."""
    assert [path for path in _PATH.findall(DOCUMENTS[name]) if not (ROOT / path).exists()] == []


def test_names_in_the_architecture_are_where_it_says() -> None:
    """Every function, class or constant that the map of the code places in a module is defined there."""
    placed = _NAME_IN_PATH.findall(DOCUMENTS["docs/architecture.md"])
    assert len(placed) >= 15
    assert [
        (name, path)
        for name, path in placed
        if not re.search(rf"(?:def|class) {(last := name.rpartition('.')[2])}\b|^{last}\b", FILES[path], re.MULTILINE)
    ] == []


def test_documents_that_are_named_are_there() -> None:
    """Code, configuration and documents refer to no document that is not here."""
    named = {(name, path) for name, text in FILES.items() for path in _DOCUMENT.findall(text)}
    assert sorted((name, path) for name, path in named if not (ROOT / path).exists()) == []


def test_decisions_that_are_named_are_there() -> None:
    """Every number of a decision that is referred to has its file."""
    have = {path.name[:4] for path in (ROOT / "docs" / "adr").glob("[0-9]*.md")}
    assert sorted({(name, adr) for name, text in FILES.items() for adr in _ADR.findall(text) if adr not in have}) == []


def test_the_index_of_decisions_is_complete() -> None:
    """``docs/adr/README.md`` lists every decision once, by its own title."""
    files = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    titles = [re.sub(r"^# (\d{4}):? ", rf"- [\1]({path.name}) ", path.read_text().split("\n", 1)[0]) for path in files]
    index = (ROOT / "docs" / "adr" / "README.md").read_text().split("\n- ")[1:]
    assert [f"- {' '.join(entry.split())}" for entry in index] == titles


def test_the_architecture_names_every_package() -> None:
    """The tree of ``docs/architecture.md`` has each package once, and no other."""
    rows = re.findall(r"^\| `(edge_agent/[a-z_/]+)` \|", DOCUMENTS["docs/architecture.md"], re.MULTILINE)
    packages = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "edge_agent").rglob("__init__.py")}
    assert sorted(rows) == sorted(packages - {"edge_agent"})


def test_the_architecture_draws_the_layers_that_are_checked() -> None:
    """The picture of what may import what is that of ``.importlinter``."""
    contract = (ROOT / ".importlinter").read_text().partition("contract:layers]")[2].partition("\n\n")[0]
    layers = [set(re.findall(r"\w+", line)) for line in contract.partition("layers =\n")[2].splitlines()]
    block = DOCUMENTS["docs/architecture.md"].partition("## What may import what")[2].split("```")[1]
    drawn = [set(re.findall(r"\w+", line.split("   ")[0])) for line in block.strip().splitlines()]
    ground = set.union(*layers[-2:])
    assert drawn[:-1] == layers[:-2]
    assert set(re.findall(r"\w+", block.strip().splitlines()[-1].partition(": ")[2])) == ground


def test_names_in_the_architecture_are_in_their_files() -> None:
    """If the page says "`name` in `file`", the file defines that name."""
    text = " ".join(DOCUMENTS["docs/architecture.md"].split())
    named = re.findall(r"`(\w+(?:\.\w+)?)`(?: and `(\w+(?:\.\w+)?)`)? (?:in|of) `(edge_agent/[\w/]+\.py)`", text)
    pairs = [(name.rpartition(".")[2], path) for first, second, path in named for name in (first, second) if name]
    assert len(pairs) > 10
    defined = {path: set(re.findall(r"(?:def|class) (\w+)|^(\w+)(?:: .*)? = ", FILES[path], re.M)) for _, path in pairs}
    assert [(name, path) for name, path in pairs if not any(name in each for each in defined[path])] == []


def long_lines(text: str) -> list[str]:
    """Return the lines of prose that are too long: no table, no block of code."""
    found, is_code = [], False
    for line in text.splitlines():
        is_code ^= line.lstrip().startswith("```")
        is_table = line.lstrip().startswith("|")
        if not is_code and not is_table and len(line) > MOST_COLUMNS and " " in line.strip():
            found.append(line)
    return found


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_prose_fits_a_terminal(name: str) -> None:
    """No line of prose has more than 100 columns."""
    assert long_lines(DOCUMENTS[name]) == []

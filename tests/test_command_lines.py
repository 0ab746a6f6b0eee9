"""Every command that the documents, the examples in helps and the hints of errors name is one that the parser knows."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import cli
from edge_agent.errors import UsageError
from edge_agent.host.command_line import print_error
from edge_agent.rtcc import cli as rtcc_cli

ROOT = Path(__file__).parents[1]
PARSERS = {"edge-agent": cli.build_parser(), "rtcc": rtcc_cli.build_parser()}
TEXTS = [
    *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/*.yaml"), *ROOT.glob("systemd/*"),
    *ROOT.glob("edge_agent/**/*.py"),
]  # fmt: skip
# In a sentence a command stands between backticks; in a block, an example or a unit it begins the line.
SPOKEN = re.compile(r"`(?:sudo )?((?:edge-agent|rtcc) [^`\n]+)`")
TYPED = re.compile(r"^\s*(?:sudo |ExecStart=\S*/)?((?:edge-agent|rtcc) [a-z].*)$", re.MULTILINE)
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def find_commands(path: Path) -> Iterator[str]:
    """Yield every command of a text, without what the shell takes from it and without what explains it."""
    text = path.read_text()
    found = SPOKEN.findall(text)
    typed = "".join(BLOCK.findall(text)) if path.suffix == ".md" else text
    found += TYPED.findall(re.sub(r"\s*\\+\n\s*", " ", typed))
    for line in found:
        if "edge-agent example" not in line:  # seeds of the keys in FORMAT's vectors
            yield re.split(r"\s(?:#|\||\d?[<>]|&&?|\.\.\.|\s)", line + " ")[0].strip()


COMMANDS = sorted({(str(path.relative_to(ROOT)), command) for path in TEXTS for command in find_commands(path)})


def check(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Follow the words down the parsers; KeyError for a command, an option or an argument that is not known."""
    options = parser._option_string_actions
    places = [action for action in parser._actions if not action.option_strings]
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":
            name, _, value = word.partition("=")
            takes_value = options[name].nargs != 0
            if takes_value and not value and words:
                words.pop(0)
            continue
        place = places[0] if places else None
        if place is None:
            raise KeyError(word)
        if isinstance(place, argparse._SubParsersAction):
            if word.isupper():
                return None  # any of them
            return check(place.choices[word], words)
        if place.nargs not in ("*", "+"):
            places.pop(0)
    return None


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_command_is_one(path: str, command: str) -> None:
    """Its words are commands, options and arguments of the parser; what stands for a value is not judged."""
    program, *words = shlex.split(command)
    check(PARSERS[program], words)


def test_commands_are_found_where_they_are() -> None:
    """The texts that people read first are among those searched."""
    found = {path for path, _ in COMMANDS}
    assert {"README.md", "docs/rtcc.md", "docs/ledger.md", "edge_agent/cli.py"} <= found
    assert len(COMMANDS) > 100


def test_only_the_command_that_was_typed_is_imported() -> None:
    """Whatever the others need stays out of a recorder's memory, and out of the time that a help takes."""
    look = "import sys; print(*sorted(name for name in sys.modules if name.startswith('edge_agent.commands.')))"
    for words, imported in ({("record",): "daemon", ("--help",): "", ("nonsense",): ""}).items():
        program = f"from edge_agent.cli import build_parser; build_parser({words!r}); {look}"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert [name.rpartition(".")[2] for name in done.stdout.split()] == imported.split()


@pytest.mark.parametrize("module", [cli, rtcc_cli], ids=["edge-agent", "rtcc"])
def test_a_bare_command_prints_its_help(module, capsys) -> None:
    """Whoever types the name alone is told what there is, and nothing went wrong."""
    assert module.main([]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: ")
    assert shown.err == ""


IDS = ["-" + "a" * 21, "-h" + "b" * 20, "--" + "c" * 20, "-" + "d" * 42]


@pytest.mark.parametrize("text", IDS)
def test_an_id_that_begins_with_a_hyphen_is_an_id(text: str) -> None:
    """One random id in 64 begins as an option does; it is taken as it is, wherever it stands."""
    parse = PARSERS["rtcc"].parse_args
    assert parse(["open", text]).what == text
    assert parse(["open", "--json", text]).what == text
    assert parse(["open", "--file", "x", "--gateway", text, "--pin", text]).pin == [text]


def test_a_file_that_cannot_be_used_is_an_error_in_words(tmp_path, capsys):
    """The system's own words and the file, no traceback; a broken pipe and a prompt's end stay what they are."""
    (tmp_path / "key.txt").write_text("AGE-SECRET-KEY-1")
    (tmp_path / "case.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "out").write_bytes(b"")
    words = ["open", "--file", str(tmp_path / "case.zip"), "--out", str(tmp_path / "out")]
    assert rtcc_cli.main(words) == 74
    assert capsys.readouterr().err == f"rtcc: error: {tmp_path / 'out'}: File exists\n"


def test_an_error_is_not_wider_than_the_terminal(monkeypatch, capsys):
    """Each line of an error and its hint is wrapped for a person; into a pipe it stays whole."""
    error = UsageError("a.yaml:1: " + "some words " * 20 + "\na.yaml:2: " + "some words " * 20, "a hint " * 30)
    print_error("edge-agent", error)
    assert len(capsys.readouterr().err.splitlines()) == 3
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    print_error("edge-agent", error)
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines).split()) == " ".join(
        f"edge-agent: error: {error} edge-agent: hint: {error.hint}".split()
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_no_help_is_wider_than_the_terminal(monkeypatch, columns: int) -> None:
    """Property: prose and examples of every help fit, at a terminal's width and at 80 columns into a pipe."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for program, parser in PARSERS.items():
        for name, each in _helps(program, parser):
            wide = [line for line in each.format_help().splitlines() if len(line) > columns and " " in line.strip()]
            assert wide == [], name


def _helps(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, each in action.choices.items():
                yield from _helps(f"{name} {word}", each)

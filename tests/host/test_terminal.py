"""What a command prints: into a pipe for scripts, on a terminal for a person."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from edge_agent.host.terminal import Progress, is_fitted, print_json, print_table, print_text, working

Captured = pytest.CaptureFixture[str]
LONG = "word " * 40
PLAIN = "os.environ['NO_COLOR'] = '1'; "


def on_terminal(program: str) -> str:
    """Return what a program shows on a terminal of 40 columns."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        try:
            run(program, stdout=theirs, stderr=theirs)
        finally:
            os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed, and all was read
            while part := screen.read(65536):
                shown += part
    return shown.decode().replace("\r\n", "\n")


def run(program: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    environment = {"COLUMNS": "40", "TERM": "xterm-256color", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", f"import os\nfrom edge_agent.host.terminal import *\n{program}"]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, text=True, start_new_session=True, timeout=60, check=False,
        **streams,
    )  # fmt: skip


def test_pipe_gets_whole_lines(capsys: Captured):
    """A script reads one line for each row and paragraph, however long."""
    print_text(f"{LONG}\n\nend", indent=2, style="bold red")
    print_table(("name", "words"), [("a", LONG), ("longer", 2)])
    assert not is_fitted()
    assert capsys.readouterr().out == (
        f"  {LONG}\n\n  end\nname    words\na       {LONG.rstrip()}\nlonger  2\n"
    )  # fmt: skip


def test_json_is_sorted_and_in_the_letters_of_its_language(capsys: Captured):
    print_json({"b": "é", "a": 1})
    shown = capsys.readouterr().out
    assert shown.index('"a"') < shown.index('"b"')
    assert "é" in shown
    assert json.loads(shown) == {"a": 1, "b": "é"}


def test_terminal_gets_lines_of_its_width():
    """Text behind a mark stays behind it; a table's last column is folded."""
    shown = on_terminal(f"{PLAIN}print_text('- {LONG}'); print_table(('name', 'words'), [('a', {LONG!r})])")
    lines = shown.rstrip().split("\n")
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("- word")
    assert lines[1].startswith("  word")
    assert shown.count("word") >= 2 * 40
    assert "\x1b" not in shown


def test_colour_is_shown_unless_it_is_refused():
    """NO_COLOR, as its page says: set, and not empty."""
    program = "print_text('wrong', style='bold red')"
    assert "\x1b[" in on_terminal(program)
    assert "\x1b[" in on_terminal(f"os.environ['NO_COLOR'] = ''; {program}")
    assert on_terminal(PLAIN + program) == "wrong\n"


def test_passphrase_is_asked_for_at_a_terminal_only():
    """Elsewhere it would be shown, or wait for ever; a script is told what to do."""
    done = run("ask_secret('Your passphrase: ')", capture_output=True)
    assert "UsageError: Your passphrase: asked for at a terminal only" in done.stderr


def test_progress_in_a_pipe_is_a_line_now_and_then(capsys: Captured):
    """To stderr, and the end is always told."""
    progress = Progress("reading", 10)
    for amount in range(11):
        progress.update(amount)
    with working("reading"):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err
    assert captured.err.count("\n") <= 2

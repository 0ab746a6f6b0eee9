"""The output of a command: tables, JSON, progress. Data to stdout; progress, errors and hints to stderr.

On a terminal text is wrapped at its width by rich, which keeps NO_COLOR's rules; into a pipe
every line stays whole, for scripts. No module that the two processes import may import this one: they need no rich.
"""

import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from getpass import GetPassWarning, getpass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edge_agent.errors import UsageError

_BAR_WIDTH = 30
_LEAD = re.compile(r" *(?:[-*+~…✓] |[0-9]+[.] )? *")
_REDRAW_S = 0.2
"""Seconds between two drawings of a bar."""
_PLAIN_S = 5.0
"""Seconds between two lines in a pipe."""


def print_json(value: Any) -> None:
    """Print a value as indented JSON with sorted members."""
    print(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print left-aligned columns, two spaces apart; the last is not padded in a pipe, and wrapped on a terminal."""
    if is_fitted():
        _print_fitted_table(header, [[str(cell) for cell in row] for row in rows])
        return
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def is_fitted() -> bool:
    """Tell whether lines are to fit into a width: a person reads them."""
    return sys.stdout.isatty()


def print_text(text: str, indent: int = 0, style: str = "", hang: int = 0) -> None:
    """Print paragraphs, one a line, each wrapped at the terminal's width if there is one.

    A line's own blanks in front hold for all of its wrapped lines. Text behind a mark such as ``- `` stays behind it;
    so does text behind a mark of ``hang`` letters. ``style`` is one of rich's, such as ``bold red``; shown at a
    terminal only, and not if ``NO_COLOR`` is set. It repeats what the words say: nothing depends on seeing it.
    """
    if not is_fitted():
        for line in text.split("\n"):
            print(" " * indent + line if line else "")
        return
    console = _console()
    for line in text.split("\n"):
        found = _LEAD.match(line)
        width = max(hang, len(found[0]) if found else 0)
        lead, rest = line[:width], line[width:]
        if not line:
            print()
            continue
        if not rest or indent + width > console.width // 2:
            console.print(Padding(Text(line, style=style), (0, 0, 0, indent), expand=False))
            continue
        first, *others = Text(rest, style=style).wrap(console, console.width - indent - width)
        console.print(Text(" " * indent + lead, style=style) + first)
        for other in others:
            console.print(Text(" " * (indent + width)) + other)


def ask_secret(prompt: str) -> str:
    """Ask for a passphrase at the terminal, without showing it.

    Raises:
        UsageError: There is no terminal: it would be shown, or would wait indefinitely.
        EOFError: The input has ended.
    """
    with warnings.catch_warnings():
        # Without a terminal ``getpass`` warns, and then shows what is typed: the warning is made an
        # error.
        warnings.simplefilter("error", GetPassWarning)
        try:
            return getpass(prompt)
        except GetPassWarning:
            asked = prompt.rstrip(": ")
            raise UsageError(f"{asked}: asked for at a terminal only", "in a script: --passphrase-file FILE") from None


@contextmanager
def working(label: str) -> Iterator[None]:
    """Show, for the time of the block, that something is going on: a moving mark at a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    console = Console(stderr=True, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    with console.status(f"{label} …"):
        yield


def _console() -> Console:
    """Return where text goes: without any escape sequence if ``NO_COLOR`` is set and not empty (no-color.org)."""
    return Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def _print_fitted_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in header[:-1]:
        table.add_column(Text(name), overflow="fold", min_width=min(8, max((len(name), 1))))
    table.add_column(Text(header[-1]), overflow="fold", ratio=1)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _console().print(table)


class Progress:
    """A bar on a terminal, a plain line every five seconds elsewhere; to stderr.

    Args:
        label: The work that goes on.
        total: The amount that means done, in any unit, at least 1.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = max(1, total)
        self._is_terminal = sys.stderr.isatty()
        self._last_s = 0.0

    def update(self, amount: int) -> None:
        """Show how far it is; cheap to call often."""
        now_s = time.monotonic()
        if now_s - self._last_s < (_REDRAW_S if self._is_terminal else _PLAIN_S) and amount < self._total:
            return
        self._last_s = now_s
        share = min(1.0, amount / self._total)
        if self._is_terminal:
            bar = "#" * round(share * _BAR_WIDTH)
            print(f"\r{self._label} [{bar:<{_BAR_WIDTH}}] {share:4.0%} \x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(f"{self._label}: {share:.0%}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar's line."""
        if self._is_terminal:
            print(file=sys.stderr)

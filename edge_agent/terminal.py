"""What a command prints: tables, JSON, progress. Data to stdout; progress, errors and hints to stderr."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from edge_agent.errors import EdgeAgentError

_BAR_WIDTH = 30
_REDRAW_S = 0.2
_PLAIN_S = 5.0


def print_json(value: Any) -> None:
    """Print a value as indented JSON with sorted members."""
    print(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print left-aligned columns, two spaces apart; the last column is not padded."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_error(prog: str, error: EdgeAgentError) -> None:
    """Print a command's error, and its hint where it has one, to stderr."""
    print(f"{prog}: error: {error}", file=sys.stderr)
    if error.hint:
        print(f"{prog}: hint: {error.hint}", file=sys.stderr)


class Progress:
    """A bar on a terminal, a plain line every five seconds elsewhere; to stderr.

    Args:
        label: What is going on.
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

"""What every benchmark needs: a process's time and memory, interleaved runs, their median, a table, an exit code."""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """One measured thing against its goal; smaller is better."""

    name: str
    value: float
    goal: float | None
    """None where there is none for this row."""
    unit: str = ""
    note: str = ""

    @property
    def is_met(self) -> bool:
        return self.goal is None or self.value <= self.goal


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def memory_mb(pid: int, name: str) -> float:
    """Return ``Rss`` or ``Pss`` of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    raise SystemExit(f"no {name} for {pid}")


def parse_arguments(name: str, description: str, extra: Sequence[str] = ()) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"scripts/bench {name}", description=description)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs of each; the median counts [%(default)s]")
    for option in extra:
        parser.add_argument(option, type=int, help="another number than is usual")
    return parser.parse_args()


def interleave(runs: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Run all contenders in turn, ``runs`` times; return the median of each."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            values[name].append(contender())
    return {name: statistics.median(each) for name, each in values.items()}


def report(name: str, args: argparse.Namespace, rows: Sequence[Row]) -> int:
    """Print the table and, last, the headline, which is the first row; return the exit code."""
    if args.json:
        print(json.dumps({"bench": name, "rows": [asdict(row) | {"met": row.is_met} for row in rows]}, indent=2))
    else:
        width = max(len(row.name) for row in rows)
        for row in rows:
            goal = "" if row.goal is None else f"goal {row.goal:<6g} {'ok' if row.is_met else 'MISSED'}"
            print(f"{row.name:<{width}}  {row.value:10.4g} {row.unit:<4} {goal:<18} {row.note}".rstrip())
        goal = "" if rows[0].goal is None else f", goal {rows[0].goal:g}"
        print(f"{name}: ratio {rows[0].value:.3g}{goal}")
    return int(args.check and not all(row.is_met for row in rows))

"""What every benchmark needs: what a process tree uses, alternating rounds and their spread, a table, an exit code.

A figure counts only if the machine was its own: a verdict is withheld if the peer itself varied by more than
``MOST_SPREAD``, if other processes took more than ``MOST_OTHERS`` of the processors, or if there were too few rounds.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2
"""Of Linux (posix-timers.h): of all threads of a process, the ended ones too, in nanoseconds."""
FEWEST_ROUNDS = 5
MOST_SPREAD, MOST_OTHERS = 0.15, 0.05
_EX_UNAVAILABLE, _EX_TEMPFAIL = 69, 75
PACKAGES = {"age": "age", "curl": "curl", "ffmpeg": "ffmpeg", "gocryptfs": "gocryptfs fuse3"}
"""Where a peer comes from, on Debian."""


@dataclass(frozen=True)
class Row:
    """One measured thing against its goal; smaller is better."""

    name: str
    value: float
    goal: float | None
    """None where there is none for this row."""
    unit: str = ""
    note: str = ""
    doubt: str = ""
    """Why nothing can be concluded from it; empty if something can."""

    @property
    def is_met(self) -> bool:
        return self.goal is None or self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one contender, round by round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """The distance of the largest from the smallest, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    def over(self, other: "Series") -> "Series":
        """Return the ratios, round by round."""
        return Series(tuple(ours / theirs for ours, theirs in zip(self.values, other.values, strict=True)))

    def __str__(self) -> str:
        return f"{min(self.values):.3g} to {max(self.values):.3g}"


@dataclass(frozen=True, slots=True)
class Rounds:
    """What alternating rounds found, and how much else the machine did meanwhile."""

    series: Mapping[str, Series]
    others: float
    """Share of all processors that processes outside of this benchmark took."""

    def __getitem__(self, name: str) -> Series:
        return self.series[name]

    def doubt(self, peer: str) -> str:
        """Return why there is no verdict against this peer; empty if there is one."""
        found = self.series[peer]
        doubts = [f"{len(found.values)} rounds"] if len(found.values) < FEWEST_ROUNDS else []
        doubts += [f"{peer} varied by {found.spread:.0%}"] if found.spread > MOST_SPREAD else []
        doubts += [f"others took {self.others:.0%} of the processors"] if self.others > MOST_OTHERS else []
        return ", ".join(doubts)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads included; 0 if there is none of that number.

    By the process's own clock (clock_getcpuclockid(3)): `/proc` counts in ticks of 10 ms, a sixth of what an ffmpeg
    takes in a round.
    """
    try:
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, of all that it has started, and of those of them that have ended."""
    return sum(cpu_s(each) + _ended_children_s(each) for each in tree(pid))


def _ended_children_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[13]) + int(fields[14])) * _TICK_S


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def memory_mb(pid: int, name: str) -> float:
    """Return ``Rss`` or ``Pss`` of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    raise SystemExit(f"no {name} for {pid}")


def tree_pss_mb(pid: int) -> float:
    """Return the memory of a process tree: what several of them share counts once."""
    return sum(memory_mb(each, "Pss") for each in tree(pid))


class OtherWork:
    """Counts what processes outside of this benchmark use."""

    def __init__(self) -> None:
        self._busy, self._all, self._own = self._read()

    def share(self) -> float:
        """Return their share of all processors since the beginning."""
        busy, everything, own = self._read()
        others = (busy - self._busy) * _TICK_S - (own - self._own)
        return max(0.0, others / max(_TICK_S, (everything - self._all) * _TICK_S))

    @staticmethod
    def _read() -> tuple[int, int, float]:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        user, nice, system, _idle, _wait, _irq, _softirq, steal = fields
        # Interrupts are left out: they are those of the contenders' own sockets.
        return user + nice + system + steal, sum(fields), tree_cpu_s(os.getpid())


def parse_arguments(name: str, description: str, extra: Sequence[str] = ()) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"scripts/bench {name}", description=description)
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 where a goal is missed, with 75 where there is no verdict"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs of each; the median counts [%(default)s]")
    for option in extra:
        parser.add_argument(option, type=int, help="another number than is usual")
    return parser.parse_args()


def demand_programs(name: str, *programs: str) -> None:
    """End the benchmark with a line that says what to install, unless all these programs are there."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join(PACKAGES.get(program, program) for program in missing)
        print(f"scripts/bench {name}: {', '.join(missing)} not found: apt-get install {packages}")
        raise SystemExit(_EX_UNAVAILABLE)


def alternate(runs: int, contenders: Mapping[str, Callable[[], float]]) -> Rounds:
    """Run all contenders ``runs`` times, every other round in the opposite order."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    other_work = OtherWork()
    for number in range(runs):
        for name in sorted(contenders, key=list(contenders).index, reverse=number % 2 == 1):
            values[name].append(contenders[name]())
    return Rounds({name: Series(tuple(each)) for name, each in values.items()}, other_work.share())


def interleave(runs: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Run all contenders in turn, ``runs`` times; return the median of each."""
    return {name: found.median for name, found in alternate(runs, contenders).series.items()}


def report(name: str, args: argparse.Namespace, rows: Sequence[Row]) -> int:
    """Print the table and, last, the headline, which is the first row; return the exit code."""
    if args.json:
        print(json.dumps({"bench": name, "rows": [asdict(row) | {"met": row.is_met} for row in rows]}, indent=2))
    else:
        width = max(len(row.name) for row in rows)
        for row in rows:
            verdict = "NO VERDICT" if row.doubt else "ok" if row.is_met else "MISSED"
            goal = "" if row.goal is None else f"goal {row.goal:<6g} {verdict}"
            note = f"{row.note} ({row.doubt})" if row.doubt else row.note
            print(f"{row.name:<{width}}  {row.value:10.4g} {row.unit:<4} {goal:<22} {note}".rstrip())
        goal = "" if rows[0].goal is None else f", goal {rows[0].goal:g}"
        print(f"{name}: ratio {rows[0].value:.3g}{goal}{', no verdict' if rows[0].doubt else ''}")
    if not args.check:
        return 0
    judged = [row for row in rows if row.goal is not None]
    if any(not row.is_met and not row.doubt for row in judged):
        return 1
    return _EX_TEMPFAIL if any(row.doubt for row in judged) else 0

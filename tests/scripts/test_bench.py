"""What all benchmarks stand on: whole process trees, spread, no verdict without a quiet machine, named peers."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure import FEWEST_ROUNDS, Rounds, Row, Series, alternate, report, tree, tree_cpu_s, tree_pss_mb

ROOT = Path(__file__).parents[2]
BUSY = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time\\nend = time.process_time() + 0.4\\nwhile time.process_time() < end: pass"]
subprocess.run(child)
subprocess.Popen([*child[:2], "import time; time.sleep(60)"])
print("ready", flush=True)
time.sleep(60)
"""


def test_what_children_use_counts_while_they_live_and_after() -> None:
    """A tree's CPU time holds that of children that have ended, and its memory that of those that live."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert len(tree(process.pid)) == 2
            assert tree_cpu_s(process.pid) >= 0.4
            assert tree_pss_mb(process.pid) > 4
        finally:
            for pid in reversed(tree(process.pid)):
                os.kill(pid, 9)


FIVE = Series((1.0, 1.02, 0.98, 1.01, 0.99))
DOUBTS = {
    "a quiet machine": (Rounds({"ours": FIVE, "ffmpeg": FIVE}, 0.02), ""),
    "a peer that varies": (Rounds({"ffmpeg": Series((1.0, 1.0, 1.0, 1.0, 1.2))}, 0.0), "ffmpeg varied by 20%"),
    "others at work": (Rounds({"ffmpeg": FIVE}, 0.4), "others took 40% of the processors"),
    "too few rounds": (Rounds({"ffmpeg": Series((1.0,) * (FEWEST_ROUNDS - 1))}, 0.0), "4 rounds"),
}


@pytest.mark.parametrize(("rounds", "doubt"), DOUBTS.values(), ids=DOUBTS.keys())
def test_verdict_is_withheld_from_a_busy_machine(rounds: Rounds, doubt: str) -> None:
    """Neither a goal met nor a goal missed is told of a measurement that means nothing."""
    assert rounds.doubt("ffmpeg") == doubt


EXITS = {
    "met": ([Row("a", 1.0, 2.0)], 0),
    "missed": ([Row("a", 3.0, 2.0)], 1),
    "missed in doubt": ([Row("a", 3.0, 2.0, doubt="4 rounds")], 75),
    "missed beside a doubt": ([Row("a", 3.0, 2.0, doubt="4 rounds"), Row("b", 3.0, 2.0)], 1),
    "no goal": ([Row("a", 3.0, None, doubt="4 rounds")], 0),
}


@pytest.mark.parametrize(("rows", "code"), EXITS.values(), ids=EXITS.keys())
def test_exit_tells_missed_from_unknown(rows: list[Row], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """``--check`` fails for a goal that is missed, and says otherwise that there is no verdict."""
    assert report("x", argparse.Namespace(json=False, check=True), rows) == code
    assert ("NO VERDICT" in capsys.readouterr().out) == any(row.doubt and row.goal for row in rows)


def test_rounds_alternate() -> None:
    """Every other round runs the contenders in the opposite order, so that neither is always second."""
    order: list[str] = []

    def contender(name: str) -> float:
        order.append(name)
        return 1.0

    alternate(3, {name: lambda name=name: contender(name) for name in ("a", "b")})  # type: ignore[misc]
    assert "".join(order) == "abbaab"


@pytest.mark.parametrize("name", ["recorder", "release", "export"])
def test_missing_peer_is_named(name: str) -> None:
    """Without the peer there is one line that says what to install, and no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}"], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 69
    assert "apt-get install ffmpeg" in done.stdout.splitlines()[0]
    assert done.stderr == ""

"""The camera that makes the recorder fall over is held back on its own; no other end accuses anybody."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.recording.crash_suspects import FORGET_NS, LONGEST_HOLD_NS, CrashSuspects, find_suspect
from edge_agent.units import MINUTE_NS
from tests.support.fakes import FakeClock

BOOT_ID = bytes(range(16))

# Two streams whose threads wait; the second one receives the signal, as one that calls abort() does.
_PROCESS = """
import os, signal, sys, threading, time
from pathlib import Path
from edge_agent.host.clock import SystemClock
from edge_agent.recording.crash_suspects import CrashSuspects
folder, number = Path(sys.argv[1]), int(sys.argv[2])
crash_suspects = CrashSuspects(folder / "crash", folder / "strikes.json", SystemClock(), bytes(range(16)))
crash_suspects.start()
for name in ("yard.main", "door.main", "gate.main"):
    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    thread.start()
    crash_suspects.watch(name, thread.ident)
    if name == "door.main":
        door = thread.ident
if number == signal.SIGKILL:
    os.kill(os.getpid(), number)
if number:
    signal.pthread_kill(door, number)
    time.sleep(10)
crash_suspects.close()
"""


def end_by(folder: Path, number: int) -> int:
    return subprocess.run([sys.executable, "-c", _PROCESS, str(folder), str(number)], timeout=60).returncode


def start_after(folder: Path, clock: FakeClock, boot_id: bytes = BOOT_ID) -> CrashSuspects:
    crash_suspects = CrashSuspects(folder / "crash", folder / "strikes.json", clock, boot_id)
    crash_suspects.start()
    crash_suspects.close()
    return crash_suspects


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGBUS])
def test_thread_that_got_the_fatal_signal_is_the_culprit(tmp_path: Path, number: signal.Signals) -> None:
    """Of three cameras that all wait in the same call, the one whose thread died is held back, for a minute."""
    assert end_by(tmp_path, number) == -number
    clock = FakeClock()
    crash_suspects = start_after(tmp_path, clock)
    assert [crash_suspects.is_held_back(f"{camera}.main") for camera in ("yard", "door", "gate")] == [
        False,
        True,
        False,
    ]
    assert crash_suspects.facts("door.main")["crashes"] == 1
    clock.advance(MINUTE_NS)
    assert not crash_suspects.is_held_back("door.main")


@pytest.mark.parametrize("number", [0, signal.SIGKILL], ids=["clean end", "killed from outside"])
def test_other_ends_accuse_nobody(tmp_path: Path, number: int) -> None:
    """Neither a clean stop nor a kill from outside holds a camera back."""
    end_by(tmp_path, number)
    crash_suspects = start_after(tmp_path, FakeClock())
    assert not any(crash_suspects.is_held_back(f"{camera}.main") for camera in ("yard", "door", "gate"))


def strike(folder: Path, clock: FakeClock) -> CrashSuspects:
    (folder / "crash").write_text(
        "stream 0x7f01 yard.main\nstream 0x7f02 door.main\nFatal Python error: Aborted\n\n"
        "Thread 0x00007f01 (most recent call first):\n\nCurrent thread 0x00007f02 (most recent call first):\n"
    )
    return start_after(folder, clock)


def test_hold_grows_to_an_hour_and_is_forgotten_after_a_day(tmp_path: Path) -> None:
    """Each further crash doubles the hold; a good day begins anew."""
    clock = FakeClock()
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        crash_suspects = strike(tmp_path, clock)
        clock.advance(minutes * MINUTE_NS - 1)
        assert crash_suspects.is_held_back("door.main")
        clock.advance(1)
        assert not crash_suspects.is_held_back("door.main")
    clock.advance(FORGET_NS - LONGEST_HOLD_NS)
    assert strike(tmp_path, clock).facts("door.main")["crashes"] == 1


def test_hold_outlives_a_restart_but_not_the_boot(tmp_path: Path) -> None:
    """A restart for another reason does not end the hold; a new boot does, and remembers the strikes."""
    clock = FakeClock()
    strike(tmp_path, clock)
    assert start_after(tmp_path, clock).is_held_back("door.main")
    rebooted = start_after(tmp_path, clock, boot_id=bytes(16))
    assert not rebooted.is_held_back("door.main")
    assert rebooted.facts("door.main")["crashes"] == 1


@pytest.mark.parametrize("content", ["", "no strikes", "[]", json.dumps({"door.main": [1]})])
def test_damaged_strikes_hold_nobody_back(tmp_path: Path, content: str) -> None:
    """What cannot be read is forgotten; recording goes on."""
    (tmp_path / "strikes.json").write_text(content)
    assert not start_after(tmp_path, FakeClock()).is_held_back("door.main")


def test_thread_of_no_stream_accuses_nobody() -> None:
    """A crash of the recorder's own threads is nobody's fault."""
    assert find_suspect("stream 0x1 door.main\nCurrent thread 0x2 (most recent call first):\n") is None
    assert find_suspect("stream 0x1 door.main\nCurrent thread 0x0001 [door] (most recent call first):\n") == "door.main"

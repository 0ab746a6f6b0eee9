"""``edge-agent run`` as the watcher of two processes: those that end, those that hang, those that are well."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.supervisor import PROCESSES, START_TIMEOUT_S, WATCHDOG_S, Watched, open_line

_SAY = """
import signal, sys, time
from edge_agent.host.systemd_notify import Notifier
notifier = Notifier()
"""
READY_THEN_SILENT = _SAY + "notifier.ready(); time.sleep(60)"
BEATS = _SAY + "notifier.ready()\nfor n in range(6000): notifier.alive(n * 10**12); time.sleep(0.01)"
SILENT = "import time; time.sleep(60)"


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[str], Watched]]:
    made = []

    def start(code: str) -> Watched:
        line = open_line(tmp_path, f"line{len(made)}")
        made.append(Watched("record", [sys.executable, "-c", code], line))
        return made[-1]

    yield start
    for watched in made:
        watched.line.close()
        if watched.process is not None:
            os.killpg(watched.process.pid, signal.SIGKILL)
            watched.process.wait(10)


def step_until(watched: Watched, now_s: float, condition: Callable[[], bool]) -> None:
    """Let real time pass, but not the watcher's."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        watched.step(now_s)
        time.sleep(0.01)


def heard(watched: Watched, now_s: float) -> Callable[[], bool]:
    return lambda: watched.silent_until_s == now_s + WATCHDOG_S


def test_process_that_falls_silent_is_killed_and_started_again(watch: Callable[[str], Watched]) -> None:
    """Ready once, and then nothing for longer than the watchdog allows."""
    watched = watch(READY_THEN_SILENT)
    watched.step(0)
    first = watched.process
    step_until(watched, 1, heard(watched, 1))
    watched.step(1 + WATCHDOG_S)
    assert first is not None
    assert first.poll() is None, "killed although it has time until then"
    step_until(watched, 1.1 + WATCHDOG_S, lambda: watched.process is None)
    assert first.returncode == -signal.SIGKILL
    watched.step(watched.start_at_s)
    assert watched.process not in (None, first)


def test_process_that_never_gets_ready_is_killed(watch: Callable[[str], Watched]) -> None:
    """A start may take longer than a pause between two beats, but not indefinitely."""
    watched = watch(SILENT)
    watched.step(0)
    watched.step(START_TIMEOUT_S)
    assert watched.process is not None
    assert watched.process.poll() is None
    step_until(watched, START_TIMEOUT_S + 0.1, lambda: watched.process is None)


def test_process_that_says_so_is_left_alone(watch: Callable[[str], Watched]) -> None:
    """Every beat counts from when it is heard."""
    watched = watch(BEATS)
    watched.step(0)
    for now_s in (1.0, 1 + WATCHDOG_S, 1 + 2 * WATCHDOG_S, 1 + 3 * WATCHDOG_S):
        step_until(watched, now_s, heard(watched, now_s))
    assert watched.process is not None
    assert watched.process.poll() is None


def test_watcher_that_slept_blames_nobody(watch: Callable[[str], Watched]) -> None:
    """After a gateway's nap every process gets the whole time again."""
    watched = watch(READY_THEN_SILENT)
    watched.step(0)
    step_until(watched, 1, heard(watched, 1))
    watched.forgive(1000)
    watched.step(1000)
    assert watched.process is not None
    assert watched.process.poll() is None


def test_watchdog_of_a_watcher_above_is_not_handed_down(
    watch: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under systemd this process has a WATCHDOG_PID, which would silence its children."""
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    watched = watch(BEATS)
    watched.step(0)
    step_until(watched, 1, heard(watched, 1))
    step_until(watched, 2, heard(watched, 2))


@pytest.mark.parametrize("code", [os.EX_CONFIG, os.EX_NOPERM, os.EX_USAGE])
def test_what_starting_again_cannot_mend_is_final(code: int, watch: Callable[[str], Watched]) -> None:
    """A wrong configuration is not tried a thousand times."""
    watched = watch(f"raise SystemExit({code})")
    watched.step(0)
    step_until(watched, 1, lambda: watched.gave_up)


def test_pauses_between_starts_double(watch: Callable[[str], Watched]) -> None:
    """One second, two, four: up to a minute."""
    watched = watch("raise SystemExit(1)")
    now_s, pauses = 0.0, []
    for _ in range(8):
        watched.step(now_s)
        step_until(watched, now_s, lambda: watched.process is None)
        pauses.append(watched.start_at_s - now_s)
        now_s = watched.start_at_s
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_patience_is_that_of_the_units() -> None:
    """What systemd would leave alone is not killed by `edge-agent run`."""
    folder = Path(__file__).parent.parent / "systemd"
    for command, watchdog_s in PROCESSES.items():
        unit = (folder / f"edge-agent-{command.removesuffix('e')}er.service").read_text()
        assert f"WatchdogSec={watchdog_s:.0f}\n" in unit
        assert f"TimeoutStartSec={START_TIMEOUT_S:.0f}\n" in unit
        assert f"edge-agent {command} --config" in unit


def test_process_for_browsers_runs_while_its_settings_are_there(
    watch: Callable[[str], Watched], tmp_path: Path
) -> None:
    """`edge-agent run` starts page and desk when `page on` was typed, anew when the settings change, and ends them."""
    watched = watch("import time; time.sleep(60)")
    watched.wanted_by = tmp_path / "settings.json"
    watched.step(0.0)
    assert watched.process is None
    watched.wanted_by.write_text("{}")
    watched.step(1.0)
    first = watched.process
    assert first is not None
    os.utime(watched.wanted_by, ns=(1, 1))
    step_until(watched, 2.0, lambda: watched.process is None)
    step_until(watched, 10.0, lambda: watched.process is not None)
    second = watched.process
    watched.wanted_by.unlink()
    step_until(watched, 200.0, lambda: watched.process is None)
    assert second is not None
    watched.step(300.0)
    assert watched.process is None

"""``scripts/demo``: where it works, and that nothing is left of it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo.broker import find_mosquitto
from edge_agent.errors import UnavailableError

COMMAND = [sys.executable, "-m", "edge_agent.demo"]


@pytest.fixture
def short() -> Iterator[Path]:
    # pytest's own folders are too deep for Unix sockets.
    with tempfile.TemporaryDirectory(prefix="ed-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def processes_in(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It has just ended.
        if str(folder) in words:
            found.append(words)
    return found


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("SIGINT", "start the city"),
        ("SIGINT", "start the recorder"),
        ("SIGTERM", "record 15 s"),
        ("SIGHUP", "record 15 s"),
    ],
)
def test_stopped_demonstration_leaves_nothing(short: Path, name: str, step: str) -> None:
    """Whatever ends it, and however often somebody presses Ctrl-C: no process, no folder, and it says so."""
    try:
        find_mosquitto()
    except UnavailableError as error:
        pytest.skip(f"{error}: {error.hint}")
    folder = short / "demo"
    with subprocess.Popen(
        [*COMMAND, "--seconds", "15", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Under nohup a process is born deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 (no lock is taken)
    ) as process:
        assert process.stdout is not None
        assert any(step in line for line in process.stdout)
        os.killpg(process.pid, signal.Signals[name])
        os.killpg(process.pid, signal.Signals[name])
        said = process.stdout.read()
        assert process.wait(30) == 130
    assert "nothing is left running" in said
    assert "Traceback" not in said
    assert processes_in(folder) == []
    assert not folder.exists()


def too_deep(short: Path) -> Path:
    return short / ("x" * 90)


def there_already(short: Path) -> Path:
    return short


@pytest.mark.parametrize(("choose", "words"), [(too_deep, "too long for Unix sockets"), (there_already, "exists")])
def test_folder_that_does_not_do_is_refused_at_once(short: Path, choose, words: str) -> None:
    """One line that says what is wrong, one that says what to do, before anything was started."""
    done = subprocess.run([*COMMAND, "--folder", str(choose(short))], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
    error, hint = done.stderr.splitlines()
    assert words in error
    assert "--folder" in hint
    assert list(short.iterdir()) == []

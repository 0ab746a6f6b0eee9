"""The two real processes under the system-call filters of their units: the whole demonstration, refusals included."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo.home import TrialHome
from edge_agent.demo.scenario import Scenario

ROOT = Path(__file__).parents[2]
UNITS = {"record": "edge-agent-recorder.service", "release": "edge-agent-releaser.service"}

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"),
]


class RestrictedHome(TrialHome):
    """A gateway whose processes run as their units let them, as far as that goes without systemd."""

    def start(self, *names: str) -> None:
        """Start processes behind the launcher."""
        launcher = [sys.executable, str(ROOT / "tests/peers/seccomp_run.py")]
        for name in names or tuple(UNITS):
            command = [sys.executable, "-m", "edge_agent", name, "--config", str(self.config_path)]
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [*launcher, str(ROOT / "systemd" / UNITS[name]), "--", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )


class RestrictedScenario(Scenario):
    """The demonstration with a ``RestrictedHome``."""

    def _start_home(self) -> None:
        self.home = RestrictedHome(self.home.folder, self.home.cameras)
        super()._start_home()


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own, whose path is too long for a Unix socket.
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as name:
        yield Path(name)


def is_filtered(pid: int) -> bool:
    return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()


def test_the_whole_path_runs_under_the_units_filters(folder: Path) -> None:
    """Record, decide, cut, upload, hand over and refuse, with nothing that the filters forbid."""
    scenario = RestrictedScenario(folder, record_s=5)
    try:
        scenario.run()
        assert all(is_filtered(process.pid) for process in scenario.home.processes.values())
    finally:
        logs = {name: (scenario.home.folder / f"{name}.log").read_text() for name in scenario.home.processes}
        scenario.home.stop()
    for name, text in logs.items():
        assert "Operation not permitted" not in text, (name, text)
        assert "Traceback" not in text, (name, text)

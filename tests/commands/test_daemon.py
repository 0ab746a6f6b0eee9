"""The processes' first and last moments: a signal that comes early, an end that is none of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import recorder, releaser, supervisor
from edge_agent.setup.provision import create_state
from tests.commands.typed import run

PROCESSES = {"record": recorder, "release": releaser, "run": supervisor}


@pytest.mark.parametrize(("word", "module"), PROCESSES.items(), ids=PROCESSES)
def test_a_reload_that_is_asked_for_early_ends_no_process(monkeypatch, word, module):
    """SIGHUP before the handler stands, and to the supervisor at any time, is ignored."""
    before, seen = signal.getsignal(signal.SIGHUP), []
    monkeypatch.setattr(module, "main", lambda *_: seen.append(signal.getsignal(signal.SIGHUP)) or 0)
    try:
        assert run(word) == 0
        assert seen == [signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGHUP, before)


FAILING = """
import sys, threading, time
from pathlib import Path
from edge_agent import recorder
from edge_agent.errors import RingBusyError

def run(self):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    raise {error}

recorder.Recorder.run = run
left = recorder.leave
def leave(code):
    print("left", code, flush=True)
    return left(code)
recorder.leave = leave
sys.exit(recorder.main(Path(sys.argv[1])))
"""
ERRORS = {"RuntimeError('a fault')": os.EX_SOFTWARE, "RingBusyError('another runs')": os.EX_TEMPFAIL}


@pytest.mark.parametrize(("error", "code"), ERRORS.items(), ids=ERRORS)
def test_a_recorder_that_fails_leaves_as_one_that_ends(tmp_path: Path, error: str, code: int) -> None:
    """A native thread that does not end takes no interpreter down with it, and the exit code is the error's."""
    create_state(tmp_path / "state", "a passphrase for a test")
    config = tmp_path / "edge-agent.yaml"
    config.write_text(f"gateway: {{state_dir: {tmp_path}/state, run_dir: {tmp_path}/run}}\n")
    words = [sys.executable, "-c", FAILING.format(error=error), str(config)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.returncode) == (f"left {code}\n", code)
    assert "recorder ends" in ended.stderr

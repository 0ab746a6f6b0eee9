"""A reload that fails at any step: the cameras record on by the configuration before, and the next reload is right."""

import os
import threading
from pathlib import Path

import pytest

from edge_agent.host.clock import SystemClock, read_boot_id, read_build_time
from edge_agent.host.persistent_clock import KeptClock
from edge_agent.recorder import Recorder
from edge_agent.settings.gateway import parse_config
from edge_agent.setup.provision import create_state
from tests.peers.wait import wait_until

STEPS = ("_sources", "_rings", "_triggers", "_views", "_sensors", "_mirrors")


def make_text(root: Path, url: str) -> str:
    lines = [f"gateway: {{state_dir: {root}/state, run_dir: {root}/run}}", "buffer: {size: 8MiB, block_size: 1MiB}"]
    lines += [
        "cameras:",
        f"  - {{id: door, url: 'rtsp://127.0.0.1:1/{url}'}}",
        "  - {id: yard, url: 'rtsp://127.0.0.1:1/y'}",
    ]
    return "\n".join(lines)


@pytest.fixture
def running(tmp_path: Path):
    create_state(tmp_path / "state", "a passphrase for a test")
    said = {"text": make_text(tmp_path, "a")}

    def load():
        return parse_config(said["text"], "test", tmp_path), {}

    system = SystemClock(read_build_time(), trust_wall_clock=True)
    clock = KeptClock(tmp_path / "state" / "recorder" / "clock.json", read_boot_id(), system)
    recorder = Recorder(*load(), clock, None, load)
    thread = threading.Thread(target=recorder.run)
    thread.start()
    try:
        wait_until(lambda: len(recorder._streams.running) == 2, 30)
        yield recorder, lambda url: said.update(text=make_text(tmp_path, url))
        assert thread.is_alive()
    finally:
        recorder.stop()
        thread.join(30)


def fail_once(monkeypatch: pytest.MonkeyPatch, part: object, name: str, error: Exception) -> None:
    right = getattr(part, name)

    def fail(*words):
        monkeypatch.setattr(part, name, right)
        raise error

    monkeypatch.setattr(part, name, fail)


def is_recording(recorder: Recorder, url: str) -> bool:
    """Tell whether both cameras are tried, the first at an address."""
    assert recorder._config.cameras[0].url == f"rtsp://127.0.0.1:1/{url}"
    return len(recorder._streams.running) == 2 and all(
        each.thread.is_alive() and not each.stop.is_set() and each.sink.error == ""
        for each in recorder._streams.running.values()
    )


@pytest.mark.parametrize("error", [OSError(os.strerror(5)), RuntimeError("a fault")], ids=["a disk", "a fault"])
def test_cameras_record_on_whichever_step_of_a_reload_fails(running, monkeypatch, error):
    """The one that asked is told, the next try takes the new file over, and a fault never ends the recorder."""
    recorder, write = running
    for number, (part, name) in enumerate(
        [
            *((getattr(recorder, step), "change") for step in STEPS),
            (recorder._streams, "_start_one"),
            (recorder._reloads, "_load"),
        ]
    ):
        before, after = f"v{number}" if number else "a", f"v{number + 1}"
        write(after)
        fail_once(monkeypatch, part, name, error)
        with pytest.raises(type(error)):
            recorder.ask_reload().result(30)
        wait_until(lambda url=before: is_recording(recorder, url), 30)
        told = recorder.ask_reload().result(30)
        assert (told["stop"], told["start"], told["untouched"]) == (["door"], ["door"], ["yard"])
        wait_until(lambda url=after: is_recording(recorder, url), 30)

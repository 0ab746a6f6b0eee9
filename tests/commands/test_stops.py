"""``pause`` and ``resume``: what is said of cameras that are switched off, unknown, or paused on their own."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import UsageError
from edge_agent.host.control_socket import ControlServer, Peer
from edge_agent.settings.gateway import load_config
from tests.commands import typed


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    path = tmp_path / "edge-agent.yaml"
    path.write_text(
        "gateway: {state_dir: state, run_dir: .}\ncameras:\n  - {id: door, url: 'rtsp://127.0.0.1:1/live'}\n"
        "  - {id: shed, enabled: false, url: 'rtsp://127.0.0.1:1/shed'}\n"
    )
    return path


class Process:
    """Takes orders as a process of the gateway does; ``asked`` is what it was asked for."""

    def __init__(self, still_paused: list[str]) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.handlers = {"pause": self._pause, "order": self._order}
        self._still_paused = still_paused

    def _pause(self, members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        self.asked.append(("pause", members["camera"]))
        return {}

    def _order(self, _members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        self.asked.append(("order", None))
        return {"state": "resumed", "paused": self._still_paused}


@pytest.fixture(params=["release", "recording"])
def what(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def process(gateway: Path, what: str) -> Iterator[Process]:
    stop, process = threading.Event(), Process(["*", "shed"])
    socket = load_config(gateway).control_path("recorder" if what == "recording" else "releaser")
    server = ControlServer(socket, process.handlers, stop)
    server.start()
    yield process
    stop.set()
    server.join()


def run(path: Path, *words: str) -> int:
    return typed.run(*words, "--config", str(path))


def test_camera_that_is_switched_off_can_be_paused_and_it_is_said(gateway, process, what, capsys):
    """The pause counts from the moment at which somebody switches the camera on again."""
    assert run(gateway, "pause", what, "--camera", "shed") == 0
    assert process.asked == [("pause", "shed")]
    told = capsys.readouterr()
    assert f"{what} paused: shed" in told.out
    assert "shed is switched off" in told.out


def test_camera_that_is_not_there_cannot(gateway, process, what):
    """An unknown name is an error that names those that there are, and nobody is asked."""
    with pytest.raises(UsageError, match=r"no such camera: gate \(known: door, shed\)"):
        run(gateway, "pause", what, "--camera", "gate")
    assert process.asked == []


def test_resume_says_what_is_still_paused(enrolled, gateway, process, what, capsys):
    """A pause of all cameras and one of a single camera end apart: the owner is told of the one that stands."""
    words = ("--camera", "door", "--passphrase-file", str(enrolled / "passphrase"))
    assert run(gateway, "resume", what, *words) == 0
    told = capsys.readouterr().out
    assert f"{what} resumed: door" in told
    assert "still paused: all cameras, shed" in told

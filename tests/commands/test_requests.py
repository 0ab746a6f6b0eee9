"""What the owner's answers to a request name, and the pictures that are shown before."""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.commands.requests import asked_cameras
from edge_agent.config import load_config
from edge_agent.consent.order import sign_order
from edge_agent.consent.request import Quality
from edge_agent.control import ControlServer, Peer
from edge_agent.errors import UnavailableError
from edge_agent.jws import parse
from edge_agent.uplink.footage import NotRecordedError
from tests import gate
from tests.commands import typed

HOUSE = SimpleNamespace(cameras=[SimpleNamespace(id="door"), SimpleNamespace(id="yard")])


@pytest.mark.parametrize(
    ("asked", "named"), [(["*"], ["door", "yard"]), (["yard"], ["yard"]), (["yard", "cellar"], ["yard"])], ids=str
)
def test_an_approval_names_the_cameras_that_were_asked_for(asked, named):
    """A request for every camera is approved by naming each one: an order knows no ``*``."""
    cameras = asked_cameras(HOUSE, {"cameras": asked})
    assert cameras == named
    window = gate.request_payload()["clip"]["window"]
    members = {"jti": gate.JTI, "request_sha256": "A" * 43, "cameras": cameras, "window": window}
    assert sign_order("approve", members, gate.GATEWAY, gate.JTI, gate.NOW, Ed25519PrivateKey.generate())


# Pictures


class Releaser:
    """Answers ``request`` and ``look``; a camera without a ring has none, one that saw nothing has no pictures."""

    def __init__(self) -> None:
        self.is_cut = False
        self.handlers = {"request": self._request, "look": self._look}

    def _request(self, _members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        window = gate.request_payload()["clip"]["window"]
        return {"request": {"jti": gate.JTI, "cameras": ["*"], "quality": "main", "window": window}}

    def _look(self, members: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        camera = parse(members["jws"].encode(), "owner-order+jws").payload["camera"]
        if camera == "cellar":
            raise NotRecordedError("cellar", Quality.MAIN, has_other=True)
        if camera == "gate":
            return {"pictures": []}
        assert peer.fd is not None
        os.write(peer.fd, camera.encode())
        return {"pictures": [{"at": "2026-07-01T21:36:00Z", "size": len(camera) + self.is_cut}]}


@pytest.fixture
def releaser(enrolled: Path) -> Iterator[Releaser]:
    lines = [f"  - {{id: {name}, url: 'rtsp://127.0.0.1:1'}}\n" for name in ("cellar", "door", "gate", "yard")]
    path = enrolled / "edge-agent.yaml"
    path.write_text("gateway: {state_dir: state, run_dir: .}\ncameras:\n" + "".join(lines))
    stop, releaser = threading.Event(), Releaser()
    server = ControlServer(load_config(path).control_path("releaser"), releaser.handlers, stop)
    server.start()
    yield releaser
    stop.set()
    server.join()


def show_stills(folder: Path) -> int:
    words = ["--stills", str(folder / "stills"), "--passphrase-file", str(folder / "passphrase")]
    return typed.run("requests", "show", gate.JTI, *words, "--config", str(folder / "edge-agent.yaml"))


def test_a_camera_without_pictures_does_not_keep_the_others_from_being_shown(releaser, enrolled, capsys):
    """The first camera has no ring, the third saw nothing: the others are shown, and it is said why those are not."""
    assert show_stills(enrolled) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [Path(path).read_text() for path in shown["stills"]] == ["door", "yard"]
    assert list(shown["no_stills"]) == ["cellar", "gate"]
    assert "not recorded in this quality" in shown["no_stills"]["cellar"]
    assert shown["no_stills"]["gate"] == "nothing was recorded in this window"


def test_pictures_that_do_not_arrive_whole_are_an_error(releaser, enrolled):
    """What went wrong on the way is not told as a camera without pictures."""
    releaser.is_cut = True
    with pytest.raises(UnavailableError):
        show_stills(enrolled)

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

from edge_agent.base64url import encode_b64url
from edge_agent.commands.requests import asked_cameras
from edge_agent.consent.offer import digest_offers, parse_offers
from edge_agent.consent.owner_order import sign_order
from edge_agent.errors import UnavailableError, UsageError
from edge_agent.host.control_socket import ControlServer, Peer
from edge_agent.protocol.jws import parse
from edge_agent.protocol.request import Quality
from edge_agent.settings.gateway import load_config
from edge_agent.units import HOUR_NS, MINUTE_NS
from edge_agent.uplink.bundle.rings import NotRecordedError
from tests.commands import typed
from tests.support import gate

HOUSE = SimpleNamespace(cameras=[SimpleNamespace(id="door"), SimpleNamespace(id="yard")])


@pytest.mark.parametrize(
    ("asked", "named"), [(["*"], ["door", "yard"]), (["yard"], ["yard"]), (["yard", "cellar"], ["yard"])], ids=str
)
def test_an_approval_names_the_cameras_that_were_asked_for(asked, named):
    """A request for every camera is approved by naming each one: an order knows no ``*``."""
    cameras = asked_cameras(HOUSE, {"cameras": asked})
    assert cameras == named
    window = gate.request_payload()["clip"]["window"]
    members = {
        "jti": gate.JTI,
        "request_sha256": "A" * 43,
        "offer_sha256": "A" * 43,
        "cameras": cameras,
        "window": window,
    }
    assert sign_order("approve", members, gate.GATEWAY, gate.JTI, gate.NOW, Ed25519PrivateKey.generate())


# Pictures


class Releaser:
    """Answers as the real one; a camera without a ring has no pictures, and one that saw nothing has none either."""

    def __init__(self) -> None:
        self.is_cut = False
        self.number = 12
        self.called: list[tuple[str, Any]] = []
        self.raw = gate.Rtcc().sign(gate.request_payload({"clip.cameras": ["*"]}))
        self.orders: list[bytes] = []
        self.handlers = {"request": self._request, "requests": self._list, "look": self._look, "order": self._order}
        self.handlers |= {verb: self._stop(verb) for verb in ("deny", "cancel")}

    def _stop(self, verb: str):
        def stop(members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
            self.called.append((verb, members.get("number")))
            return {"stopped": [12, 14], "too_late": [9]} if members.get("all") is True else {"state": "denied"}

        return stop

    def _order(self, members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        self.orders.append(members["jws"].encode())
        return {"state": "granted"}

    def _list(self, members: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        return {"requests": [self._request(members, peer)["request"]]}

    def _request(self, _members: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        window = gate.request_payload()["clip"]["window"]
        half = {"start": window["start"], "end": gate.at(-50 * MINUTE_NS)}
        masks = [[[0, 0], [10, 0], [10, 10]]]
        door = {"camera": "door", "quality": "main", "windows": [half], "audio": False, "masks": masks}
        self.offer = {"cameras": [door], "escrow": True}
        request = {
            "number": self.number, "jti": gate.JTI, "cameras": ["*"], "quality": "main", "window": window,
            "raw": self.raw.decode(), "sha256": "A" * 43, "state": "asked",
            "signers": ["ann (operator)", "bob (supervisor)"],
            "offer": self.offer, "cooling_off_s": 600, "not_before": None, "release_by": gate.at(6 * HOUR_NS),
            "due": gate.at(30 * MINUTE_NS), "arrived_at": gate.at(0), "reasons": [], "releases": [],
            "iss": gate.ISS, "category": "robbery",
        }  # fmt: skip
        return {"request": request}

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
    words = ["--json", "--stills", str(folder / "stills"), "--passphrase-file", str(folder / "passphrase")]
    return typed.run("requests", "show", "12", *words, "--config", str(folder / "edge-agent.yaml"))


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


# Approve


def approve(folder: Path, *words: str) -> int:
    typed_words = ["--passphrase-file", str(folder / "passphrase"), "--config", str(folder / "edge-agent.yaml"), *words]
    return typed.run("requests", "approve", "12", *typed_words)


def test_an_approval_shows_what_it_signs_and_signs_the_digest_of_what_it_shows(releaser, enrolled, monkeypatch, capsys):
    """Who, why, which camera and minutes; the digest is of the shown bytes, and not the one that the socket named."""
    monkeypatch.setattr("builtins.input", lambda prompt: print(prompt) or "yes")
    assert approve(enrolled) == 0
    shown = capsys.readouterr().out
    signed = parse(releaser.orders[0], "owner-order+jws").payload
    assert signed["request_sha256"] == encode_b64url(parse(releaser.raw, "rtcc-request+jws").payload_sha256)
    assert signed["offer_sha256"] == encode_b64url(digest_offers(parse_offers(releaser.offer)))
    assert signed["cameras"] == ["door"]
    for words in (
        "asked by: rtcc.example-city",
        "signed by: ann (operator), bob (supervisor)",
        "why: Identify the suspects who left by car.",
        "what leaves with your yes:",
        "door: 2026-07-01 21:35:00 to 2026-07-01 21:40:00 UTC (2026-07-01T21:40:00Z), 5 min, full resolution",
        "1 areas blacked out",
        "can be read by: you, the crime center, and the key that it keeps in escrow",
        "edge-agent requests cancel 12",
    ):
        assert words in shown
    assert shown.index("what leaves") < shown.index('Type "yes"') < shown.index("granted")


def test_an_approval_of_less_shows_less(releaser, enrolled, capsys):
    """What is shown is the approval met with what the gate has left."""
    start = gate.at(-52 * MINUTE_NS)
    assert approve(enrolled, "--yes", "--from", start) == 0
    assert "door: 2026-07-01 21:38:00 to 2026-07-01 21:40:00 UTC" in capsys.readouterr().out
    assert parse(releaser.orders[0], "owner-order+jws").payload["window"]["start"] == start


@pytest.mark.parametrize("answer", ["", "no", "y"])
def test_anything_but_yes_signs_nothing(releaser, enrolled, monkeypatch, capsys, answer):
    """Only the whole word lets anything leave."""
    monkeypatch.setattr("builtins.input", lambda _prompt: answer)
    assert approve(enrolled) == 1
    assert releaser.orders == []
    assert "not approved" in capsys.readouterr().out


def test_an_approval_of_nothing_is_refused(releaser, enrolled):
    """A camera of which the gate has left nothing cannot be approved."""
    with pytest.raises(UsageError, match="nothing of what was asked"):
        approve(enrolled, "--yes", "--camera", "yard")
    assert releaser.orders == []


def test_another_request_than_the_one_that_was_typed_is_refused(releaser, enrolled):
    """What is shown and signed is the request that was named."""
    other = gate.request_payload({"jti": "BBECAwQFBgcICQoLDA0ODw"})
    releaser.raw = gate.Rtcc().sign(other)
    with pytest.raises(UsageError, match="another request"):
        approve(enrolled, "--yes")


def test_another_number_than_the_one_that_was_typed_is_refused(releaser, enrolled):
    """The same request under another number is not what was named."""
    releaser.number = 13
    with pytest.raises(UsageError, match="another request"):
        approve(enrolled, "--yes")


NO_NUMBERS = {
    "an id of theirs": "AAECAwQFBgcICQoLDA0ODw",
    "an id of theirs that begins with a hyphen": "-AECAwQFBgcICQoLDA0ODw",
    "digits of another script": "١٢",
    "nothing": "",
    "zero": "0",
    "a negative one": "-12",
    "one that is too large": str(2**63),
}


@pytest.mark.parametrize("typed_number", NO_NUMBERS.values(), ids=NO_NUMBERS)
@pytest.mark.parametrize("verb", ["show", "approve", "deny", "cancel"])
def test_only_a_number_names_a_request(releaser, enrolled, typed_number, verb):
    """Nothing that another side chose is a handle; what is none ends before the releaser is asked."""
    with pytest.raises(SystemExit) as ended:
        typed.run("requests", verb, typed_number, "--config", str(enrolled / "edge-agent.yaml"))
    assert ended.value.code == 2
    assert releaser.called == []


@pytest.mark.parametrize("verb", ["deny", "cancel"])
def test_without_a_number_everything_is_stopped(releaser, enrolled, capsys, verb):
    """Both words without a number stop all that is open, and say of which the key may be out."""
    words = ["--config", str(enrolled / "edge-agent.yaml")]
    assert typed.run("requests", verb, *words) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["request 12", "request 14", "request 9"]
    assert typed.run("requests", verb, "12", *words) == 0
    assert releaser.called == [(verb, None), (verb, 12)]


@pytest.mark.parametrize("verb", ["show", "approve"])
def test_a_number_is_needed_for_what_gives(releaser, enrolled, verb):
    """`approve` takes exactly one number."""
    for words in ([], ["12", "13"]):
        with pytest.raises(SystemExit):
            typed.run("requests", verb, *words, "--config", str(enrolled / "edge-agent.yaml"))


def test_a_request_is_shown_and_listed_in_words(releaser, enrolled, capsys):
    """What it is about, until when to answer, and how."""
    words = ["--config", str(enrolled / "edge-agent.yaml")]
    assert typed.run("requests", "show", "12", *words) == 0
    shown = capsys.readouterr().out
    assert "answer until 2026-07-01 23:00:00 UTC (2026-07-01T23:00:00Z); silence is a no:" in shown
    assert "edge-agent requests deny 12" in shown
    assert typed.run("requests", "list", *words) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["NUMBER", "STATE", "UNTIL", "WHO", "WHAT"]
    assert "2026-07-01 23:00:00" in row
    assert row.endswith("robbery: every camera")


def test_explain_takes_a_number_or_a_file(enrolled, monkeypatch, tmp_path):
    """Digits are a request of this gateway; a file that is called so is named with its folder."""
    asked, answer = [], {"verdict": "grant", "steps": []}
    (enrolled / "edge-agent.yaml").write_text("")
    monkeypatch.setattr(
        "edge_agent.commands.requests.call",
        lambda _path, command, **members: asked.append((command, members)) or answer,
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12").write_text("a.b.c")
    for word in ("12", "./12"):
        assert typed.run("explain", word, "--config", str(enrolled / "edge-agent.yaml")) == 0
    assert asked == [("explain", {"number": 12}), ("explain", {"raw": "a.b.c"})]
    with pytest.raises(UsageError, match="cannot be read"):
        typed.run("explain", "nothing", "--config", str(enrolled / "edge-agent.yaml"))
    for wrong in ("0", "99999999999999999999"):
        with pytest.raises(SystemExit):
            typed.run("explain", wrong, "--config", str(enrolled / "edge-agent.yaml"))

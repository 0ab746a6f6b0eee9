"""``edge-agent doctor``: nothing of the household gets into the report, whatever it lies in."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.commands import check
from edge_agent.settings.gateway import load_config
from edge_agent.setup import doctor
from edge_agent.setup.doctor import find_phrase, known_phrases, list_listening, make_report
from edge_agent.setup.inspection import Inspected, Level

PASSPHRASE = "correct horse battery"
SECRETS = {
    "token in a URL": "tok3nINurl",
    "password": "pa55w0rdX",
    "user name": "viewerAnna",
    "notify token": "ntfyT0pic",
    "name of a camera": "annasbedroom",
    "place": "52.5166",
    "other place": "13.3777",
    "incident": "INC-2026-0099",
    "request": "0d9e7a1c-jti",
    "passphrase": PASSPHRASE,
    "address": "192.0.2.77",
    "authority": "rtcc.secretville",
}
_JOURNAL = [
    {"MESSAGE": f"releaser runs gateway={SECRETS['authority']} version=0.1.0", "PRIORITY": "6"},
    {"MESSAGE": f"{SECRETS['incident']} {SECRETS['request']} {SECRETS['passphrase']}", "PRIORITY": "3"},
    {"MESSAGE": f"rtsp://x:{SECRETS['password']}@{SECRETS['address']}/{SECRETS['token in a URL']}", "PRIORITY": "4"},
    {"MESSAGE": [1, 2, 3]},
]


def hostile_run(words: Sequence[str]) -> str:
    """Every program answers with all secrets, in the form of what it is asked for."""
    if words[0] == "journalctl":
        return "\n".join([*map(json.dumps, _JOURNAL), "no json", SECRETS["incident"]])
    if words[:2] == ("systemctl", "show"):
        return "\n".join(
            f"{name}={secret}" for name, secret in zip(doctor._UNIT_FIELDS, SECRETS.values(), strict=False)
        )
    return " ".join(SECRETS.values())


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    words = ["init", "--config", str(tmp_path), "--state", str(tmp_path / "state")]
    assert main([*words, "--passphrase-file", str(tmp_path / "passphrase")]) == 0
    path = tmp_path / "edge-agent.yaml"
    text = path.read_text()
    url = f"rtsp://{SECRETS['address']}/live?token={SECRETS['token in a URL']}"
    cameras = f"\ncameras:\n  - {{id: {SECRETS['name of a camera']}, url: '{url}', credentials: anna}}\n"
    path.write_text(text.replace("\ncameras:\n", cameras, 1))
    login = f"anna: {{username: {SECRETS['user name']}, password: '{SECRETS['password']}'}}\n"
    (tmp_path / "credentials.yaml").write_text(login)
    (tmp_path / "notify.yaml").write_text(f"phone: ntfys://ntfy.example.net/{SECRETS['notify token']}\n")
    return path


def test_planted_secrets_are_not_in_the_report(gateway: Path) -> None:
    """From configuration, findings, status, units and journal alike: nothing that is not on the list gets through."""
    config = load_config(gateway)
    camera = SECRETS["name of a camera"]
    findings = check.inspect(config, is_offline=True)
    findings += [Inspected(Level.FAULT, secret, secret, secret) for secret in SECRETS.values()]
    findings += [Inspected(Level.FAULT, f"camera {camera}", "x"), Inspected(Level.FAULT, f"broker {camera}", "x")]
    facts = dict.fromkeys(
        ("state", "reason", "detail", "codec", "bitrate", "gop_ns", "warning"), " ".join(SECRETS.values())
    )
    status = {
        "recorder": {"cameras": {f"{camera}.main": facts, SECRETS["incident"]: {**facts, "reason": "unreachable"}}},
        "releaser": {
            "broker": SECRETS["authority"],
            "clock": f"floor-only: {SECRETS['place']}",
            "custody": SECRETS["password"],
            "trust_bundle": SECRETS["authority"],
            "waiting_for_you": [SECRETS["request"]],
            "releasing": [],
        },
    }
    text = json.dumps(make_report(config, findings, status, hostile_run))
    assert {name for name, secret in SECRETS.items() if secret.lower() in text.lower()} == set()
    report = json.loads(text)
    assert {
        "name": "camera 1",
        "state": "other",
        "reason": "other",
        "codec": "other",
        "bitrate": None,
        "gop_ns": None,
    } in report["cameras"]
    assert any(each["reason"] == "unreachable" for each in report["cameras"])
    assert {"phrase": "releaser runs", "priority": 6, "count": 1} in report["journal"]
    assert report["releaser"]["waiting"] == 1
    assert "camera 1" in [each["topic"] for each in report["check"]]


def test_what_is_written_is_what_was_shown(
    gateway: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file holds the printed text to the byte; without a yes there is no file."""
    out = tmp_path / "report.json"
    words = ["doctor", "--config", str(gateway), "--offline", "--out", str(out)]
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    capsys.readouterr()
    assert main(words) != 0
    assert not out.exists()
    capsys.readouterr()
    assert main([*words, "--yes"]) == 0
    shown = capsys.readouterr().out
    assert out.read_text() == shown
    assert json.loads(shown)["program"]["version"] == "0.1.0"


BROKEN = {
    "a line that is no YAML": "cameras: [{}",
    "a value of another form": "gateway: {{location: {}}}\n",
    "no file": None,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_configuration_is_reported_too(text, gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway that a wrong line keeps from starting has a report to send: it has the fault, and none of the line."""
    if text is None:
        gateway.unlink()
    else:
        gateway.write_text(text.format(SECRETS["token in a URL"]))
    capsys.readouterr()
    assert main(["doctor", "--config", str(gateway), "--offline"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["check"] == [{"level": "fault", "topic": "configuration"}]
    assert report["units"]
    assert SECRETS["token in a URL"] not in printed.out
    assert "edge-agent.yaml" in printed.err


def test_phrases_are_our_own_sources() -> None:
    """A phrase is fixed text: it ends before the first value, and a value cannot be taken for one."""
    assert "releaser runs" in known_phrases()
    assert not any("%" in phrase or "=" in phrase for phrase in known_phrases())
    assert find_phrase("anything at all") == "other"


def test_listening_ports(tmp_path: Path) -> None:
    """Only what listens, its number, and whether others reach it."""
    (tmp_path / "tcp").write_text(
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:0277 00000000:0000 0A 0\n"
        "   1: 00000000:0016 00000000:0000 0A 0\n"
        "   2: 0100007F:1234 0100007F:9999 01 0\n"
    )
    expected = [{"port": 22, "loopback_only": False}, {"port": 631, "loopback_only": True}]
    assert list_listening(tmp_path) == expected

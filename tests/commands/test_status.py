"""``edge-agent status``: what the table and the JSON say of each camera."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.capture.pictures.analyser import HEALTH
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.status import StreamStatus
from edge_agent.cli import main
from edge_agent.host.control_socket import ControlServer
from edge_agent.recording.status import report_stream
from edge_agent.units import SECOND_NS
from tests.support.fakes import FakeClock

CLOCK = FakeClock()


def recording(**facts: object) -> StreamStatus:
    status = StreamStatus(CLOCK)
    status.enter("recording", "", CLOCK.utc())
    status.note(codec="h264", **facts)
    return status


def down(reason: str, detail: str) -> StreamStatus:
    status = StreamStatus(CLOCK)
    status.enter("down", reason, CLOCK.utc(), detail)
    return status


def lossy() -> StreamStatus:
    status = recording()
    lose(status.loss)
    return status


def lose(loss: PacketLoss) -> None:
    loss.begin(is_counted=True)
    loss.sent(0, 0)
    loss.missed(3)
    loss.sent(0, 200)


def report(stream: StreamStatus, storage: str = "ok", **others: dict[str, object]) -> dict[str, Any]:
    known = {"picture": {}, "events": {}} | others
    return report_stream(stream.snapshot(), {"storage": storage}, **known)


COVERED = {"picture": "covered", "picture_since": "2026-01-01T00:00:00Z", "warning": HEALTH["covered"]}
DEAF = {"events": "trouble", "events_detail": "the home's broker is not reached: ECONNREFUSED", "events_since": "x"}
CAMERAS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a good one": (report(recording(gop_ns=2 * SECOND_NS, clock_offset_ns=-90 * SECOND_NS)), ["2.0 s", "-90.0 s"]),
    "a long GOP": (report(recording(gop_ns=5 * SECOND_NS)), ["a keyframe only every 5.0s"]),
    "a refusal": (report(down("busy", "status=453")), ["busy: the camera serves no further", "(status=453)"]),
    "a covered lens": (report(recording(), picture=COVERED), ["picture covered", HEALTH["covered"]]),
    "packet loss": (report(lossy()), ["1.50%", "1.5 % of the packets lost on the way"]),
    "no events": (report(recording(), events=DEAF), ["no events come: the home's broker is not reached: ECONNREFUSED"]),
    "a full disk": (report(recording(), storage="disk full"), ["nothing is stored: disk full"]),
    "several at once": (
        report(recording(gop_ns=5 * SECOND_NS), storage="disk full", picture=COVERED),
        ["nothing is stored: disk full  a keyframe only every 5.0s", f"start  {HEALTH['covered']}"],
    ),
    "switched off": ({"state": "off", "since": "", "reason": "disabled"}, ["disabled"]),
}


@contextmanager
def recorder(
    tmp_path: Path, cameras: dict[str, Any], releaser: dict[str, Any] | None = None, language: str = "en"
) -> Iterator[Path]:
    """Answer for a recorder with these cameras, and for a releaser if its answer is given."""
    config = tmp_path / "edge-agent.yaml"
    gateway = f"{{state_dir: {tmp_path}, run_dir: {tmp_path}, language: {language}, time_zone: America/Chicago}}"
    config.write_text(f"gateway: {gateway}\ncameras:\n")
    stop = threading.Event()
    answers = {"recorder": {"cameras": cameras}} | ({} if releaser is None else {"releaser": releaser})
    servers = [
        ControlServer(tmp_path / f"{name}/sock", {"status": lambda *_, answer=answer: answer}, stop)
        for name, answer in answers.items()
    ]
    for server in servers:
        server.start()
    try:
        yield config
    finally:
        stop.set()
        for server in servers:
            server.join()


def run(config: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge_agent", "status", "--config", str(config), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, Any]]:
    """Print the table and the JSON of all cameras once; rows by name."""
    cameras = {f"{name.replace(' ', '-')}.main": told for name, (told, _) in CAMERAS.items()}
    with recorder(tmp_path_factory.mktemp("status"), cameras) as config:
        table, as_json = run(config), run(config, "--json")
    rows: dict[str, str] = {}
    for line in table.stdout.splitlines():
        if ".main" in line:
            rows[line.split(".main")[0]] = line
        elif line.startswith("  "):
            rows[next(reversed(rows))] += line
    return rows, json.loads(as_json.stdout)["recorder"]["cameras"]


@pytest.mark.parametrize("name", CAMERAS)
def test_row_says_how_a_camera_does(printed: tuple[dict[str, str], dict[str, Any]], name: str) -> None:
    """Every trouble stands in the camera's row in words, several beside each other, and as it is in the JSON."""
    told, texts = CAMERAS[name]
    row = printed[0][name.replace(" ", "-")]
    for text in texts:
        assert text in row
    assert printed[1][f"{name.replace(' ', '-')}.main"] == told


RELEASER: dict[str, Any] = {
    "enrolment": "not enrolled",
    "broker": "not connected",
    "clock": "floor-only: the wall clock is before 2026-11-29T01:12:00Z, which was known to be right",
    "trust_bundle": "3 until 2026-11-29T01:12:00Z",
    "custody": "bare",
    "consents": {
        "a": {"state": "in-force", "mode": "ask", "until": "2026-11-29T01:12:00Z", "why": ""},
        "b": {"state": "void", "mode": "ask", "until": None, "why": "A signature does not verify."},
        "c": {"state": "denied", "mode": "deny", "until": None, "why": "consent.yaml cannot be used: nothing leaves"},
    },
    "release_paused": ["*"],
    "refused_unread": {},
    "waiting_for_you": [12],
    "releasing": [],
}


@pytest.mark.parametrize("language", ["es", "fr"])
def test_status_is_in_the_owners_language_and_in_local_time(tmp_path: Path, language: str) -> None:
    """No line of the English status is left in another one's: no warning, no reason, no state; JSON stays English."""
    lines: dict[str, list[str]] = {}
    cameras = {f"{name.replace(' ', '-')}.main": told for name, (told, _) in CAMERAS.items()}
    for each in ("en", language):
        folder = tmp_path / each
        folder.mkdir()
        with recorder(folder, cameras, RELEASER, each) as config:
            shown = run(config).stdout
            assert json.loads(run(config, "--json").stdout)["recorder"]["cameras"] == cameras
        lines[each] = [line for line in shown.splitlines() if line]
        assert "2026-11-28 19:12:00" in shown
        assert "T01:12" not in shown
    assert len(lines["en"]) == len(lines[language])
    assert set(lines["en"]) & set(lines[language]) <= {"  h264"}


def test_no_recorder_is_said(tmp_path: Path) -> None:
    """Where nothing answers, the command says so and its exit code does."""
    (tmp_path / "edge-agent.yaml").write_text(f"gateway: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\ncameras:\n")
    done = run(tmp_path / "edge-agent.yaml")
    assert "recorder: not running" in done.stdout
    assert done.returncode == 1


LOST = 'case "$2" in --name=vault) exit 1;; esac; echo PEM'
SEALED = {
    "as root": ("exit 1", 0, "this machine does not open: vault, gateway, tls (docs/recovery.md)"),
    "as root, one of them": (LOST, 0, "this machine does not open: vault (docs/recovery.md)"),
    "as root, they open": ("echo PEM", 0, ""),
    "as somebody else": ("exit 1", 1000, "whether this machine opens them: sudo edge-agent check"),
}


@pytest.mark.parametrize(("creds", "user", "words"), SEALED.values(), ids=SEALED)
def test_a_lost_tpm_is_named(creds, user, words, tmp_path, monkeypatch, capsys):
    """A process that does not run because this machine does not open its sealed keys is not told to start."""
    tool = tmp_path / "bin/systemd-creds"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{creds}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    for name in ("public", "recorder", "releaser"):
        (tmp_path / "keys" / name).mkdir(parents=True)
    (tmp_path / "keys/public/custody").write_text("tpm\n")
    config = tmp_path / "edge-agent.yaml"
    config.write_text(f"gateway: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\ncameras:\n")
    assert main(["status", "--config", str(config)]) == 1
    shown = capsys.readouterr().out
    assert words in shown
    assert ("To start both" in shown) is ("not open" not in words)
    assert ("sealed" in shown) is bool(words)


def type_at_terminal(command: list[str], columns: int) -> str:
    """Run a command with a terminal of that width as its output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen(command, stdout=theirs, env=environment | {"TERM": "xterm", "NO_COLOR": "1"}) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO is the end of a terminal
            while piece := os.read(ours, 4096):
                shown += piece
        process.wait(30)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_status_fits_into_80_columns(tmp_path: Path) -> None:
    """However long a note is, and whatever a name holds, no line is wider than the terminal; nothing is lost."""
    with recorder(tmp_path, {f"{name.replace(' ', '-')}.main": told for name, (told, _) in CAMERAS.items()}) as config:
        config.write_text(config.read_text() + "  - {id: a-refusal, name: 'The [bold]gate[/bold]', url: 'rtsp://a/'}\n")
        command = [sys.executable, "-m", "edge_agent", "status", "--config", str(config)]
        shown = type_at_terminal(command, columns=80)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("a-refusal.main (The [bold]gate[/bold]): down since 20" in line for line in lines)
    assert "\x1b" not in shown
    assert "(status=453)" in shown

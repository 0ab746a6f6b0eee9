"""``edge-agent check``: every fault is found, said, and hides no other."""

import hashlib
import json
import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.capture.session.rtsp_probe import ask_description
from edge_agent.consent.policy import parse_policy
from edge_agent.consent.signed_consent import PrivacyNotice, digest_notice
from edge_agent.custody.credentials import Login
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.custody.keys import KeyStore, generate
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from edge_agent.errors import ConfigError
from edge_agent.rtcc.office.enrol import enrol, enrol_server
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.settings.gateway import load_config, parse_config
from edge_agent.setup import inspection, probe
from edge_agent.setup.inspection import Inspected, Level
from edge_agent.setup.provision import create_state, write_csr
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.inbound.consent_files import load_facts
from edge_agent.uplink.store.database import Database
from tests.capture.onvif.test_http_session import behind_tls
from tests.capture.test_camera_tls import make_certificate
from tests.commands import typed
from tests.peers.onvif_camera import OnvifCamera, OnvifSettings
from tests.support.consents import sign_consent

Answer = Callable[[bytes], bytes]


@contextmanager
def serve(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answer each read of each connection, one connection at a time; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def loop() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) if context else connection as stream:
                    stream.settimeout(5)
                    while request := stream.recv(4096):
                        reply = answer(request)
                        if not reply:
                            break
                        stream.sendall(reply)
            except OSError:
                pass

    thread = threading.Thread(target=loop, name="server")
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def digest_camera(request: bytes) -> bytes:
    if b"Authorization: Digest" not in request:
        return b'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm="cam", nonce="n0"\r\n\r\n'
    url = request.split(b" ")[1].decode()
    expected = _md5(f"{_md5('admin:cam:pass:w@rd')}:n0:{_md5(f'DESCRIBE:{url}')}").encode()
    return b"RTSP/1.0 200 OK\r\n\r\n" if expected in request else b"RTSP/1.0 401 Unauthorized\r\n\r\n"


def write_gateway(folder: Path, cameras: str = "", extra: str = "") -> Path:
    create_state(folder / "state", "correct horse battery")
    path = folder / "edge-agent.yaml"
    path.write_text(
        f"gateway: {{state_dir: state, run_dir: run, location: {{lat: 1, lon: 2}}}}\n"
        f"buffer: {{size: 8MiB}}\nclock: {{trust: wall-clock}}\n{cameras}{extra}"
    )
    (folder / "consent.yaml").write_text("version: 1\n")
    return path


def camera(port: int, credentials: str = "") -> str:
    return f"cameras:\n  - id: door\n    url: rtsp://127.0.0.1:{port}/live\n" + (
        f"    credentials: {credentials}\n" if credentials else ""
    )


def run(path: Path, *words: str) -> int:
    return typed.run("check", "--config", str(path), *words)


def of(findings: list[Inspected], topic: str) -> list[Inspected]:
    return [finding for finding in findings if finding.topic == topic]


def test_describe_answers_a_digest_challenge() -> None:
    """The right password is taken, a wrong one refused, and none is said to be missing."""
    with serve(digest_camera) as port:
        url = f"rtsp://127.0.0.1:{port}/live"
        assert ask_description(url, ("admin", "pass:w@rd"))[0] == 200
        assert ask_description(url, ("admin", "wrong"))[0] == 401
        assert ask_description(url, ("", ""))[0] == 401


WANTS_SHA256 = "the camera wants Digest with SHA-256"
LOGINS: dict[str, tuple[str, str, str, Level, str]] = {
    "MD5 last": ("sha256-then-md5", "ffmpeg", "secret-word", Level.OK, "gives its stream"),
    "SHA-256 last": ("md5-then-sha256", "ffmpeg", "secret-word", Level.FAULT, WANTS_SHA256),
    "SHA-256 only": ("sha256-only", "ffmpeg", "secret-word", Level.FAULT, WANTS_SHA256),
    "SHA-256 only, our own reader": ("sha256-only", "auto", "secret-word", Level.OK, "gives its stream"),
    "a wrong password": ("sha256-then-md5", "auto", "another", Level.FAULT, "refuses the user name or password"),
}


@pytest.mark.parametrize(("fault", "reader", "password", "level", "words"), LOGINS.values(), ids=LOGINS.keys())
def test_a_login_is_judged_as_the_recorder_will(
    tmp_path: Path, fault: str, reader: str, password: str, level: Level, words: str
) -> None:
    """Of several challenges the best is answered; a camera into which FFmpeg cannot log in is told. One try."""
    settings = CameraSettings(account=Account("owner", "secret-word"))
    with SimulatedCamera(settings) as stream:
        stream.fault(fault)
        path = tmp_path / "edge-agent.yaml"
        path.write_text(f"cameras: [{{id: door, url: '{stream.url}', credentials: door, reader: {reader}}}]\n")
        (finding,) = probe.probe_cameras(load_config(path), {"door": Login("owner", password)})
        assert stream.wrong_logins == int(password == "another")
    assert (finding.level, finding.text.startswith(words)) == (level, True), finding


CAMERAS: dict[str, tuple[Answer, Level, str]] = {
    "streams": (lambda _: b"RTSP/1.0 200 OK\r\n\r\n", Level.OK, "gives its stream"),
    "wants a password": (digest_camera, Level.FAULT, "asks for a user name and password, and has none"),
    "no such path": (lambda _: b"RTSP/1.0 404 Not Found\r\n\r\n", Level.FAULT, "knows no such path"),
    "busy": (lambda _: b"RTSP/1.0 453 Not Enough Bandwidth\r\n\r\n", Level.FAULT, "serves no further client"),
    "a web server": (lambda _: b"<html>", Level.FAULT, "does not answer: the answer is not RTSP"),
    "closes": (lambda _: b"", Level.FAULT, "does not answer"),
}


@pytest.mark.parametrize("case", CAMERAS.values(), ids=CAMERAS.keys())
def test_a_camera_is_told_apart(tmp_path: Path, case: tuple[Answer, Level, str]) -> None:
    """Each answer of a camera has its own words."""
    with serve(case[0]) as port:
        config = load_config(write_gateway(tmp_path, camera(port)))
        (finding,) = probe.probe_cameras(config, {})
    assert (finding.level, finding.text.startswith(case[2])) == (case[1], True), finding


CERTIFICATES: dict[str, tuple[dict[str, Any], str, Level, str]] = {
    "the pinned one": ({}, "{pin}", Level.OK, "gives its stream"),
    "another than the pinned one": ({}, "sha256:" + 64 * "0", Level.FAULT, "the camera shows another certificate"),
    "the pinned one, expired": ({"until": -1}, "{pin}", Level.FAULT, "the camera's certificate has expired (until 20"),
    "unknown": ({}, "", Level.FAULT, "nobody that is trusted has signed"),
}


@pytest.mark.parametrize(("made", "pinned", "level", "words"), CERTIFICATES.values(), ids=CERTIFICATES.keys())
def test_a_certificate_is_looked_at(
    tmp_path: Path, made: dict[str, Any], pinned: str, level: Level, words: str
) -> None:
    """What the recorder would refuse is told beforehand, in the recorder's words."""
    certificate, pin = make_certificate(tmp_path, "camera", None, **made)
    path = tmp_path / "edge-agent.yaml"
    with SimulatedCamera(CameraSettings(certificate=certificate)) as stream:
        tls = f", tls: {{pin: '{pinned.format(pin=pin)}'}}" if pinned else ""
        path.write_text(f"cameras: [{{id: door, url: '{stream.url}'{tls}}}]\n")
        (finding,) = probe.probe_cameras(load_config(path), {})
    assert (finding.level, finding.text.startswith(words)) == (level, True), finding


def test_an_onvif_camera_is_asked_over_https(tmp_path: Path) -> None:
    """The pin counts for the question; a stream that is not encrypted is said to be so."""
    certificate, pin = make_certificate(tmp_path, "camera", None)
    path = tmp_path / "edge-agent.yaml"
    findings = []
    with (
        SimulatedCamera() as stream,
        OnvifCamera(OnvifSettings(stream=stream.url, takes="nothing")) as camera,
        behind_tls(camera, certificate) as address,
    ):
        for each in (pin, "sha256:" + 64 * "0"):
            path.write_text(f"cameras: [{{id: door, onvif: '{address}', tls: {{pin: '{each}'}}}}]\n")
            findings += probe.probe_cameras(load_config(path), {})
    assert [finding.level for finding in findings] == [Level.OK, Level.FAULT]
    assert findings[0].text.endswith("not encrypted on the way")
    assert findings[1].text.startswith("the camera shows another certificate")


def test_an_onvif_camera_is_asked_for_its_stream(tmp_path: Path) -> None:
    """The stream that the camera names is asked for; a login that it refuses is told, with what to try."""
    path = tmp_path / "edge-agent.yaml"
    with SimulatedCamera() as stream, OnvifCamera(OnvifSettings(stream=stream.url)) as camera:
        path.write_text(f"cameras: [{{id: door, onvif: '{camera.address}', credentials: door}}]\n")
        login = Login(camera.settings.username, camera.settings.password)
        (right,) = probe.probe_cameras(load_config(path), {"door": login})
        (wrong,) = probe.probe_cameras(load_config(path), {"door": Login("owner", "another")})
    assert (right.level, right.text) == (Level.OK, "gives its stream (P0: h264 1920x1080 25 fps, largest of 2)")
    assert wrong.level is Level.FAULT
    assert "refuses the user name or password" in wrong.text
    assert wrong.hint == f"edge-agent discover --try {camera.address} --credentials door"


def test_check_finds_an_unreachable_camera_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One camera that is off is a fault of that camera."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = write_gateway(tmp_path, camera(port))
    assert run(path, "--json") == 1
    findings = json.loads(capsys.readouterr().out)
    levels = {(finding["topic"], finding["level"]) for finding in findings}
    assert ("camera door", "fault") in levels
    assert ("camera door", "ok") in levels  # what was understood
    assert ("disk", "ok") in levels or ("disk", "warning") in levels


def test_check_offline_dials_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same gateway without its camera's fault; that it belongs to no RTCC yet is a state, and no fault."""
    path = write_gateway(tmp_path, camera(1))
    assert run(path, "--offline") == 0
    said = capsys.readouterr().out
    assert "WARNING enrolment: not enrolled" in said
    assert "FAULT" not in said
    assert "edge-agent enrol FILE" in said


def test_a_wrong_configuration_is_code_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both files, in both forms of output."""
    path = write_gateway(tmp_path, "bufer: {}\n")
    with pytest.raises(ConfigError, match="unknown key") as refused:
        run(path)
    assert refused.value.exit_code == 78
    assert run(path, "--json") == 78
    assert "unknown key" in capsys.readouterr().out
    path = write_gateway(tmp_path)
    (tmp_path / "consent.yaml").write_text("version: 1\ncameras: {yard: {mode: ask}}\n")
    assert run(path, "--offline") == 78
    assert "names a camera that is not configured: yard" in capsys.readouterr().out


def test_a_login_that_is_missing_or_open_is_found(tmp_path: Path) -> None:
    """The name, the file and the mode are told."""
    config = load_config(write_gateway(tmp_path, camera(1, "door")))
    findings, _ = inspection.inspect_secrets(config)
    assert "cameras[0].credentials: no 'door' in " in of(findings, "credentials")[0].text
    (tmp_path / "credentials.yaml").write_text("door: {username: a, password: b}\n")
    (tmp_path / "credentials.yaml").chmod(0o644)
    findings, logins = inspection.inspect_secrets(config)
    assert "open to others" in of(findings, "credentials")[0].text
    assert logins == {}


def test_a_world_readable_key_is_found(tmp_path: Path) -> None:
    """The fault names the file, the hint the command that mends it; the other process's keys are still looked at."""
    config = load_config(write_gateway(tmp_path))
    (tmp_path / "state/keys/releaser/vault.pem").chmod(0o644)
    findings = list(inspection.inspect_keys(config))
    (releaser,) = of(findings, "keys of the releaser")
    assert releaser.level is Level.FAULT
    assert releaser.hint.startswith("chmod 0600 ")
    assert of(findings, "keys of the recorder")[0].level is Level.WARNING  # bare files


def test_a_key_of_another_gateway_is_found(tmp_path: Path) -> None:
    """A private key that does not fit its public half would seal footage that nobody opens."""
    config = load_config(write_gateway(tmp_path))
    create_state(tmp_path / "other", "correct horse battery")
    vault = "keys/releaser/vault.pem"
    (tmp_path / "state" / vault).write_bytes((tmp_path / "other" / vault).read_bytes())
    (releaser,) = of(list(inspection.inspect_keys(config)), "keys of the releaser")
    assert "private and public half of vault differ" in releaser.text


def test_a_signature_that_does_not_count_is_found(tmp_path: Path, rtcc: tuple[RtccHome, UtcNs, str, str]) -> None:
    """Signed is not enough: by this owner, for this camera as it is now, and not ended."""
    path = enrolled(tmp_path, rtcc[0], rtcc[1], 1, 2)
    path.write_text(path.read_text() + camera(1))
    (tmp_path / "consent.yaml").write_text("version: 1\ncameras: {door: {mode: ask}}\n")
    config = load_config(path)
    enrolment = load_enrolment(config.uplink.enrolment)
    (finding,) = inspection.inspect_consent(config, enrolment)
    assert finding.text == "camera door: not signed: nothing leaves"
    config.store_path.parent.mkdir(exist_ok=True)
    with Database(config.store_path) as store:
        facts = load_facts(config, enrolment, config.cameras[0], store.read_id())
    terms = parse_policy("version: 1\ncameras: {door: {mode: ask}}\n", "x").terms("door")
    owner = KeyStore(config.state_dir, "owner").load_private("owner", b"correct horse battery")
    now = UtcNs(time.time_ns())
    cases = [(owner, now, Level.OK, "signed until 2"), (owner, UtcNs(now - 400 * DAY_NS), Level.WARNING, "ended on")]
    cases += [(generate("owner"), now, Level.WARNING, "does not count")]
    for version, (key, signed_at, level, text) in enumerate(cases, 1):
        raw = sign_consent(facts, terms, PrivacyNotice("1", "en", digest_notice("text")), version, signed_at, key)
        with Database(config.store_path) as store, store.transaction() as connection:
            store.consents.save(connection, "door", version, raw)
        (finding,) = inspection.inspect_consent(config, enrolment)
        assert finding.level is level
        assert text in finding.text


def test_sealed_keys_are_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the installer bound to the TPM is no fault, though nobody but the service can open it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    config = load_config(write_gateway(tmp_path))
    for path in [*(tmp_path / "state/keys/releaser").iterdir(), *(tmp_path / "state/keys/recorder").iterdir()]:
        path.unlink()
    (tmp_path / "state/keys/public/custody").write_text("tpm\n")
    findings = list(inspection.inspect_keys(config))
    assert [finding.level for finding in findings] == [Level.OK] * 3
    assert "sealed by the installer (tpm)" in findings[0].text
    assert create_state(tmp_path / "state", None) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_sealed_keys_in_a_folder_of_somebody_else_are_not_missed(tmp_path: Path) -> None:
    """Whoever may not look into a service's folder is told of the seal, and not of a mode."""
    write_gateway(tmp_path)
    (tmp_path / "state/keys/public/custody").write_text("tpm\n")
    with tempfile.TemporaryDirectory() as name:  # Not pytest's own folder, which lets nobody but root in.
        Path(name).chmod(0o755)
        shutil.copytree(tmp_path / "state/keys/public", Path(name) / "keys/public")
        (Path(name) / "keys/releaser").mkdir(mode=0o700)
        moved = parse_config(f"gateway: {{state_dir: {name}}}\n", "x", tmp_path)
        os.seteuid(61237)
        try:
            assert inspection.is_sealed(moved, "releaser")
        finally:
            os.seteuid(0)


def test_rings_that_do_not_fit_are_found(tmp_path: Path) -> None:
    """Before the recorder starts, not when the disk is full."""
    config = load_config(write_gateway(tmp_path, camera(1) + "    size: 16TiB\n"))
    assert any(
        finding.level is Level.FAULT and "GiB are free" in finding.text for finding in inspection.inspect_disk(config)
    )


def test_find_filesystem_knows_the_kernel_s_names() -> None:
    """/proc is proc, whatever the machine."""
    assert inspection.find_filesystem(Path("/proc/self")) == "proc"


@pytest.fixture(scope="module")
def rtcc(tmp_path_factory: pytest.TempPathFactory) -> tuple[RtccHome, UtcNs, str, str]:
    now = UtcNs(time.time_ns())
    settings = HomeSettings("rtcc.example-city", "127.0.0.1", 1, 2, {"evidence": "https://127.0.0.1:2/files/"})
    home = RtccHome.create(tmp_path_factory.mktemp("rtcc") / "home", settings, now)
    return home, now, *enrol_server(home, ("127.0.0.1",), now)


def make_context(home: RtccHome, certificate: str, key: str, *, ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca or home.ca_path)
    return context


def tus(request: bytes) -> bytes:
    assert request.startswith(b"OPTIONS /files/ ")
    return b"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\n\r\n"


def enrolled(folder: Path, home: RtccHome, now: UtcNs, broker: int, upload: int) -> Path:
    path = write_gateway(folder)
    write_csr(folder / "state", folder / "gateway.csr")
    members = json.loads(enrol(home, (folder / "gateway.csr").read_bytes(), now).content)
    members["broker"]["port"] = broker
    members["uploads"]["evidence"]["url"] = f"https://127.0.0.1:{upload}/files/"
    (folder / "enrolment.json").write_text(json.dumps(members))
    (folder / "enrolment.json").chmod(0o644)
    return path


def test_broker_and_upload_are_reached_by_mutual_tls(tmp_path: Path, rtcc: tuple[RtccHome, UtcNs, str, str]) -> None:
    """Both take our certificate; an upload target is a tus server."""
    home, now, certificate, key = rtcc
    context = make_context(home, certificate, key)
    with serve(lambda _: b"", context) as broker, serve(tus, context) as upload:
        config = load_config(enrolled(tmp_path, home, now, broker, upload))
        findings = list(probe.probe_rtcc(config, load_enrolment(config.uplink.enrolment)))
    assert [(finding.topic, finding.level) for finding in findings] == [
        ("broker", Level.OK), ("upload evidence", Level.OK),
    ], findings  # fmt: skip


def test_servers_that_are_not_the_rtccs_are_found(
    tmp_path: Path, rtcc: tuple[RtccHome, UtcNs, str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A broker that does not know our CA, and an upload target that is something else."""
    home, now, certificate, key = rtcc
    other = RtccHome.create(tmp_path_factory.mktemp("other") / "home", home.settings, now)
    strict = make_context(home, certificate, key, ca=other.ca_path)
    plain = make_context(home, certificate, key)
    with (
        serve(lambda _: b"", strict) as broker,
        serve(lambda _: b"HTTP/1.1 404 Not Found\r\n\r\n", plain) as upload,
    ):
        config = load_config(enrolled(tmp_path, home, now, broker, upload))
        findings = list(probe.probe_rtcc(config, load_enrolment(config.uplink.enrolment)))
    assert [finding.level for finding in findings] == [Level.FAULT, Level.FAULT], findings
    assert "is no tus server (HTTP status 404)" in findings[1].text

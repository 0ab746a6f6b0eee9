"""``rtsps`` with verification on."""

import hashlib
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edge_agent.capture.camera_tls import Trust, fetch_certificate, find_fault, pin_trust
from edge_agent.capture.reasons import REASONS, CaptureError
from edge_agent.capture.session.interface import Endpoint
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from tests.capture.conftest import ON_EACH_READER, READER, Recording, wait_until

pytestmark = pytest.mark.peer


def on_each_reader(test: Any) -> Any:
    """Run one test on both readers."""
    for mark in ON_EACH_READER:
        test = mark(test)
    return test


def make_certificate(
    folder: Path, name: str, address: str | None, *, issuer: str = "", since: int = -9, until: int = 2
) -> tuple[Path, str]:
    """Write a certificate with its key, self-signed or by an authority nobody knows; return the file and its pin.

    It is valid from ``since`` to ``until``, in days from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]) if issuer else subject
    builder = x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + timedelta(days=since)).not_valid_after(now + timedelta(days=until))
    if address:
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(alternative, critical=False)
    certificate = builder.sign(ec.generate_private_key(ec.SECP256R1()) if issuer else key, hashes.SHA256())
    path = folder / f"{name}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    return path, f"sha256:{hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()}"


@on_each_reader
def test_trusted_certificate_is_recorded(tmp_path: Path) -> None:
    """A camera whose certificate the CA file holds, for its address, is recorded over TLS: over TCP in any case."""
    path, _ = make_certificate(tmp_path, "camera", "127.0.0.1")
    with SimulatedCamera(CameraSettings(certificate=path)) as camera:
        with Recording(Endpoint(camera.url, transport="udp", trust=Trust(path))) as recording:
            recording.wait_for_gops(1)
        facts = recording.sink.runs[0].facts
        assert facts["source"].startswith("rtsps://")
        assert facts["transport"] == "tcp"
        # Over TLS FFmpeg looks for no gaps.
        assert ("lost_packets" in recording.status.snapshot()) == (READER.get() == "own")


CERTIFICATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown authority": ({"address": "127.0.0.1", "issuer": "Somebody"}, "tls-untrusted", "it shows sha256:"),
    "for another host": ({"address": "127.0.0.9"}, "tls-wrong-name", "it names 127.0.0.9"),
    "with a host's name only": ({"address": None}, "tls-wrong-name", "it names camera"),
    "expired": ({"address": "127.0.0.1", "until": -1}, "tls-expired", "until 20"),
    "of the future": ({"address": "127.0.0.1", "since": 1}, "tls-not-yet-valid", "from 20"),
}


@on_each_reader
@pytest.mark.parametrize(("made", "reason", "detail"), CERTIFICATES.values(), ids=CERTIFICATES.keys())
def test_refused_certificates_are_told_apart(
    tmp_path: Path, made: dict[str, Any], reason: str, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each fault of a certificate ends the attempt before a password is sent, with its own words in status and log."""
    path, pin = make_certificate(tmp_path, "camera", **made)
    trusted = make_certificate(tmp_path, "other", "127.0.0.1")[0] if "issuer" in made else path
    endpoint = {"username": "owner", "password": "secret-word", "trust": Trust(trusted)}
    with (
        SimulatedCamera(CameraSettings(certificate=path, account=Account("owner", "secret-word"))) as camera,
        Recording(Endpoint(camera.url, **endpoint)) as recording,
    ):
        wait_until(lambda: recording.status.state == "down")
        told = recording.status.snapshot()
        assert camera.requests == 0
    assert told["reason"] == reason
    assert told["detail"].startswith(detail)
    assert REASONS[reason] in caplog.text
    assert told["detail"] in caplog.text
    assert "issuer" not in made or pin in told["detail"]


@on_each_reader
def test_pinned_certificate_that_expired_is_told(tmp_path: Path) -> None:
    """The pin fits and FFmpeg still refuses: the words say since when, and not that it is another certificate."""
    path, pin = make_certificate(tmp_path, "IPCAM-7731", None, until=-1)
    with SimulatedCamera(CameraSettings(certificate=path)) as camera:
        trust = pin_trust(camera.url, pin, tmp_path)
        with Recording(Endpoint(camera.url, trust=trust)) as recording:
            wait_until(lambda: recording.status.snapshot()["reason"] == "tls-expired")


@on_each_reader
def test_port_without_tls_is_told(tmp_path: Path) -> None:
    """A camera that speaks plain RTSP at the port: no safe connection, and not just unreachable."""
    path, _ = make_certificate(tmp_path, "camera", "127.0.0.1")
    with SimulatedCamera() as camera:
        url = camera.url.replace("rtsp://", "rtsps://")
        with Recording(Endpoint(url, trust=Trust(path))) as recording:
            wait_until(lambda: recording.status.snapshot()["reason"] == "tls-failed")
        with pytest.raises(CaptureError) as raised:
            fetch_certificate(url)
    assert raised.value.reason == "tls-failed"


def test_no_connection_is_no_fault_of_a_certificate(tmp_path: Path) -> None:
    """A camera that is off stays unreachable, with the system's word for it; so does one whose trust is no file."""
    path, _ = make_certificate(tmp_path, "camera", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsps://127.0.0.1:{server.getsockname()[1]}/cam"
    assert find_fault(url, Trust(path)) is None
    with pytest.raises(CaptureError, match="ECONNREFUSED") as raised:
        fetch_certificate(url)
    assert raised.value.reason == "unreachable"
    fault = find_fault(url, Trust(tmp_path / "none"))
    assert fault is not None
    assert fault.reason == "tls-untrusted"


PINNED = {"self-signed": {}, "of an unknown authority": {"issuer": "Maker's own CA"}}


@on_each_reader
@pytest.mark.parametrize("options", PINNED.values(), ids=PINNED.keys())
def test_pinned_certificate_may_carry_any_name(tmp_path: Path, options: dict[str, str]) -> None:
    """A pin is enough for a certificate whose name is not the camera's address, whoever signed it."""
    path, pin = make_certificate(tmp_path, "IPCAM-7731", None, **options)
    with SimulatedCamera(CameraSettings(certificate=path)) as camera:
        trust = pin_trust(camera.url, pin, tmp_path)
        assert find_fault(camera.url, trust) is None
        with Recording(Endpoint(camera.url, trust=trust)) as recording:
            recording.wait_for_gops(1)


def test_other_certificate_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """A certificate that changed is refused before FFmpeg ever connects."""
    path, shown = make_certificate(tmp_path, "camera", "127.0.0.1")
    _, pin = make_certificate(tmp_path, "other", "127.0.0.1")
    with (
        SimulatedCamera(CameraSettings(certificate=path)) as camera,
        pytest.raises(CaptureError, match="another certificate than the pinned") as raised,
    ):
        pin_trust(camera.url, pin, tmp_path)
    assert (raised.value.reason, raised.value.detail) == ("tls-wrong-pin", f"it shows {shown}")

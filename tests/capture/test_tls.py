"""``rtsps`` with verification on."""

import hashlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp import Endpoint
from edge_agent.capture.tls import Trust, is_untrusted, pin_trust
from edge_agent.demo.camera import CameraSettings, SimulatedCamera

from .conftest import Recording, wait_until

pytestmark = pytest.mark.peer


def make_certificate(
    folder: Path, name: str, address: str | None, *, issuer: str = "", days: int = 2
) -> tuple[Path, str]:
    """Write a certificate with its key, self-signed or by an authority nobody knows; return the file and its pin."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]) if issuer else subject
    builder = x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
    if address:
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(alternative, critical=False)
    certificate = builder.sign(ec.generate_private_key(ec.SECP256R1()) if issuer else key, hashes.SHA256())
    path = folder / f"{name}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    return path, f"sha256:{hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()}"


def test_trusted_certificate_is_recorded(tmp_path: Path) -> None:
    """A camera whose certificate the CA file holds, for its address, is recorded over TLS."""
    path, _ = make_certificate(tmp_path, "camera", "127.0.0.1")
    with SimulatedCamera(CameraSettings(certificate=path)) as camera:
        with Recording(Endpoint(camera.url, trust=Trust(path))) as recording:
            recording.wait_for_gops(1)
        assert recording.sink.runs[0].facts["source"].startswith("rtsps://")


UNTRUSTED = {"unknown certificate": ("other", "127.0.0.1"), "another host's name": ("camera", "127.0.0.9")}


@pytest.mark.parametrize(("trusted", "address"), UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_untrusted_certificate_is_refused_in_words(tmp_path: Path, trusted: str, address: str) -> None:
    """A certificate that nobody vouched for, or for another host, ends the attempt before any password is sent."""
    path, _ = make_certificate(tmp_path, "camera", address)
    other, _ = make_certificate(tmp_path, "other", "127.0.0.1")
    trust = Trust(path if trusted == "camera" else other)
    with (
        SimulatedCamera(CameraSettings(certificate=path)) as camera,
        Recording(Endpoint(camera.url, trust=trust)) as recording,
    ):
        wait_until(lambda: recording.status.snapshot()["reason"] == "tls-untrusted")


PINNED = {"self-signed": {}, "of an unknown authority": {"issuer": "Maker's own CA"}}


@pytest.mark.parametrize("options", PINNED.values(), ids=PINNED.keys())
def test_pinned_certificate_may_carry_any_name(tmp_path: Path, options: dict[str, str]) -> None:
    """A pin is enough for a certificate whose name is not the camera's address, whoever signed it."""
    path, pin = make_certificate(tmp_path, "IPCAM-7731", None, **options)
    with SimulatedCamera(CameraSettings(certificate=path)) as camera:
        trust = pin_trust(camera.url, pin, tmp_path)
        assert not is_untrusted(camera.url, trust)
        with Recording(Endpoint(camera.url, trust=trust)) as recording:
            recording.wait_for_gops(1)


def test_other_certificate_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """A certificate that changed is refused before FFmpeg ever connects."""
    path, _ = make_certificate(tmp_path, "camera", "127.0.0.1")
    _, pin = make_certificate(tmp_path, "other", "127.0.0.1")
    with (
        SimulatedCamera(CameraSettings(certificate=path)) as camera,
        pytest.raises(CaptureError, match="not the pinned one"),
    ):
        pin_trust(camera.url, pin, tmp_path)

"""A certificate authority made for one test run, with the RTCC's own code; nothing of it is kept."""

import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.rtcc.office import authority
from edge_agent.units import UtcNs


@dataclass(frozen=True)
class PemFiles:
    """Paths of a certificate and its key."""

    ca: Path
    certificate: Path
    key: Path


class Pki:
    """One CA and whatever it was asked to sign, as files in a folder and as identities in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._now = UtcNs(time.time_ns())
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = authority.make_ca(self._key, "test authority", self._now)
        self.ca_path = folder / "ca.pem"
        self.ca_path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        self.list_path = folder / "crl.pem"
        revoked = authority.make_list(self.certificate, self._key, (), 1, self._now)
        self.list_path.write_bytes(revoked.public_bytes(Encoding.PEM))

    @property
    def ca_pem(self) -> str:
        return self.ca_path.read_text()

    def client(self, name: str) -> TlsIdentity:
        """Make a client's key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.issue_client(self.certificate, self._key, key.public_key(), name, self._now)
        return TlsIdentity(self.ca_pem, certificate.public_bytes(Encoding.PEM).decode(), key)

    def client_files(self, name: str) -> PemFiles:
        """Make a client's key and certificate, as files: for programs."""
        identity = self.client(name)
        return self._write(name, identity.certificate_pem.encode(), identity.key)

    def server_files(self, *names: str, label: str = "server") -> PemFiles:
        """Make a server's key and certificate for these host names and addresses; loopback where none are given."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = names or ("127.0.0.1", "localhost")
        certificate: x509.Certificate = authority.issue_server(
            self.certificate, self._key, key.public_key(), hosts, self._now
        )
        return self._write(label, certificate.public_bytes(Encoding.PEM), key)

    def _write(self, name: str, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> PemFiles:
        files = PemFiles(self.ca_path, self.folder / f"{name}.pem", self.folder / f"{name}.key.pem")
        files.certificate.write_bytes(certificate)
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        files.key.chmod(0o600)
        return files

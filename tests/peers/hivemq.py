"""HiveMQ CE on loopback, from Maven, with the identity extension of ``city/hivemq`` or without one."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from edge_agent.demo.broker import is_listening
from tests.peers.process import PeerProcess
from tests.peers.wait import wait_until

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "hivemq_broker" / "Broker.java"
_WORD = "only-on-loopback"
_BUILD_TIMEOUT_S, _START_TIMEOUT_S = 600, 90
_CONFIG = """\
<?xml version="1.0"?>
<hivemq>
  <listeners>{listeners}</listeners>
  <mqtt><queued-messages><max-queue-size>20000</max-queue-size></queued-messages></mqtt>
  <persistence><mode>file</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
"""
_LISTENER = """
    <tls-tcp-listener>
      <name>{name}</name><port>{port}</port><bind-address>127.0.0.1</bind-address>
      <tls>
        <client-authentication-mode>REQUIRED</client-authentication-mode>
        <keystore>
          <path>{folder}/server.p12</path><password>{word}</password><private-key-password>{word}</private-key-password>
        </keystore>
        <truststore><path>{folder}/ca.p12</path><password>{word}</password></truststore>
      </tls>
    </tls-tcp-listener>"""


@pytest.fixture(scope="session")
def hivemq_jars(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the extension, fetch the broker; return both as a class path."""
    folder = tmp_path_factory.mktemp("hivemq")
    shutil.copytree(ROOT / "city" / "hivemq", folder / "extension")
    subprocess.run(
        ["mvn", "-q", "-B", "package", "dependency:copy-dependencies", f"-DoutputDirectory={folder}/lib"],
        cwd=folder / "extension", check=True, timeout=_BUILD_TIMEOUT_S,
    )  # fmt: skip
    return f"{folder}/extension/target/hivemq-identity.jar:{folder}/lib/*"


class HiveMq(PeerProcess):
    """One broker over a folder, which keeps its sessions.

    Args:
        folder: Its own.
        jars: Class path.
        ports: Of the gateways' listener and of the RTCC's.
        files: Authorities, certificate and key of the server, list of the revoked; as paths of PEM.
        extension: ``identity``, or another word for one that lets everybody do everything.
    """

    def __init__(
        self, folder: Path, jars: str, ports: tuple[int, int], files: tuple[Path, Path, Path, Path], extension: str
    ) -> None:
        super().__init__()
        self._folder, self._jars, self._ports = folder, jars, ports
        self._extension, self._revoked = extension, files[3]
        for name in ("conf", "data", "extensions"):
            (folder / name).mkdir(parents=True)
        certificate = x509.load_pem_x509_certificate(files[1].read_bytes())
        key = load_pem_private_key(files[2].read_bytes(), None)
        (folder / "server.p12").write_bytes(
            serialize_key_and_certificates(b"server", key, certificate, None, BestAvailableEncryption(_WORD.encode()))
        )
        # keytool takes the first certificate of a file, and no further one.
        for number, each in enumerate(x509.load_pem_x509_certificates(files[0].read_bytes())):
            subprocess.run(
                ["keytool", "-importcert", "-noprompt", "-alias", f"ca{number}", "-keystore", folder / "ca.p12",
                 "-storetype", "PKCS12", "-storepass", _WORD],
                input=each.public_bytes(Encoding.PEM), check=True, timeout=60, capture_output=True,
            )  # fmt: skip
        listeners = "".join(
            _LISTENER.format(name=name, port=port, folder=folder, word=_WORD)
            for name, port in zip(("gateways", "rtcc"), ports, strict=True)
        )
        (folder / "conf" / "config.xml").write_text(_CONFIG.format(listeners=listeners))

    def start(self) -> None:
        """Start it; returns when it listens."""
        words = [f"-Drtcc.revoked={self._revoked}", "-Drtcc.listener=rtcc", "-Xmx384m", "-cp", self._jars]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["java", *words, SOURCE, self._folder, self._extension], stdout=log, stderr=log
            )
        wait_until(self._is_ready, _START_TIMEOUT_S, "HiveMQ listens")

    def _is_ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "log").read_text()[-3000:]
        return all(is_listening(port) for port in self._ports)

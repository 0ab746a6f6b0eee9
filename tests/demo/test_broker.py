"""The trial's broker: found, unpacked or asked for, and configured so that each gateway keeps to its own topics."""

import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from edge_agent.demo.broker import (
    HOST,
    BrokerFiles,
    Program,
    find_free_port,
    find_mosquitto,
    start_mosquitto,
    write_config,
)
from edge_agent.errors import UnavailableError
from tests.peers.mosquitto import Mosquitto
from tests.peers.pki import Pki


def test_a_mosquitto_in_the_path_is_taken(tmp_path: Path) -> None:
    """The system's own comes first; nothing is unpacked."""
    program = tmp_path / "bin" / "mosquitto"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_mosquitto(tmp_path / "unpacked", str(program.parent)) == Program(program)
    assert not (tmp_path / "unpacked").exists()


def test_a_machine_without_mosquitto_and_apt_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="mosquitto is not installed") as caught:
        find_mosquitto(tmp_path / "unpacked", str(tmp_path))
    assert "apt-get install mosquitto" in caught.value.hint


@pytest.mark.peer
def test_the_distributions_package_is_unpacked_without_root(tmp_path: Path, pki: Pki) -> None:
    """What apt-get downloads runs from a folder, is found there again, and serves our configuration."""
    unpacked = tmp_path / "unpacked"
    try:
        program = find_mosquitto(unpacked, "")
    except UnavailableError as error:
        pytest.skip(f"packages cannot be downloaded: {error}")
    assert program.path.is_relative_to(unpacked)
    assert not list(unpacked.glob("*.deb"))
    assert find_mosquitto(unpacked, "") == program
    files, port, rtcc_port = pki.server_files(), find_free_port(), find_free_port()
    broker_files = BrokerFiles(files.ca, files.certificate, files.key, pki.list_path)
    config = write_config(tmp_path / "broker", broker_files, port=port, rtcc_port=rtcc_port)
    process = start_mosquitto(program, config, (port, rtcc_port))
    try:
        # It listens before it minds signals, and answers after that.
        assert _shake_hands(port, pki) == HOST
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def _shake_hands(port: int, pki: Pki) -> str:
    """Return the common name of the broker's certificate."""
    context = ssl.create_default_context(cadata=pki.ca_pem)
    context.check_hostname = False
    with socket.create_connection((HOST, port), 10) as plain, context.wrap_socket(plain) as secured:
        certificate = secured.getpeercert()
    assert certificate is not None
    return dict(member for group in certificate["subject"] for member in group)["commonName"]


@pytest.mark.peer
def test_a_broker_that_cannot_start_says_why(tmp_path: Path, pki: Pki) -> None:
    """A taken port or a wrong file ends in one line with mosquitto's own words."""
    files = pki.server_files()
    broker_files = BrokerFiles(files.ca, tmp_path / "missing.pem", files.key, pki.list_path)
    port, rtcc_port = find_free_port(), find_free_port()
    config = write_config(tmp_path / "broker", broker_files, port=port, rtcc_port=rtcc_port)
    with pytest.raises(UnavailableError, match=r"mosquitto does not start: .*Error: Unable"):
        start_mosquitto(find_mosquitto(), config, (port, rtcc_port))


@pytest.mark.peer
@pytest.mark.needs("ss", "mosquitto_sub")
def test_the_broker_listens_on_loopback_with_certificates_only(mosquitto: Mosquitto) -> None:
    """No other address, no plain text, no client without a certificate."""
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout
    own = [line.split()[3] for line in listening.splitlines() if f"pid={mosquitto.pid}," in line]
    assert sorted(own) == sorted(f"{HOST}:{port}" for port in (mosquitto.port, mosquitto.rtcc_port))
    for port in (mosquitto.port, mosquitto.rtcc_port):
        result = subprocess.run(
            ["mosquitto_sub", "-h", HOST, "-p", str(port), "--cafile", mosquitto.pki.ca_path, "-t", "#", "-W", "3"],
            capture_output=True,
            env={**os.environ, "HOME": str(mosquitto.folder)},
        )
        assert result.returncode != 0

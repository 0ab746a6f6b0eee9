"""A real mosquitto with mutual TLS on loopback, which tests kill, restart and freeze."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.demo.broker import HOST, BrokerFiles, find_free_port, find_mosquitto, start_mosquitto, write_config
from edge_agent.errors import UnavailableError
from edge_agent.mqtt.connection import BrokerSettings, TopicSubscription
from tests.peers.pki import Pki
from tests.peers.process import PeerProcess


class Mosquitto(PeerProcess):
    """One broker with its own folder; the same ports and sessions after every restart."""

    host = HOST

    def __init__(self, folder: Path, pki: Pki) -> None:
        super().__init__()
        self.pki = pki
        self.port, self.rtcc_port = find_free_port(), find_free_port()
        files = pki.server_files(label="broker")
        self.folder = folder
        self._program = find_mosquitto()
        self._config = write_config(
            folder,
            BrokerFiles(files.ca, files.certificate, files.key, pki.list_path),
            port=self.port,
            rtcc_port=self.rtcc_port,
        )

    def start(self) -> None:
        self._process = start_mosquitto(self._program, self._config, (self.port, self.rtcc_port))

    def gateway(self, gateway: str, **changes: object) -> BrokerSettings:
        """Return the settings of a gateway that listens to its own topic and the trust topic."""
        settings: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "client_id": gateway,
            "tls": self.pki.client(gateway),
            "subscriptions": (
                TopicSubscription(f"rtcc/1/req/g/{gateway}"),
                TopicSubscription("rtcc/1/req/a/u4pru"),
                TopicSubscription("rtcc/1/trust", retained=True),
            ),
            "state_topic": f"rtcc/1/gw/{gateway}/state",
            "online": b"online",
            "offline": b"offline",
            "first_retry_s": 1.0,
        }
        return BrokerSettings(**(settings | changes))  # type: ignore[arg-type]

    def rtcc(self, client_id: str = "rtcc-test", **changes: object) -> BrokerSettings:
        """Return the settings of an RTCC program that listens to all gateways."""
        settings: dict[str, object] = {
            "host": self.host,
            "port": self.rtcc_port,
            "client_id": client_id,
            "tls": self.pki.client("rtcc"),
            "subscriptions": (TopicSubscription("rtcc/1/gw/#", retained=True),),
            "clean_start": True,
            "first_retry_s": 1.0,
            "session_expiry_s": 0,
        }
        return BrokerSettings(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """A certificate authority of this test's own."""
    return Pki(tmp_path / "pki")


@pytest.fixture
def make_mosquitto(tmp_path: Path, pki: Pki) -> Iterator[Callable[[], Mosquitto]]:
    """Make brokers that are not started yet; all are ended with the test."""
    made: list[Mosquitto] = []

    def make() -> Mosquitto:
        try:
            made.append(Mosquitto(tmp_path / f"mosquitto-{len(made)}", pki))
        except UnavailableError as error:
            pytest.skip(f"{error}: {error.hint}")
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture
def mosquitto(make_mosquitto: Callable[[], Mosquitto]) -> Mosquitto:
    """A running broker."""
    broker = make_mosquitto()
    broker.start()
    return broker

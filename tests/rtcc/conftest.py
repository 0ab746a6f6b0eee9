"""An RTCC's home and a gateway's application, made anew for each test."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.demo.broker import BrokerFiles, find_free_port, find_mosquitto, start_mosquitto, write_config
from edge_agent.errors import UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.protocol.application import encode_csr
from edge_agent.protocol.request import Category, Incident, Place
from edge_agent.rtcc.answers import Inbox, gateway_of, jti_of
from edge_agent.rtcc.office.enrol import enrol_server
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.inbound import NewMessage
from edge_agent.units import HOUR_NS, MINUTE_NS, UtcNs, Window
from tests.peers.postgresql import PostgreSql
from tests.peers.process import PeerProcess

NOW = UtcNs(time.time_ns())
SETTINGS = HomeSettings("rtcc.example-city", "localhost", 8883, 8884, {"evidence": "https://localhost:8443/files/"})


class Applicant:
    """A gateway's keys, and its application."""

    def __init__(self):
        self.tls = ec.generate_private_key(ec.SECP256R1())
        self.gateway, self.recorder, self.owner = (Ed25519PrivateKey.generate() for _ in range(3))

    @property
    def csr(self):
        return encode_csr(
            self.tls,
            gateway=self.gateway.public_key(),
            recorder=self.recorder.public_key(),
            owner=self.owner.public_key(),
        )


@pytest.fixture
def now():
    return NOW


@pytest.fixture(scope="session")
def postgresql():
    with PostgreSql("fsync=off") as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.city)])
def database(request):
    """The URL of a database server with our tables; empty for the file in the home."""
    if request.param == "sqlite":
        yield ""
        return
    cluster = request.getfixturevalue("postgresql")
    url = cluster.make_database()
    CityDatabase(url).create()
    yield url
    cluster.drop_database(url)


@pytest.fixture
def home(tmp_path, database):
    home = RtccHome.create(tmp_path / "home", replace(SETTINGS, database=database), NOW)
    yield home
    home.state.database.close()


def take(home, topic, payload):
    """Judge one message as a worker does; return the answer that was kept, or raise why there is none."""
    with home.state.database.begin() as connection:
        message = NewMessage(topic, payload, gateway_of(topic) or "", jti_of(payload))
        judged = Inbox(home).judge_one(connection, message)
    if (error := judged.fault or judged.waits) is not None:
        raise error
    return judged.answer


@pytest.fixture
def applicant():
    return Applicant()


@pytest.fixture
def incident():
    return Incident(
        number="2026-004711",
        category=Category.ROBBERY,
        reported_at=UtcNs(NOW - 20 * MINUTE_NS),
        place=Place(40.7128, -74.006),
        window=Window(UtcNs(NOW - HOUR_NS), UtcNs(NOW - MINUTE_NS)),
    )


@dataclass
class City:
    home: RtccHome
    broker: PeerProcess
    start: Callable[[], None]


@pytest.fixture
def make_city(tmp_path):
    """Start a mosquitto whose configuration a test changes."""
    running = PeerProcess()

    def make(change: Callable[[str, Path], str] = lambda text, _: text) -> City:
        port, rtcc_port = find_free_port(), find_free_port()
        uploads = {"evidence": "https://localhost:1/files/"}
        settings = HomeSettings("rtcc.example-city", "127.0.0.1", port, rtcc_port, uploads)
        now = SystemClock().utc()
        home = RtccHome.create(tmp_path / "home", settings, now)
        certificate, key = enrol_server(home, ("127.0.0.1",), now)
        files = BrokerFiles(home.ca_path, Path(certificate), Path(key), home.certificates.list_path)
        config = write_config(tmp_path / "broker", files, port=port, rtcc_port=rtcc_port)
        config.write_text(change(config.read_text(), config.parent))

        def start() -> None:
            running._process = start_mosquitto(find_mosquitto(), config, (port, rtcc_port))

        try:
            start()
        except UnavailableError as error:
            pytest.skip(str(error))
        return City(home, running, start)

    yield make
    running.kill()

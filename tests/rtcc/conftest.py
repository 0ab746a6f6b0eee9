"""An RTCC's home and a gateway's application, made anew for each test."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.protocol.application import encode_csr
from edge_agent.protocol.request import Category, Incident, Place
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.units import HOUR_NS, MINUTE_NS, UtcNs, Window

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


@pytest.fixture
def home(tmp_path):
    return RtccHome.create(tmp_path / "home", SETTINGS, NOW)


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

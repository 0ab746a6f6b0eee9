"""The owner's consent as the releaser reads it: from files, without leaving a trace."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.buffer.ring import create_ring
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.request import Quality
from edge_agent.settings.gateway import parse_config
from edge_agent.uplink.inbound.consent_files import Standing, load_facts
from tests.support import gate
from tests.support.consents import sign_consent
from tests.support.releaser import House

TEXT = "cameras: [{id: door, url: 'rtsp://127.0.0.1:1'}]\n"


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.store.close()


@pytest.fixture
def standing(house, tmp_path) -> Standing:
    """A consent that the owner has just signed and nothing was decided by yet, in files as on a gateway."""
    text = TEXT + f"gateway: {{state_dir: {tmp_path / 'state'}, location: {{lat: 32.2988, lon: -90.1848}}}}\n"
    config = parse_config(text, "edge-agent.yaml", tmp_path)
    keys = tuple(key.public_key() for key in house.rtcc.roots)
    enrolment = Enrolment(
        gateway=gate.GATEWAY, iss=gate.ISS, broker_host="127.0.0.1", broker_port=1, ca_pem="", certificate_pem="",
        uploads={}, roots=keys, threshold=2, not_after_s=2**31, tls_thumbprint="",
    )  # fmt: skip
    (camera,) = config.cameras
    ring = config.ring_path("door", "main")
    ring.parent.mkdir(parents=True)
    recorder = Ed25519PrivateKey.generate()
    create_ring(ring, camera="door", quality="main", size_bytes=8 << 20, recorder_key=recorder, block_size=1 << 16)
    facts = load_facts(config, enrolment, camera, house.store.read_id())
    assert [each.quality for each in facts.streams] == [Quality.MAIN]
    signed = sign_consent(facts, gate.terms(), gate.NOTICE, 3, gate.NOW, gate.OWNER)
    config.waivers_dir.mkdir(parents=True)
    (config.waivers_dir / "door.jws").write_bytes(signed)
    config.consent.file.parent.mkdir(parents=True, exist_ok=True)
    config.consent.file.write_text((Path(__file__).parents[3] / "config" / "consent.yaml").read_text())
    return Standing(config, enrolment, gate.OWNER.public_key(), house.store)


def test_reading_consent_writes_nothing(house, standing):
    """``explain``, ``status``, the page and every look of the owner leave store and ledger as they are (PROTOCOL 4)."""
    house.judge._standing = standing
    changes = house.store._connection.total_changes
    found = standing.household(gate.NOW).cameras["door"]
    assert found.consent is not None
    assert found.consent.version == 3
    assert house.call("explain", raw=house.sign().decode())["verdict"] == "denial"
    house.call("requests")
    assert house.store.find_consent("door") == (0, False)
    assert house.store._connection.total_changes == changes


def test_a_version_is_noted_once_by_the_first_decision(house, standing):
    """In the transaction that records it, with its entry in the ledger."""
    house.judge._standing = standing
    for _ in range(2):
        house.ask()
    assert house.store.find_consent("door") == (3, False)
    assert [each["version"] for each in house.entries("consent") if each["what"] == "signed"][-1:] == [3]
    assert sum(each["version"] == 3 for each in house.entries("consent")) == 1

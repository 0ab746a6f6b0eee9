"""The connection under a flood: everything is dealt with, memory stays, the genuine message is not lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.connection import Broker
from edge_agent.mqtt.inbound_queue import Incoming
from tests.peers.mosquitto import Mosquitto
from tests.peers.wait import wait_until

TOPIC = "rtcc/1/req/g/gw1"
RATE, SECONDS = 2000, 5
GENUINE = b"genuine"
ROOT = Path(__file__).parents[2]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.peer
@pytest.mark.slow
def test_a_flood_hides_no_genuine_message_and_fills_no_memory(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """2,000 bogus messages a second: all are acknowledged, none twice, the genuine one arrives, memory is flat."""
    found: list[int] = []
    counted = [0]

    def handle(incoming: Incoming) -> None:
        counted[0] += 1
        if incoming.payload == GENUINE:
            found.append(counted[0])
        incoming.ack()

    broker = Broker(mosquitto.gateway("gw1"), handle, SystemClock())
    broker.start()
    wait_until(broker.is_connected)
    before = resident_bytes()
    genuine = tmp_path / "genuine"
    genuine.write_bytes(GENUINE)
    files = mosquitto.pki.client_files("rtcc")
    words = ["--port", mosquitto.rtcc_port, "--ca", files.ca, "--certificate", files.certificate, "--key", files.key]
    words += ["--topic", TOPIC, "--rate", RATE, "--seconds", SECONDS, "--genuine", genuine, "--genuine-at", SECONDS / 2]
    result = subprocess.run(
        [sys.executable, "-m", "tests.peers.flood", *map(str, words)], cwd=ROOT, capture_output=True, timeout=90
    )
    figures = json.loads(result.stdout)
    assert figures["acknowledged"] == figures["sent"] >= RATE * SECONDS * 0.95
    wait_until(lambda: counted[0] >= figures["sent"], 60, "every message dealt with")
    assert len(found) == 1
    status = broker.status()
    assert status.counts["acknowledged"] == figures["sent"]
    assert status.counts["connected"] == 1
    assert resident_bytes() - before < 16 << 20
    broker.close()

"""A flood of bogus requests through the broker, while recording: the genuine one is answered, nothing grows."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.protocol.answer import Status
from edge_agent.rtcc.office.request import topics_of
from tests.end_to_end.conftest import read_pictures

pytestmark = [pytest.mark.peer, pytest.mark.slow]

RATE = 2000
SECONDS = int(os.environ.get("FLOOD_SECONDS", "15"))
"""Sixty on demand: what the issue of the gate names."""
ROOT = Path(__file__).parents[2]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.timeout(300)
def test_flood_delays_and_hides_nothing(world, tmp_path):
    """Two thousand bogus messages a second: all are counted, the genuine one is delivered, recording goes on."""
    world.wait_recorded(8)
    draft = world.draft(7, 6)
    signed = world.sign(draft)
    genuine = tmp_path / "genuine"
    genuine.write_bytes(signed.raw)
    store = world.home.config.store_path
    pid = world.home.processes["release"].pid
    before, size = resident_bytes(pid), store.stat().st_size
    city = world.city.home
    city.write_request(signed.jti, signed.raw)
    certificate, key = city.tls_paths("rtcc")
    words = ["--port", city.settings.rtcc_port, "--ca", city.ca_path, "--certificate", certificate, "--key", key]
    words += ["--topic", topics_of(draft.audience)[0], "--rate", RATE, "--seconds", SECONDS]
    words += ["--genuine", genuine, "--genuine-at", SECONDS / 2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.peers.flood", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)["sent"]
    assert sent >= 0.9 * RATE * SECONDS
    world.wait_state(signed.jti, "delivered", limit_s=90)
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    world.home.wait_for("every message counted", lambda: sum(world.refused_unread().values()) >= sent - 1, 90)
    assert resident_bytes(pid) - before < 32 << 20
    assert store.stat().st_size - size < 1 << 20
    # Recording went on: footage of the whole flood, picture by picture.
    after = world.send(world.draft(SECONDS, 1))
    assert world.answers(after.jti)[-1].status is Status.DELIVERED
    assert world.open(after.jti).ok
    pictures = read_pictures(world.folder / after.jti)
    assert all(later.pixels - earlier.pixels < 1_000_000_000 for earlier, later in pairwise(pictures))

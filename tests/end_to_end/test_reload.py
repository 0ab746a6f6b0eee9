"""``edge-agent reload``: untouched cameras lose nothing, a changed source is denied at once, a mistake is refused."""

import json
import signal

import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.reader import RingReader
from edge_agent.custody.keys import KeyStore
from edge_agent.demo.camera import SimulatedCamera
from edge_agent.errors import EdgeAgentError
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import HOUR_NS, UtcNs, Window
from tests.peers.wait import wait_until

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def read(world, camera):
    """Return every record of a camera's ring."""
    config = world.home.config
    vault = KeyStore(config.state_dir, "releaser").load_private("vault")
    now = world.clock.utc()
    order = ExportOrder("test", camera, Quality.MAIN, Window(UtcNs(now - HOUR_NS), UtcNs(now + HOUR_NS)), "", now)
    with RingReader.open(config.ring_path(camera, "main"), vault) as reader:
        return list(reader.read_own(order))


def edit(world, before, after):
    path = world.home.config_path
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_reload_takes_over_a_changed_camera_and_leaves_the_others_alone(world):
    """One goes to another address, one is not touched: that one has one run and no gap."""
    world.wait_recorded(3)
    pids = {name: process.pid for name, process in world.home.processes.items()}
    with SimulatedCamera() as other:
        edit(world, json.dumps(world.cameras["front-door"].url), json.dumps(other.url))
        said = world.home.run("reload")
        assert "front-door: begins anew" in said
        assert "back-yard: untouched" in said
        assert "front-door: the signature does not count, nothing leaves" in said
        assert "releaser: back-yard" not in said
        world.home.wait_ready()
        world.wait_recorded(3)
        # What the owner signed names the address before: nothing leaves until it is signed again.
        consents = world.home.ask("releaser", "status")["consents"]
        assert "void" in json.dumps(consents["front-door"]).lower()
        signed = world.send(world.draft(2, 1))
        world.wait_state(signed.jti, "denied")
        assert {name: process.pid for name, process in world.home.processes.items()} == pids
        records = read(world, "back-yard")
        assert [record.header.kind for record in records].count(Kind.RUN) == 1
        assert Kind.GAP not in [record.header.kind for record in records[1:]]


def test_reload_refuses_a_mistake_and_goes_on(world):
    """Neither process takes over a file that cannot be read."""
    text = world.home.config_path.read_text()
    world.home.config_path.write_text(text + "\nnonsense: 1\n")
    with pytest.raises(EdgeAgentError, match="nonsense"):
        world.home.run("reload")
    for process in world.home.processes.values():
        process.send_signal(signal.SIGHUP)
    logs = [world.home.folder / f"{name}.log" for name in ("record", "release")]
    wait_until(lambda: all("is not taken over" in log.read_text() for log in logs), 30)
    world.home.config_path.write_text(text)
    world.wait_recorded(2)
    assert world.home.ask("releaser", "status")["broker"] == "connected"
    assert "nothing that concerns recording has changed" in world.home.run("reload")
    world.home.wait_ready()


def test_reload_adds_and_removes_cameras(world):
    """A camera that is switched off stops, and its ring stays; one that is added is recorded."""
    with SimulatedCamera() as third:
        url = json.dumps(third.url)
        edit(world, "  - id: back-yard\n", "  - id: back-yard\n    enabled: false\n")
        edit(world, "cameras:\n", f"cameras:\n  - {{id: garage, url: {url}, size: 64MiB}}\n")
        said = world.home.run("reload")
        assert "garage: is recorded from now on" in said
        assert "back-yard: is not recorded any more" in said

        def states():
            cameras = world.home.ask("recorder", "status")["cameras"]
            return {name: each["state"] for name, each in cameras.items()}

        world.home.wait_for("the third camera", lambda: states().get("garage.main") == "recording")
        assert states()["back-yard.main"] == "off"
        assert not world.cameras["back-yard"].has_players()
        assert read(world, "back-yard")

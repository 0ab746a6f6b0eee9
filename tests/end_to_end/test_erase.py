"""The owner erases a span, a camera, everything: in rings, holds and staging, with the two real processes."""

import json

import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.reader import RingReader
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import EdgeAgentError
from edge_agent.protocol.answer import Status
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import SECOND_NS, UtcNs, Window, encode_rfc3339, parse_rfc3339
from tests.end_to_end.test_owner import SLOW_UPLOAD, assert_nothing_can_be_opened

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def footage(world, camera: str = "front-door") -> list[Window]:
    """Return what the vault's key of now opens of a camera, as the spans of its GOPs."""
    config = world.home.config
    vault = KeyStore(config.state_dir, "releaser").load_private("vault")
    order = ExportOrder("o", camera, Quality.MAIN, Window(UtcNs(0), UtcNs(1 << 61)), "", UtcNs(0))
    with RingReader.open(config.ring_path(camera, "main"), vault) as reader:
        records = [each for each in reader.read_own(order, on_loss=lambda _: None) if each.header.kind is Kind.GOP]
    return [Window(each.start_ns, UtcNs(each.start_ns + each.header.duration_ns)) for each in records]


def test_erased_span_is_gone_from_ring_and_upload(make_world):
    """Whole blocks go and are named; the upload that held any of it is withdrawn and stays closed; the rest is kept."""
    world = make_world(house={"cooling_off": "0s"}, extra_config=SLOW_UPLOAD)
    world.wait_recorded(16)
    signed = world.send(world.draft(15, 6))
    world.wait_state(signed.jti, "uploading")
    window = world.draft(14, 10).window
    words = ("erase", "front-door", "--from", encode_rfc3339(window.start), "--to", encode_rfc3339(window.end))
    with pytest.raises(EdgeAgentError, match="nothing was changed"):
        world.home.run(*words)
    told = json.loads(world.home.run(*words, "--yes", "--json"))
    assert told["failed"] == {}
    blocks = told["erased"]["front-door.main"]
    gone = [Window(parse_rfc3339(b["window"]["start"]), parse_rfc3339(b["window"]["end"])) for b in blocks]
    assert gone
    assert gone[0].start <= window.start + 2 * SECOND_NS
    assert all(each.intersect(window) for each in gone)
    assert told["stopped"] == [int(world.number(signed.jti))]
    assert told["holds"] == 0  # what is bundled already is not held as well
    assert world.answers(signed.jti)[-1].status is Status.CANCELLED
    assert_nothing_can_be_opened(world, signed.jti)
    assert list(world.home.config.staging_dir.iterdir()) == []
    assert list(world.home.config.holds_dir.glob("*.ring")) == []
    world.wait_recorded(2)
    left = footage(world)
    assert left
    assert not any(each.intersect(span) for each in left for span in gone)
    assert footage(world, "back-yard")[0].start < window.start
    (entry,) = world.entries("erase")
    assert entry["entry"]["camera"] == "front-door"
    assert entry["entry"]["stopped"] == [int(world.number(signed.jti))]
    assert "whole" in world.home.run("ring", "check", "front-door")


def test_erased_camera_takes_the_hold_of_a_waiting_request_and_no_other(make_world):
    """A request that waits for the owner goes on waiting; what it held is gone, and an approval finds no footage."""
    world = make_world(terms={"mode": "ask"})
    world.wait_recorded(6)
    signed = world.send(world.draft(5, 4))
    world.wait_state(signed.jti, "asked")
    config = world.home.config
    world.home.wait_for("the hold", lambda: list(config.holds_dir.glob("*.ring")))
    told = json.loads(world.home.run("erase", "back-yard", "--yes", "--json"))
    assert (told["holds"], told["stopped"]) == (0, [])
    told = json.loads(world.home.run("erase", "front-door", "--yes", "--json"))
    assert (told["holds"], told["stopped"]) == (1, [])
    erased_at = world.clock.utc()
    passphrase = ("--passphrase-file", str(world.home.passphrase_path))
    world.home.run("requests", "approve", world.number(signed.jti), "--yes", *passphrase)
    assert world.answers(signed.jti)[-1].status is Status.NO_FOOTAGE
    world.wait_recorded(2)
    assert all(each.end > erased_at - SECOND_NS for each in footage(world))


def test_everything_erased_needs_stopped_processes_and_a_new_consent(world):
    """With a process running nothing is touched; afterwards no old byte opens, and nothing is granted until signed."""
    world.wait_recorded(6)
    config = world.home.config
    paths = [config.ring_path(camera, "main") for camera in ("front-door", "back-yard")]
    old = {path: path.read_bytes() for path in paths}
    vault = KeyStore(config.state_dir, "releaser").load_private("vault")
    with pytest.raises(EdgeAgentError, match="runs"):
        world.home.run("erase", "--everything", "--yes")
    assert KeyStore(config.state_dir, "releaser").load_private("vault").private_bytes_raw() == vault.private_bytes_raw()
    world.home.stop()
    told = world.home.run("erase", "--everything", "--yes")
    assert "consent sign" in told
    assert not any(path.exists() for path in paths)
    assert KeyStore(config.state_dir, "releaser").load_private("vault").private_bytes_raw() != vault.private_bytes_raw()
    world.home.start("record", "release")
    world.home.wait_ready()
    world.wait_recorded(9)
    assert footage(world)
    for path in paths:  # the old file, had somebody kept a copy, opens with the old key alone
        assert old[path][:4096] != path.read_bytes()[:4096]
    refused = world.send(world.draft(8, 6))
    assert world.wait_state(refused.jti, "denied")["reasons"]
    world.home.sign()
    granted = world.send(world.draft(8, 6))
    world.wait_state(granted.jti, "delivered")
    (entry,) = world.entries("erase")
    assert entry["entry"]["what"] == "everything erased, new vault key"
    assert "ledger is whole" in world.home.run("ledger", "verify")

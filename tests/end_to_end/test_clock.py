"""A gateway whose clock was wrong: what was recorded then, what is decided then, and the owner's word about it."""

import json
import os
import uuid
from itertools import pairwise

import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.custody.keys import KeyStore
from edge_agent.demo.source import LiveSettings
from edge_agent.errors import EdgeAgentError
from edge_agent.host.clock import SystemClock, read_boot_id
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Status
from edge_agent.units import DAY_NS, HOUR_NS, SECOND_NS, UtcNs, Window, encode_rfc3339, parse_rfc3339
from edge_agent.uplink.store.database import Database
from tests.end_to_end.conftest import World, passphrase, read_pictures
from tests.support.fakes import FakeClock

pytestmark = [pytest.mark.peer, pytest.mark.slow]

FRAME_NS = SECOND_NS // LiveSettings().fps
AHEAD_NS = 75 * 365 * DAY_NS


def plant(home, process: str, **memory: object) -> None:
    """Give a process's clock a memory that it does not have yet."""
    folder = home.config.recorder_state_dir if process == "recorder" else home.config.store_path.parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clock.json").write_text(json.dumps({"utc_ns": 0, "boot_id": "", **memory}))


def was_in_2101(home) -> None:
    """The recorder's clock was wrong once, and nothing that is said of now is believed since."""
    plant(home, "recorder", utc_ns=SystemClock().utc() + AHEAD_NS)


def newest(world: World) -> int:
    return int(world.home.ask("recorder", "status")["cameras"]["front-door.main"].get("last_record_ns") or 0)


def wait_more(world: World, seconds: float) -> None:
    """Wait until the recorder has stored so much more, by whatever clock."""
    start = newest(world)
    world.home.wait_for("footage", lambda: newest(world) >= start + int(seconds * SECOND_NS), seconds + 30)


def manifest_of(world: World, jti: str) -> dict:
    return jws.parse((world.folder / jti / "manifest.jws").read_bytes(), "clip-manifest+jws", 1 << 24).payload


def test_footage_of_before_the_clock_was_right_is_dated_once_it_is(make_world):
    """Floor-only footage is not released by its written time; once the boot has synchronised, it is by the true one."""
    world = make_world(prepare=was_in_2101)
    assert world.home.ask("recorder", "status")["clock"] == "floor-only"
    wait_more(world, 7)
    assert newest(world) > world.clock.utc() + AHEAD_NS - HOUR_NS
    early = world.send(world.draft(5, 1))
    assert [answer.status for answer in world.answers(early.jti)] == [Status.QUEUED, Status.NO_FOOTAGE]

    with pytest.raises(EdgeAgentError):
        world.home.run("clock", "confirm", "--yes", "--passphrase-file", "/dev/null")
    assert world.home.ask("recorder", "status")["clock"] == "floor-only"
    draft = world.draft(5, 1)
    world.home.run("clock", "confirm", "--yes", *passphrase(world))
    confirmed = world.clock.utc()
    assert world.home.ask("recorder", "status")["clock"] == "synchronised"
    world.home.wait_for("footage", lambda: confirmed + 3 * SECOND_NS < newest(world) < confirmed + HOUR_NS)
    assert [each["entry"]["what"] for each in world.entries("clock")] == ["clock confirmed"]

    signed = world.send(draft)
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    findings = world.open(signed.jti)
    assert findings.ok, findings.as_text()
    assert "counted back" in findings.as_text()
    clocks = manifest_of(world, signed.jti)["clocks"]
    assert (clocks["states"], clocks["rebased"]) == (["floor-only"], True)
    pictures = read_pictures(world.folder / signed.jti)
    assert all(draft.window.start <= picture.ring < draft.window.end for picture in pictures)
    # Camera, gateway and test share one clock: what is left is the camera's own delay.
    assert all(-FRAME_NS < picture.ring - picture.pixels < SECOND_NS for picture in pictures)
    assert {round((b.pixels - a.pixels) / FRAME_NS) for a, b in pairwise(pictures)} == {1}

    # Across the moment at which the clock became right: one clip each, and both are in true time.
    both = Window(UtcNs(confirmed - 4 * SECOND_NS), UtcNs(confirmed + 3 * SECOND_NS))
    wide = world.send(world.over(both))
    assert world.answers(wide.jti)[-1].status is Status.DELIVERED
    assert world.open(wide.jti).ok
    manifest = manifest_of(world, wide.jti)
    assert (manifest["clocks"]["states"], manifest["clocks"]["rebased"]) == (["floor-only", "synchronised"], True)
    assert len(world.clips(wide.jti)) == 2
    for clip in manifest["clips"]:
        shown = read_pictures(world.folder / wide.jti, clip["file"])
        assert all(-FRAME_NS < picture.ring - picture.pixels < SECOND_NS for picture in shown)


def test_footage_of_a_boot_that_never_synchronised_is_the_owners_alone(make_world, monkeypatch, tmp_path):
    """Without a time source until the power went, its time is not known: no request gets it, its owner does."""
    monkeypatch.setenv("EDGE_AGENT_BOOT_ID", str(uuid.uuid4()))
    world = make_world(prepare=was_in_2101)
    wait_more(world, 7)
    written, true = newest(world), world.draft(5, 1)
    world.home.stop("record")
    (world.home.config.recorder_state_dir / "clock.json").unlink()
    monkeypatch.setenv("EDGE_AGENT_BOOT_ID", str(uuid.uuid4()))
    world.home.start("record")
    world.home.wait_ready()
    world.wait_recorded(3)
    assert world.home.ask("recorder", "status")["clock"] == "synchronised"
    asked = world.send(true)
    assert [answer.status for answer in world.answers(asked.jti)] == [Status.QUEUED, Status.NO_FOOTAGE]
    start, end = (encode_rfc3339(UtcNs(written - seconds * SECOND_NS)) for seconds in (5, 1))
    copy = tmp_path / "own.mp4"
    world.home.run("export", "front-door", "--from", start, "--to", end, "--out", str(copy), *passphrase(world))
    assert copy.stat().st_size > 10_000


def test_nothing_is_decided_by_a_clock_that_was_set_forward(make_world):
    """The wall clock is eight hours ahead of where it stood: a request waits, nothing is released, until the owner
    says that the time is right; and the group of the control sockets cannot say it for them."""

    def stood_elsewhere(home) -> None:
        clock = SystemClock()
        stood_ns = clock.utc() - clock.boot() - 8 * HOUR_NS
        plant(home, "releaser", boot_id=read_boot_id().hex(), utc_minus_boot_ns=stood_ns)
        # A store that knows since when it remembers: one without a believed clock refuses what was issued before it.
        home.config.store_path.parent.mkdir(parents=True, exist_ok=True)
        with Database(home.config.store_path) as store:
            store.note_birth(UtcNs(clock.utc() - DAY_NS))

    world = make_world(prepare=stood_elsewhere)
    world.wait_recorded(5)
    assert "was set by +28800 s" in world.home.run("clock", check=False)
    signed = world.send(world.draft(4, 1))
    for members in ({}, {"jws": "{}"}, {"jws": world.sign(world.draft(4, 1)).raw.decode()}):
        with pytest.raises(EdgeAgentError):
            world.home.ask("releaser", "confirm-clock", **members)
        with pytest.raises(EdgeAgentError):
            world.home.ask("recorder", "order", **members)
    assert world.find(signed.jti) is None
    assert world.home.ask("releaser", "clock")["state"] == "floor-only"
    world.home.stop("release")
    world.home.start("release")
    world.home.wait_ready()
    assert world.home.ask("releaser", "clock")["state"] == "floor-only"
    world.home.run("clock", "confirm", "--yes", *passphrase(world))
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    (entry,) = world.entries("clock")
    assert abs(parse_rfc3339(entry["entry"]["time"]) - world.clock.utc()) < HOUR_NS
    assert world.home.run("clock", "confirm", *passphrase(world)).startswith("nothing waits for your word")
    shown = json.loads(world.home.run("clock", "--json"))
    assert {shown[name]["state"] for name in ("recorder", "releaser")} == {"synchronised"}
    bundle_signed = parse_rfc3339(shown["releaser"]["floor_least"])
    assert bundle_signed > os.stat(world.home.config_path).st_mtime_ns - HOUR_NS


def test_retention_waits_for_the_owner_and_then_follows(make_world):
    """Footage of before a week without power stays until the owner confirms the time; then it goes permanently."""

    def was_off_for_a_week(home) -> None:
        config, clock = home.config, FakeClock(utc=SystemClock().utc() - 7 * DAY_NS)
        keys = KeyStore(config.state_dir, "recorder")
        path = config.ring_path("front-door", "main")
        path.parent.mkdir(parents=True, exist_ok=True)
        (camera,) = [each for each in config.cameras if each.id == "front-door"]
        recorder_key = keys.load_private("recorder")
        create_ring(
            path, camera="front-door", quality="main", size_bytes=config.ring_size_bytes(camera, "main"),
            block_size=config.buffer.block_size_bytes, recorder_key=recorder_key, now=clock.utc(),
        )  # fmt: skip
        writer = RingWriter.open(
            path,
            keys=RingKeys(keys.load_public("vault"), recorder_key),
            clock=clock,
            boot_id=bytes(16),
            settings=WriterSettings(""),
        )
        writer.append(Draft(Kind.GOP, clock.utc(), SECOND_NS, clock.boot(), b"a week old"))
        writer.close()

    def held_back() -> list[str]:
        return world.home.ask("recorder", "clock")["held_back"]

    def blocks() -> list[bool]:
        with RingReader.open(world.home.config.ring_path("front-door", "main"), None) as reader:
            reader.index.refresh()
            return [entry.tombstone for entry in reader.index.entries()]

    world = make_world(prepare=was_off_for_a_week)
    world.home.wait_for("retention to look", lambda: held_back() == ["front-door.main"])
    world.wait_recorded(2)
    assert not any(blocks())
    assert "front-door.main for longer than you said" in world.home.run("clock")
    world.home.run("clock", "confirm", "--yes", *passphrase(world))
    assert held_back() == []
    world.home.wait_for("the old block to go", lambda: blocks()[0], 40)
    assert not blocks()[-1]  # that of the hole in between is as old as the hole
    world.home.stop("record")
    world.home.start("record")
    world.home.wait_ready()
    assert held_back() == []

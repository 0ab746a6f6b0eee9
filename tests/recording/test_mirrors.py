"""The mirrors' thread: what fails is told and tried again, and stops nobody."""

import threading
from pathlib import Path

import pytest

from edge_agent.recording import mirrors as mirrors_module
from edge_agent.recording.mirrors import Mirrors
from edge_agent.settings.gateway import parse_config
from edge_agent.units import SECOND_NS, UtcNs
from tests.peers.wait import wait_until


def test_a_mirror_that_fails_is_told_and_the_others_go_on(tmp_path):
    """The status says why; without a mirror_dir it says nothing."""
    text = "cameras: [{id: door, url: 'rtsp://a/b'}, {id: yard, url: 'rtsp://a/c'}]\n"
    mirrors = Mirrors(0.05)
    mirrors.change(parse_config(text + f"buffer: {{dir: {tmp_path}, mirror_dir: {tmp_path}/away}}\n", "t", tmp_path))
    mirrors.start()
    try:
        wait_until(lambda: "folder is missing" in mirrors.facts("yard.main")["mirror"], 10)
        (tmp_path / "away").mkdir()
        wait_until(lambda: "folder is missing" not in mirrors.facts("yard.main")["mirror"], 10)
        assert mirrors.facts("door.main")["mirror"] != "ok"  # there is no ring yet
        mirrors.change(parse_config(text, "t", tmp_path))
        assert mirrors.facts("door.main") == {}
    finally:
        mirrors.close()


class Copy:
    """A copy whose disk does as the test says."""

    def __init__(self, *_paths):
        self.does, self.rounds, self.dropped = lambda: None, 0, []

    def bring_up(self, _ring_id):
        self.does()
        self.rounds += 1

    def drop_older(self, before_ns):
        self.dropped.append(before_ns)

    def list_older(self):
        return [Path("/second/door.main.ring.00")]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return what makes the mirrors of two cameras, one of them switched off, with copies that the test leads."""
    monkeypatch.setattr(mirrors_module, "RingMirror", Copy)
    monkeypatch.setattr(mirrors_module, "_ERASE_PATIENCE_S", 1.0)
    text = "cameras: [{id: door, url: 'rtsp://a/b'}, {id: shed, url: 'rtsp://a/d', enabled: false}]\n"
    config = parse_config(text + f"buffer: {{dir: {tmp_path}, mirror_dir: {tmp_path}}}\n", "t", tmp_path)
    made = []

    def start(every_s, now=lambda: None):
        mirrors = Mirrors(every_s, now)
        mirrors.change(config)
        made.append(mirrors)
        mirrors.start()
        return mirrors, {name: each.copy for name, each in mirrors._mirrors.items()}

    yield start
    for mirrors in made:
        mirrors.close()


def test_a_second_disk_that_does_not_answer_is_told(run):
    """A round that never ends is no good round: the status says so after three of them, and says when it is over."""
    mirrors, copies = run(0.05)
    wait_until(lambda: mirrors.facts("door.main")["mirror"] == "ok", 10)
    hangs = threading.Event()
    copies["door.main"].does = lambda: hangs.wait(20)
    wait_until(lambda: "does not answer" in mirrors.facts("door.main")["mirror"], 10)
    hangs.set()
    wait_until(lambda: mirrors.facts("door.main")["mirror"] == "ok", 10)


def test_a_copy_that_was_never_brought_up_is_told(run, monkeypatch):
    """Before the first round is over there is no mirror."""
    hangs = threading.Event()
    monkeypatch.setattr(Copy, "bring_up", lambda *_: hangs.wait(20))
    mirrors, _ = run(60)
    try:
        assert mirrors.facts("door.main")["mirror"] == "not copied yet"
    finally:
        hangs.set()


def test_a_fault_in_one_copy_ends_no_thread(run, tmp_path):
    """It is told, the other copies go on, and so does this one when it is over."""
    (tmp_path / "shed.main.ring").touch()
    mirrors, copies = run(0.05)

    def fail():
        raise ZeroDivisionError

    copies["door.main"].does = fail
    wait_until(lambda: "ZeroDivisionError" in mirrors.facts("door.main")["mirror"], 10)
    rounds = copies["shed.main"].rounds
    wait_until(lambda: copies["shed.main"].rounds > rounds + 1, 10)
    copies["door.main"].does = lambda: None
    wait_until(lambda: mirrors.facts("door.main")["mirror"] == "ok", 10)


@pytest.mark.parametrize("name", ["door.main", "shed.main"])
def test_an_erasure_reaches_the_mirror_of_every_camera(run, tmp_path, name):
    """Also of one that is switched off; what was set aside goes, and a disk that is away is named until it is back."""
    (tmp_path / "shed.main.ring").touch()
    mirrors, copies = run(60)
    assert mirrors.erase([name]) == {}
    assert copies[name].rounds
    assert set(copies[name].dropped) == {None}
    copies[name].does = lambda: (_ for _ in ()).throw(OSError(5, "Input/output error"))
    copies[name].dropped.clear()
    (told,) = mirrors.erase([name, "other.main"]).items()
    assert copies[name].dropped == [None]  # what was set aside is gone, though the copy fails
    assert told[0] == f"{name} mirror"
    assert "Input/output error" in told[1]
    copies[name].does = copies[name].dropped.clear
    mirrors.hurry()
    wait_until(lambda: copies[name].dropped == [None], 10)


def test_what_was_set_aside_stays_no_longer_than_footage(run):
    """Retention counts for an older copy too, if it is known what time it is; the status names the copy."""
    mirrors, copies = run(60, lambda: UtcNs(100 * 3600 * SECOND_NS))
    wait_until(lambda: copies["door.main"].dropped == [(100 - 72) * 3600 * SECOND_NS], 10)
    wait_until(lambda: mirrors.facts("door.main").get("mirror_older") == "door.main.ring.00", 10)
    _, unsure = run(60)
    wait_until(lambda: unsure["door.main"].rounds, 10)
    assert unsure["door.main"].dropped == []

"""From a stream to its ring: ids decide, not paths; a changed size or place is followed; a kill is gone on from."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.read.check import check_ring
from edge_agent.buffer.ring import read_superblock
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys
from edge_agent.errors import EdgeAgentError, RingError, RingPreparingError
from edge_agent.recording.ring_ids import KnownRingIds, Pin
from edge_agent.recording.ring_opener import RingOpener
from edge_agent.settings.gateway import Config, parse_config
from tests.buffer.rig import ADDRESS, Draft, FakeClock, Keys, Rig, read_all

KEYS = Keys()


class House:
    """A configuration with one camera, and openers of its ring as one recorder after the other makes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size, self.dir = "8MiB", folder / "rings"
        (folder / "recorder").mkdir(parents=True)
        self.stop = threading.Event()
        self.rig = Rig(folder, KEYS, FakeClock())

    @property
    def config(self) -> Config:
        text = (
            f"gateway: {{state_dir: {self.folder}, run_dir: {self.folder}}}\n"
            f"buffer: {{size: {self.size}, block_size: 64KiB, dir: {self.dir}}}\n"
            f"cameras: [{{id: door, url: '{ADDRESS}'}}]\n"
        )
        return parse_config(text, "test", self.folder)

    @property
    def path(self) -> Path:
        return self.config.ring_path("door", "main")

    def opener(self) -> RingOpener:
        self.dir.mkdir(exist_ok=True)
        pins = KnownRingIds(self.folder / "recorder" / "rings.json")
        return RingOpener(
            self.config, RingKeys(KEYS.vault.public_key(), KEYS.recorder), self.rig.clock, bytes(16), pins, self.stop
        )

    def open(self, opener: RingOpener | None = None) -> RingWriter:
        opener = opener or self.opener()
        for _ in range(100):
            try:
                return opener.open(self.config.cameras[0], "main")
            except RingPreparingError:
                continue
        raise AssertionError("the ring was not ready in time")

    def record(self, count: int = 40) -> list[Draft]:
        writer = self.open()
        drafts = self.rig.record(writer, count)
        writer.close()
        return drafts

    def ring_id(self) -> bytes:
        disk = FileDisk.open(self.path)
        try:
            return read_superblock(disk).superblock.ring_id
        finally:
            disk.close()

    def payloads(self) -> list[bytes]:
        with self.rig.reader(str(self.path)) as reader:
            return [each.plaintext for each in read_all(reader)]

    def assert_whole(self) -> None:
        disk = FileDisk.open(self.path)
        try:
            assert check_ring(disk, KEYS.recorder.public_key()).findings == ()
        finally:
            disk.close()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "state")


def test_another_ring_at_the_path_is_refused_until_it_is_accepted(house: House, tmp_path: Path) -> None:
    """Another disk mounted there holds another ring: nothing of it is touched, and the hint says what to do."""
    house.record()
    other = House(tmp_path / "other")
    other.record()
    shutil.copy(other.path, house.path)
    before = house.path.read_bytes()
    opener = house.opener()
    with pytest.raises(RingError, match="another ring lies at this path") as caught:
        house.open(opener)
    assert "edge-agent ring accept door.main" in caught.value.hint
    assert house.path.read_bytes() == before
    opener.accept("door.main")
    house.open(opener).close()
    assert house.ring_id() == other.ring_id()
    house.open().close()


def test_missing_ring_is_not_made_anew_until_it_is_accepted(house: House) -> None:
    """A disk that is not mounted shows an empty folder: no ring is made on the disk below."""
    house.record()
    house.path.unlink()
    opener = house.opener()
    with pytest.raises(RingError, match="ring is not there") as caught:
        house.open(opener)
    assert "Is its disk mounted?" in caught.value.hint
    assert not house.path.exists()
    opener.accept("door.main")
    house.open(opener).close()
    assert house.path.exists()


def test_ring_from_before_the_pins_is_taken_and_pinned(house: House) -> None:
    """Without a memory the ring that is there is the ring; a memory that cannot be read is none."""
    house.record()
    memory = house.folder / "recorder" / "rings.json"
    assert json.loads(memory.read_text())["door.main"]["ring_id"] == house.ring_id().hex()
    memory.write_text("{")
    house.record()
    assert KnownRingIds(memory).find("door.main") == Pin(house.ring_id(), house.path)


@pytest.mark.parametrize("size", ["16MiB", "9MiB", "24MiB"])
def test_changed_size_is_followed_and_the_id_stays(house: House, size: str) -> None:
    """The newest footage goes along; the ring id, which consent is bound to, is the same."""
    house.size = "16MiB"
    drafts = house.record(60)
    ring_id = house.ring_id()
    house.size = size
    more = house.record(5)
    assert house.ring_id() == ring_id
    assert house.path.stat().st_size <= int(size.removesuffix("MiB")) << 20
    payloads = house.payloads()
    wanted = [draft.payload for draft in drafts + more]
    assert payloads == wanted[-len(payloads) :]
    assert len(payloads) > len(more)
    house.assert_whole()


def test_changed_place_is_followed(house: House) -> None:
    """Another folder in the configuration: the ring goes there, and nothing stays behind."""
    drafts = house.record()
    old, ring_id = house.path, house.ring_id()
    house.dir = house.folder / "elsewhere"
    more = house.record(5)
    assert not old.exists()
    assert house.ring_id() == ring_id
    assert house.payloads() == [draft.payload for draft in drafts + more]


def test_copy_that_a_kill_left_at_the_old_place_is_destroyed(house: House) -> None:
    """Killed between the new name and the removal of the old one: the next start removes it."""
    house.record()
    old = house.path
    left = old.read_bytes()
    house.dir = house.folder / "elsewhere"
    moving = house.opener()
    pins = (house.folder / "recorder" / "rings.json").read_bytes()
    house.open(moving).close()
    (house.folder / "recorder" / "rings.json").write_bytes(pins)
    old.write_bytes(left)
    house.open().close()
    assert not old.exists()


def test_stopped_move_goes_on_at_the_next_start(house: House) -> None:
    """A recorder that is told to stop in the middle of a move loses nothing; the next one ends it."""
    drafts = house.record(60)
    house.size = "24MiB"
    house.stop.set()
    with pytest.raises(EdgeAgentError, match="next start"):
        house.opener().open(house.config.cameras[0], "main")
    assert house.path.with_name(house.path.name + ".moving").exists()
    house.stop.clear()
    more = house.record(5)
    assert house.payloads() == [draft.payload for draft in drafts + more]
    house.assert_whole()


def test_impossible_work_is_said_and_tried_again(house: House) -> None:
    """A folder that cannot be written to is an error in words at each try, not a hang."""
    house.dir = house.folder / "nowhere"
    opener = house.opener()
    house.dir.rmdir()
    for _ in range(2):
        with pytest.raises(RingError, match="cannot create ring"):
            opener.open(house.config.cameras[0], "main")

"""From a stream to its ring: ids decide, not paths; a changed size or place is followed; a kill is gone on from."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.format.constants import PAGE_BYTES, SUPERBLOCK_COPIES
from edge_agent.buffer.index import RingIndex
from edge_agent.buffer.read.check import check_ring
from edge_agent.buffer.ring import read_superblock
from edge_agent.buffer.write import resize
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys
from edge_agent.errors import DurabilityError, EdgeAgentError, RingError, RingPreparingError
from edge_agent.recording import ring_opener
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


def test_ring_that_is_being_moved_is_not_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pin alone knows both places: after a kill nothing else would find them."""
    drafts = house.record()
    house.dir = house.folder / "second"
    goes_on, real = threading.Event(), resize.copy_block
    monkeypatch.setattr(ring_opener, "_AT_ONCE_S", 0.01)
    monkeypatch.setattr(resize, "copy_block", lambda *args: goes_on.wait(30) and real(*args))
    opener = house.opener()
    with pytest.raises(RingPreparingError):
        opener.open(house.config.cameras[0], "main")
    with pytest.raises(RingPreparingError):
        opener.accept("door.main")
    goes_on.set()
    house.open(opener).close()
    assert house.payloads() == [draft.payload for draft in drafts]


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
    left = bytearray(old.read_bytes())
    with FileDisk.open(old) as disk:
        superblock = read_superblock(disk).superblock
    at = SUPERBLOCK_COPIES * PAGE_BYTES
    left[at : at + superblock.blocks * PAGE_BYTES] = bytes(superblock.blocks * PAGE_BYTES)
    house.dir = house.folder / "elsewhere"
    moving = house.opener()
    pins = (house.folder / "recorder" / "rings.json").read_bytes()
    house.open(moving).close()
    (house.folder / "recorder" / "rings.json").write_bytes(pins)
    old.write_bytes(left)
    house.open().close()
    assert not old.exists()


def test_copy_that_somebody_else_made_does_not_cost_the_newer_one(house: House) -> None:
    """Copied by hand while recording went on, or a mirror that lags: the ring it was copied from is not destroyed."""
    drafts = house.record(20)
    second = house.folder / "second"
    second.mkdir()
    shutil.copy(house.path, second / house.path.name)
    drafts += house.record(40)
    first = house.path
    house.dir = second
    house.open().close()
    house.dir = first.parent
    assert house.payloads() == [draft.payload for draft in drafts]


BreakOff = Callable[[House, int], None]


@pytest.fixture
def break_off(monkeypatch: pytest.MonkeyPatch) -> BreakOff:
    """Have a ring opened on a disk that is full after so many blocks; then there is room again."""
    real = resize.copy_block

    def open_until_full(house: House, blocks: int) -> None:
        left = [blocks]

        def copy(*args: Any) -> int:
            if not left[0]:
                raise DurabilityError("write failed: No space left on device")
            left[0] -= 1
            return real(*args)

        with monkeypatch.context() as patch, pytest.raises(RingError, match="No space"):
            patch.setattr(resize, "copy_block", copy)
            house.open()

    return open_until_full


def test_broken_move_is_taken_back_with_its_wish(house: House, break_off: BreakOff) -> None:
    """The new disk is full, and the owner puts the old place back: what was moved, the newest footage, comes back."""
    drafts = house.record(60)
    home, house.dir = house.dir, house.folder / "small"
    break_off(house, 4)
    away, house.dir = house.path, home
    house.open().close()
    house.assert_whole()
    assert house.payloads() == [draft.payload for draft in drafts]
    assert not list(away.parent.iterdir())


def test_block_comes_back_to_a_page_that_is_damaged(house: House, break_off: BreakOff) -> None:
    """Its page where it was cannot be read any more; the copy has it whole, and goes with the move."""
    drafts = house.record(60)
    home, house.dir = house.dir, house.folder / "small"
    break_off(house, 4)
    house.dir = home
    with FileDisk.open(house.path, writable=True) as disk:
        index = RingIndex(disk, read_superblock(disk).superblock)
        index.load()
        disk.pwrite(b"damage", index.superblock.page_offset(index.newest_seq) + 200)
    house.open().close()
    house.assert_whole()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_broken_taking_back_goes_on(house: House, break_off: BreakOff) -> None:
    """A kill while it is taken back costs nothing either."""
    drafts = house.record(60)
    home, house.dir = house.dir, house.folder / "small"
    break_off(house, 4)
    house.dir = home
    break_off(house, 2)
    house.open().close()
    house.assert_whole()
    assert house.payloads() == [draft.payload for draft in drafts]


@pytest.mark.parametrize("place", ["small", ""])
@pytest.mark.parametrize("killed_at", ["removal", "remember"])
def test_taking_back_may_be_killed_at_its_end(
    house: House, break_off: BreakOff, monkeypatch: pytest.MonkeyPatch, place: str, killed_at: str
) -> None:
    """Between the last block that is copied back, the memory of it, and the end of the other file."""
    drafts = house.record(60)
    home, size = house.dir, house.size
    house.dir, house.size = (house.folder / place, size) if place else (home, "24MiB")
    break_off(house, 4)
    house.dir, house.size = (home, size) if place else (house.folder / "other", size)

    def fail(*_: object) -> None:
        raise RingError("killed")

    with monkeypatch.context() as patch:
        if killed_at == "removal":
            patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "killed")))
        else:
            patch.setattr(KnownRingIds, "remember", fail)
        with pytest.raises(RingError, match="killed"):
            house.open()
    for _ in range(2):
        house.open().close()
        house.assert_whole()
        assert house.payloads() == [draft.payload for draft in drafts]


def test_old_place_is_not_forgotten_by_a_further_move(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the old file went, then another size, then the old place: the empty file there is not the ring."""
    drafts = house.record(60)
    home, old, real = house.dir, house.path, Path.unlink
    house.dir = house.folder / "second"

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path == old:
            raise OSError(5, "killed")
        real(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises((RingError, OSError)):
            house.open()
    house.size = "24MiB"
    house.open().close()
    assert not old.exists()
    house.dir = home
    house.open().close()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_wrong_disk_where_a_move_went_is_not_taken_for_the_ring(
    house: House, break_off: BreakOff, tmp_path: Path
) -> None:
    """Another disk with a ring of the same name is mounted there: it is refused, and both parts are found later."""
    drafts = house.record(60)
    away = house.dir = house.folder / "away"
    break_off(house, 4)
    away.rename(house.folder / "unplugged")
    away.mkdir()
    other = House(tmp_path / "other")
    other.record()
    shutil.copy(other.path, away / other.path.name)
    house.dir = house.folder / "third"
    with pytest.raises(RingError, match="another ring"):
        house.open()
    shutil.rmtree(away)
    (house.folder / "unplugged").rename(away)
    house.open().close()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_taking_back_needs_no_more_room_than_the_move(
    house: House, break_off: BreakOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files are on one disk, which is full: space is given back as it is taken, and a stop is heeded."""
    drafts = house.record(120)
    home, house.dir = house.dir, house.folder / "second"
    break_off(house, 10)
    making, used, real = house.path.with_name(house.path.name + ".moving"), list[int](), resize.copy_block

    def copy(*args: Any) -> int:
        used.append(making.stat().st_blocks)
        return real(*args)

    monkeypatch.setattr(resize, "copy_block", copy)
    house.dir = home
    house.stop.set()
    with pytest.raises(EdgeAgentError, match="next start"):
        house.opener().open(house.config.cameras[0], "main")
    assert used == []
    house.stop.clear()
    house.open().close()
    assert used[-1] < used[0] / 4
    assert sorted(used, reverse=True) == used
    assert house.payloads() == [draft.payload for draft in drafts]


@pytest.mark.parametrize("size", ["8MiB", "24MiB"])
def test_end_of_a_broken_move_may_be_killed(house: House, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """The copy was complete, and the kill came before that was remembered; then the ring is wanted elsewhere."""
    drafts = house.record(60)
    house.size = size
    if size == "8MiB":
        house.dir = house.folder / "second"
    real = KnownRingIds.remember

    def fail(pins: KnownRingIds, name: str, pin: Pin) -> None:
        if pin.moves_to is None:
            raise RingError("killed")
        real(pins, name, pin)

    with monkeypatch.context() as patch:
        patch.setattr(KnownRingIds, "remember", fail)
        with pytest.raises(RingError, match="killed"):
            house.open()
    house.dir = house.folder / "third"
    house.open().close()
    house.assert_whole()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_broken_resize_goes_along_to_another_place(house: House, break_off: BreakOff) -> None:
    """A resize that broke off, and then another place: both parts go there."""
    drafts = house.record(60)
    house.size = "24MiB"
    break_off(house, 4)
    house.dir = house.folder / "larger"
    house.open().close()
    house.assert_whole()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_complete_copy_of_a_broken_move_is_the_ring(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when the copy was complete and the old file empty, and wanted at the old place again: nothing is lost."""
    drafts = house.record(60)
    home, house.dir = house.dir, house.folder / "second"
    monkeypatch.setattr(resize, "_take_name", lambda *_: (_ for _ in ()).throw(DurabilityError("killed")))
    with pytest.raises(RingError, match="killed"):
        house.open()
    monkeypatch.undo()
    house.dir = home
    house.open().close()
    house.assert_whole()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_part_that_is_away_is_waited_for(house: House, break_off: BreakOff) -> None:
    """The disk with the newest footage is not there: nothing is recorded over the rest, and the hint names the disk."""
    drafts = house.record(60)
    home, house.dir = house.dir, house.folder / "small"
    break_off(house, 4)
    disk, house.dir = house.dir, home
    disk.rename(house.folder / "unplugged")
    with pytest.raises(RingError, match="a part of the ring is not there") as caught:
        house.open()
    assert "Is its disk mounted?" in caught.value.hint
    (house.folder / "unplugged").rename(disk)
    house.open().close()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_what_was_erased_does_not_come_back_from_a_broken_move(house: House, break_off: BreakOff) -> None:
    """An erasure after a move that was taken back holds when the ring moves there after all."""
    house.record(60)
    home, away = house.dir, house.folder / "small"
    house.dir = away
    break_off(house, 4)
    house.dir = home
    writer = house.open()
    writer.erase(None)
    writer.close()
    house.dir = away
    house.open().close()
    assert house.payloads() == []


def test_place_that_changes_during_a_move_is_followed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload while a ring moves: it ends, and the ring goes to the place that counts now."""
    drafts, home = house.record(60), house.dir
    real, go = resize.copy_block, threading.Event()

    def copy(*args: Any) -> int:
        go.wait(20)
        return real(*args)

    monkeypatch.setattr(resize, "copy_block", copy)
    opener = house.opener()
    house.dir = house.folder / "elsewhere"
    house.dir.mkdir()
    opener.change(house.config)
    with pytest.raises(RingPreparingError):
        opener.open(house.config.cameras[0], "main")
    house.dir = home
    opener.change(house.config)
    go.set()
    house.open(opener).close()
    house.open().close()
    assert house.payloads() == [draft.payload for draft in drafts]


def test_size_without_room_moves_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that the disk does not have is refused before a block is given back, and can be taken back."""
    drafts = house.record(60)

    class Small:
        f_bavail, f_frsize = 1, 4096

    monkeypatch.setattr(os, "statvfs", lambda _: Small)
    before, house.size = house.size, "800MiB"
    with pytest.raises(RingError, match="no space for the ring") as caught:
        house.open()
    assert "Nothing was moved" in caught.value.hint
    assert [each.name for each in house.dir.iterdir()] == [house.path.name]
    house.size = before
    house.open().close()
    house.assert_whole()
    assert house.payloads() == [draft.payload for draft in drafts]


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

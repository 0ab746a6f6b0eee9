"""A mirror: the same ciphertext elsewhere, whole as far as it says, and as erased as the ring."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.mirror import RingMirror
from edge_agent.buffer.read.check import check_ring
from edge_agent.buffer.ring import load_superblock
from edge_agent.buffer.write.resize import move_ring
from edge_agent.errors import RingError
from edge_agent.units import SECOND_NS, UtcNs, Window
from tests.buffer.rig import START, Rig, read_all

WINDOW = Window(UtcNs(START), UtcNs(START + 400 * SECOND_NS))


@pytest.fixture
def mirrored(rig: Rig):
    (rig.folder / "second").mkdir()
    rig.create(blocks=8)
    return rig, RingMirror(rig.path, rig.folder / "second" / rig.path.name)


def read(rig: Rig, name: str):
    with rig.reader(name) as reader:
        return read_all(reader, WINDOW)


def test_a_mirror_reads_and_checks_as_its_ring(mirrored):
    """Through several laps, with an open block at the end; a second round touches the open block alone."""
    rig, mirror = mirrored
    writer = rig.writer()
    for _ in range(5):
        rig.record(writer, 30)
        mirror.bring_up()
    assert mirror.bring_up() <= 1
    name = f"second/{rig.path.name}"
    assert read(rig, name) == read(rig, rig.path.name) != []
    with FileDisk.open(rig.folder / name) as disk:
        assert check_ring(disk, rig.keys.recorder.public_key()).findings == ()


def test_an_erased_block_is_erased_in_the_mirror(mirrored):
    """Its key goes with its page: nothing of it opens there either."""
    rig, mirror = mirrored
    writer = rig.writer()
    rig.record(writer, 40)
    mirror.bring_up()
    assert read(rig, f"second/{rig.path.name}") != []
    writer.erase(None)
    mirror.bring_up()
    assert read(rig, f"second/{rig.path.name}") == []


def test_the_key_of_a_damaged_page_is_erased_in_the_mirror(mirrored):
    """The copy's page is whole, and the ring does not know any more what it was of; until then it is left alone."""
    rig, mirror = mirrored
    writer = rig.writer()
    rig.record(writer, 12)
    writer.close()
    mirror.bring_up()
    with rig.reader() as reader:
        (first, *_), place = reader.pages(), reader.index.superblock.page_offset(1)
    assert first.seq == 1
    with FileDisk.open(rig.path, writable=True) as disk:
        disk.pwrite(b"damage", place + 64)
    target = rig.folder / "second" / rig.path.name
    mirror.bring_up()
    assert first.sealed_key in target.read_bytes()
    rig.writer().erase(None)
    mirror.bring_up()
    assert first.sealed_key not in target.read_bytes()
    assert mirror.bring_up() == 0


def test_disks_that_take_turns_are_each_brought_up(rig: Rig):
    """One disk here, one elsewhere, exchanged now and then: what was erased meanwhile goes from each, and none lags."""
    here, away, mount = (rig.folder / name for name in ("here", "away", "mount"))
    rig.create(blocks=40)
    writer, mirror = rig.writer(), RingMirror(rig.path, mount / rig.path.name)
    for disk in (here, away):
        disk.mkdir()
    away.rename(mount)
    rig.record(writer, 40)
    mirror.bring_up()
    mount.rename(away)
    here.rename(mount)
    rig.record(writer, 40)
    mirror.bring_up()
    assert len(read(rig, f"mount/{rig.path.name}")) == 80
    writer.erase(None)
    rig.record(writer, 10)
    mirror.bring_up()
    mount.rename(here)
    away.rename(mount)
    mirror.bring_up()
    assert len(read(rig, f"mount/{rig.path.name}")) == 10


def test_another_ring_than_the_one_that_is_known_is_not_copied(mirrored):
    """The recorder refuses what lies there: the copy of the right ring, perhaps its last one, stays where it is."""
    rig, mirror = mirrored
    rig.record(rig.writer(), 40)
    known = load_superblock(rig.path).ring_id
    mirror.bring_up(known)
    footage = read(rig, f"second/{rig.path.name}")
    rig.path.unlink()
    rig.create(blocks=8)
    with pytest.raises(RingError, match="another ring"):
        mirror.bring_up(known)
    assert read(rig, f"second/{rig.path.name}") == footage != []
    assert mirror.list_older() == []


def test_a_new_process_copies_nothing_twice(mirrored):
    """After a restart the pages in the copy tell which blocks are whole: a large ring is not copied again."""
    rig, mirror = mirrored
    rig.record(rig.writer(), 40)
    first = mirror.bring_up()
    again = RingMirror(rig.path, rig.folder / "second" / rig.path.name)
    assert again.bring_up() <= 1 < first


def test_a_copy_that_was_cut_short_is_made_whole(mirrored):
    """A page without the one after it proves nothing: that block is copied again."""
    rig, mirror = mirrored
    writer = rig.writer()
    rig.record(writer, 12)
    mirror.bring_up()
    rig.record(writer, 28)
    RingMirror(rig.path, rig.folder / "second" / rig.path.name).bring_up()
    assert read(rig, f"second/{rig.path.name}") == read(rig, rig.path.name)


def test_a_disk_that_is_not_mounted_is_never_written_below(mirrored):
    """The folder is missing: that is said, and it is not made."""
    rig, _ = mirrored
    rig.record(rig.writer(), 5)
    mirror = RingMirror(rig.path, rig.folder / "away" / "door.ring")
    with pytest.raises(RingError, match="folder is missing"):
        mirror.bring_up()
    assert not (rig.folder / "away").exists()


def test_the_copy_of_another_ring_is_made_anew(mirrored, tmp_path):
    """The owner destroyed the ring and its key: the copy of the old one does not stay under the new one's name."""
    rig, mirror = mirrored
    rig.record(rig.writer(), 20)
    mirror.bring_up()
    rig.path.unlink()
    rig.create(blocks=8)
    mirror.bring_up()
    assert read(rig, f"second/{rig.path.name}") == []


def test_the_copy_of_a_ring_that_was_replaced_is_kept(mirrored):
    """After a disk was replaced it is all that is left: it reads as before under a name with its own id, and it is the
    only such one."""
    rig, mirror = mirrored
    for _ in range(3):
        rig.record(rig.writer(), 20)
        mirror.bring_up()
        before, ring_id = read(rig, f"second/{rig.path.name}"), load_superblock(rig.path).ring_id
        rig.path.unlink()
        rig.create(blocks=8)
        mirror.bring_up()
        (older,) = mirror.list_older()
        assert older.name == f"{rig.path.name}.{ring_id.hex()}"
        assert read(rig, f"second/{older.name}") == before != []
        assert read(rig, f"second/{rig.path.name}") == []
    (rig.folder / "second" / f"{rig.path.name}.notes").touch()
    mirror.drop_older(UtcNs(older.stat().st_mtime_ns))
    assert mirror.list_older() == [older]
    mirror.drop_older(UtcNs(older.stat().st_mtime_ns + 1))
    assert mirror.list_older() == []
    assert (rig.folder / "second" / f"{rig.path.name}.notes").exists()


def resize(rig: Rig) -> None:
    found = load_superblock(rig.path)
    move_ring(
        rig.path, rig.path, size_bytes=found.file_bytes * 2, block_bytes=found.block_bytes,
        recorder_key=rig.keys.recorder,
    )  # fmt: skip


def test_a_kill_while_the_copy_of_a_resized_ring_goes_costs_no_copy(mirrored, monkeypatch):
    """What is left is no ring any more, and holds nothing up; it goes with the older copies."""
    rig, mirror = mirrored
    writer = rig.writer()
    rig.record(writer, 40)
    writer.close()
    mirror.bring_up()
    resize(rig)
    with monkeypatch.context() as patch, pytest.raises(RingError, match="cannot destroy ring"):
        patch.setattr(Path, "unlink", Mock(side_effect=OSError("killed")))
        mirror.bring_up()
    mirror = RingMirror(rig.path, rig.folder / "second" / rig.path.name)
    mirror.bring_up()
    assert read(rig, f"second/{rig.path.name}") == read(rig, rig.path.name) != []
    assert len(mirror.list_older()) == 1
    resize(rig)
    mirror.bring_up()
    assert mirror.list_older() == []


@pytest.mark.parametrize("what", ["older", "half moved"])
def test_a_ring_that_is_older_or_not_whole_costs_no_copy(mirrored, what):
    """A clone of before, mounted in its ring's place; the half of a move whose source is dead: the copy stays."""
    rig, mirror = mirrored
    writer = rig.writer()
    drafts = rig.record(writer, 20)
    writer.close()
    clone = rig.folder / "clone"
    shutil.copy(rig.path, clone)
    if what == "older":
        resize(rig)
        writer = rig.writer()
        drafts += rig.record(writer, 20)
        writer.close()
    else:
        with pytest.raises(InterruptedError):
            found = load_superblock(rig.path)
            move_ring(
                clone, clone, size_bytes=found.file_bytes * 2, block_bytes=found.block_bytes,
                recorder_key=rig.keys.recorder, progress=Mock(side_effect=[None, InterruptedError()]),
            )  # fmt: skip
        clone = clone.with_name("clone.moving")
    mirror.bring_up()
    clone.replace(rig.path)
    with pytest.raises(RingError, match="older than its mirror, or not whole"):
        mirror.bring_up()
    assert [each.plaintext for each in read(rig, f"second/{rig.path.name}")] == [each.payload for each in drafts]


@pytest.mark.parametrize("is_new_process", [False, True], ids=["same process", "new process"])
@pytest.mark.parametrize("block_bytes", [0, 64 << 10], ids=["another size", "another block size"])
def test_the_copy_of_a_ring_that_was_resized_is_made_anew(mirrored, is_new_process, block_bytes):
    """The ring keeps its id: pages at the places of the old layout would ruin the copy."""
    rig, mirror = mirrored
    writer = rig.writer()
    rig.record(writer, 40)
    writer.close()
    mirror.bring_up()
    found = load_superblock(rig.path)
    (rig.folder / "blocks").hardlink_to(rig.folder / "second" / rig.path.name)  # as a look at the disk finds them
    move_ring(
        rig.path, rig.path, size_bytes=found.file_bytes * 2, block_bytes=block_bytes or found.block_bytes,
        recorder_key=rig.keys.recorder,
    )  # fmt: skip
    resized = load_superblock(rig.path)
    assert (resized.blocks, resized.block_bytes) != (found.blocks, found.block_bytes)
    assert resized.ring_id == found.ring_id
    if is_new_process:
        mirror = RingMirror(rig.path, rig.folder / "second" / rig.path.name)
    mirror.bring_up()
    assert read(rig, f"second/{rig.path.name}") == read(rig, rig.path.name) != []
    with FileDisk.open(rig.folder / "second" / rig.path.name) as disk:
        assert check_ring(disk, rig.keys.recorder.public_key()).findings == ()
    assert mirror.list_older() == []
    assert not any((rig.folder / "blocks").read_bytes()[: found.data_offset])

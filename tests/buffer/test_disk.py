"""Bad disks: each fault has a named outcome, and a message that says what to do (FORMAT 9)."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from edge_agent.buffer.disk import Disk, FileDisk
from edge_agent.buffer.preallocate import allocate
from edge_agent.buffer.ring import create_ring, wipe_ring
from edge_agent.buffer.write.writer import WAITS_NS
from edge_agent.buffer.write.writer_settings import WriterSettings
from edge_agent.errors import DurabilityError, IntegrityError, RingError
from edge_agent.units import SECOND_NS
from tests.buffer.fake_disk import FakeDisk
from tests.buffer.rig import Rig, read_all

DISKS = ("file", "fake")


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if request.param == "fake":
        return FakeDisk(bytes(10_000))
    path = tmp_path / "disk"
    path.write_bytes(bytes(10_000))
    return FileDisk.open(path, writable=True)


def test_disk_gives_back_what_it_took(disk: Disk) -> None:
    """Reads see writes at once, also before a sync; what was not written stays."""
    disk.pwrite(b"abc", 5000)
    disk.pwrite(memoryview(bytearray(b"xyz"))[:2], 5001)
    disk.fdatasync()
    assert disk.pread(5, 4999) == b"\0axy\0"


def test_disk_reads_short_only_at_its_end(disk: Disk) -> None:
    """Beyond the end there is nothing; the length never changes."""
    assert disk.pread(100, 9_950) == bytes(50)
    assert disk.pread(10, 20_000) == b""
    assert disk.size() == 10_000
    disk.close()


def make_fake(rig: Rig, blocks: int = 8) -> FakeDisk:
    rig.create(blocks=blocks)
    return FakeDisk(rig.path.read_bytes())


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ENODEV, errno.EROFS])
def test_failed_write_closes_the_ring_for_good(rig: Rig, code: int) -> None:
    """After a failed write nothing is appended to that block; opened anew, everything synced is there."""
    disk = make_fake(rig)
    writer = rig.writer_on(disk)
    drafts = rig.record(writer, 5)
    writer.sync()
    disk.write_fault = lambda offset, length: os.strerror(code)
    with pytest.raises(DurabilityError):
        rig.record(writer, 1)
    disk.write_fault = lambda offset, length: None
    with pytest.raises(DurabilityError, match="closed after a failure"):
        writer.append(rig.gop())
    again = rig.writer_on(disk)
    drafts += rig.record(again, 1)
    from edge_agent.buffer.read.reader import RingReader

    records = read_all(RingReader(disk, rig.keys.vault))
    assert [each.plaintext for each in records] == [draft.payload for draft in drafts]
    assert records[-1].seq == records[0].seq + 1


def count_syncs(disk: FakeDisk) -> int:
    return disk.log.count(None)


def test_a_record_takes_the_older_ones_along_to_the_disk(rig: Rig) -> None:
    """FORMAT 7.2, step 4: with a record a second every other one is synced as it is written, with the one before."""
    disk = make_fake(rig)
    writer = rig.writer_on(disk)
    rig.record(writer, 2)
    assert writer.sync_due is None
    syncs = count_syncs(disk)
    rig.record(writer, 1)
    assert count_syncs(disk) == syncs
    assert writer.sync_due == rig.clock.boot() + WriterSettings("").sync_every_ns - WAITS_NS
    rig.record(writer, 1)
    assert count_syncs(disk) == syncs + 1
    assert writer.sync_due is None


def test_a_record_alone_is_synced_when_it_is_due(rig: Rig) -> None:
    """FORMAT 7.2, step 4: not a moment before, and by whoever asks then."""
    disk = make_fake(rig)
    writer = rig.writer_on(disk)
    writer.append(rig.gop())
    syncs, due = count_syncs(disk), writer.sync_due
    assert due is not None
    rig.clock.run(due - rig.clock.boot() - 1)
    writer.tick()
    assert count_syncs(disk) == syncs
    rig.clock.run(1)
    writer.tick()
    assert count_syncs(disk) == syncs + 1
    assert writer.sync_due is None


def test_failed_sync_is_final_and_never_tried_again(rig: Rig) -> None:
    """One failed sync closes the writer; no second sync of the same writer is ever issued."""
    disk = make_fake(rig)
    writer = rig.writer_on(disk)
    rig.record(writer, 1)
    calls = []
    disk.sync_fault = lambda: calls.append(1) or "Input/output error"
    with pytest.raises(DurabilityError):
        writer.sync()
    with pytest.raises(DurabilityError):
        writer.sync()
    with pytest.raises(DurabilityError):
        writer.tick()
    writer.close()
    assert len(calls) == 1


def test_reopening_after_a_failed_sync_writes_the_tail_again(rig: Rig) -> None:
    """The page cache is not believed after a failed sync: it is written again before a page accepts it."""
    disk = make_fake(rig)
    writer = rig.writer_on(disk)
    for _ in range(2):  # at one moment: neither is synced yet
        writer.append(rig.gop())
    disk.sync_fault = lambda: "Input/output error"
    with pytest.raises(DurabilityError):
        writer.sync()
    disk.sync_fault = lambda: None
    disk.log.clear()
    rig.writer_on(disk)
    assert [entry is None for entry in disk.log] == [False, False, True]


def test_tail_that_the_disk_does_not_take_is_given_up(rig: Rig) -> None:
    """If the unsynced tail cannot be written again, the ring still opens, without it."""
    disk = make_fake(rig)
    writer = rig.writer_on(disk)
    drafts = rig.record(writer, 1)
    writer.sync()
    writer.append(rig.gop())
    disk.write_fault = lambda offset, length: "Input/output error"
    again = rig.writer_on(disk)
    disk.write_fault = lambda offset, length: None
    drafts += rig.record(again, 1)
    from edge_agent.buffer.read.reader import RingReader

    records = read_all(RingReader(disk, rig.keys.vault))
    # The synced record of the same block is in the unsynced part too: no later record says that it was synced.
    assert [each.plaintext for each in records] in ([draft.payload for draft in drafts], [drafts[-1].payload])


def test_read_fault_costs_the_record_it_hits(rig: Rig) -> None:
    """EIO under one record is a declared loss; the others are read."""
    disk = make_fake(rig)
    writer = rig.writer_on(disk)
    rig.record(writer, 6)
    from edge_agent.buffer.read.reader import RingReader

    reader = RingReader(disk, rig.keys.vault)
    bad = reader.superblock.block_offset(1) + 2 * 8192 + 128
    disk.read_fault = lambda offset, length: "Input/output error" if offset == bad else None
    lost: list = []
    records = read_all(reader, on_loss=lost.append)
    assert [each.index for each in records] == [0, 1, 3, 4, 5]
    assert [(each.index, each.reason) for each in lost] == [(2, "unreadable")]


def test_truncated_ring_is_refused(rig: Rig) -> None:
    """A file shorter than its superblock says is refused by name, by writer and reader."""
    superblock = rig.create()
    os.truncate(rig.path, superblock.file_bytes - 4096)
    for open_it in (rig.writer, rig.reader):
        with pytest.raises(IntegrityError, match="truncated"):
            open_it()


def test_another_ring_at_the_same_path_is_refused(rig: Rig) -> None:
    """Ids, not paths, decide: with the expected id given, another disk's ring is not written to."""
    superblock = rig.create()
    rig.create(name="other.ring")
    os.replace(rig.folder / "other.ring", rig.path)
    with pytest.raises(RingError, match="another ring") as caught:
        rig.writer(ring_id=superblock.ring_id)
    assert "mounted" in caught.value.hint


def test_another_recorder_key_is_refused(rig: Rig) -> None:
    """A ring made with another key is not continued."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    rig.create()
    with pytest.raises(RingError, match="another recorder key"):
        rig.writer(recorder_key=Ed25519PrivateKey.generate())


@pytest.mark.parametrize("copy", [0, 1])
def test_damaged_superblock_costs_nothing_and_is_mended(rig: Rig, copy: int) -> None:
    """One bad copy: the ring opens, and both copies are good afterwards."""
    rig.create()
    raw = bytearray(rig.path.read_bytes())
    raw[copy * 4096 + 40] ^= 1
    rig.path.write_bytes(raw)
    with rig.reader() as reader:
        assert read_all(reader) == []
    rig.writer().close()
    mended = rig.path.read_bytes()
    assert mended[:4096] == mended[4096:8192]
    raw[4:8] = raw[4096 + 4 : 4096 + 8] = b"none"
    rig.path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="no superblock"):
        rig.writer()


def test_newer_ring_is_refused_and_left_alone(rig: Rig) -> None:
    """A ring of version 2 is unsupported, not corrupt, and not one byte of it changes."""
    from edge_agent.errors import UnsupportedVersionError

    rig.create()
    raw = bytearray(rig.path.read_bytes())
    raw[8] = raw[4096 + 8] = 2
    rig.path.write_bytes(raw)
    for open_it in (rig.writer, rig.reader):
        with pytest.raises(UnsupportedVersionError, match="version 2"):
            open_it()
    assert rig.path.read_bytes() == raw


UNSUPPORTED = {"exFAT, older vfat": errno.EOPNOTSUPP, "a filter that knows no such call": errno.ENOSYS}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_space_is_filled_slowly_where_it_cannot_be_reserved(tmp_path: Path, case: str) -> None:
    """Without ``fallocate`` the file is written out, with progress, to its full length."""

    def reserve(fd: int, mode: int, offset: int, length: int) -> None:
        raise OSError(UNSUPPORTED[case], os.strerror(UNSUPPORTED[case]))

    told = []
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    allocate(fd, 2_500_000, lambda done, total: told.append((done, total)), reserve=reserve)
    assert os.fstat(fd).st_blocks * 512 >= 2_500_000
    assert told[-1] == (2_500_000, 2_500_000)
    assert len(told) == 3
    os.close(fd)


def test_creation_leaves_nothing_behind_when_space_is_short(rig: Rig) -> None:
    """A size that no disk here has is refused with advice, and no file stays."""
    with pytest.raises(RingError, match="cannot create") as caught:
        create_ring(
            rig.path,
            camera="door",
            quality="main",
            size_bytes=1 << 50,
            recorder_key=rig.keys.recorder,
            block_size=1 << 32,
        )
    assert caught.value.hint
    assert list(rig.folder.iterdir()) == []


def test_creation_never_replaces_a_ring(rig: Rig) -> None:
    """A second creation at the same path is refused; the file is untouched."""
    rig.create()
    before = rig.path.read_bytes()
    with pytest.raises(RingError, match="exists"):
        rig.create()
    assert rig.path.read_bytes() == before


def test_vanished_disk_is_named(rig: Rig) -> None:
    """A missing file says so and asks whether the disk is mounted; no new ring is made by opening."""
    with pytest.raises(RingError, match="cannot open") as caught:
        rig.writer()
    assert "mounted" in caught.value.hint
    assert not rig.path.exists()


def test_wiped_ring_leaves_no_sealed_key_in_its_blocks(rig: Rig) -> None:
    """Destruction overwrites all header pages before the name goes."""
    rig.create()
    writer = rig.writer()
    rig.record(writer, 20)
    writer.close()
    os.link(rig.path, rig.folder / "second-name")
    wipe_ring(rig.path)
    assert not rig.path.exists()
    raw = (rig.folder / "second-name").read_bytes()
    assert not raw[: 10 * 4096].strip(b"\0")


def is_root() -> bool:
    return os.geteuid() == 0


@pytest.mark.skipif(not is_root(), reason="mounting needs root")
@pytest.mark.parametrize(("kind", "size_mib"), [("ext4", 64), ("xfs", 320), ("btrfs", 128)])
def test_ring_on_a_real_file_system_survives_a_full_lap_and_a_remount(
    tmp_path: Path, rig: Rig, kind: str, size_mib: int
) -> None:
    """On ext4, xfs and btrfs: the file never grows, laps need no new space, and a remount finds everything."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    if subprocess.run([f"mkfs.{kind}", "-q", str(image)], capture_output=True).returncode != 0:
        pytest.skip(f"mkfs.{kind} is not here")
    if subprocess.run(["mount", "-o", "loop", str(image), str(mount)], capture_output=True).returncode != 0:
        pytest.skip(f"{kind} cannot be mounted here")
    try:
        free = os.statvfs(mount).f_bavail * os.statvfs(mount).f_frsize
        home = Rig(mount, rig.keys)
        create_ring(
            home.path,
            camera="door",
            quality="main",
            size_bytes=free * 9 // 10,
            block_size=1 << 20,
            recorder_key=rig.keys.recorder,
        )
        if kind == "btrfs":
            flags = subprocess.run(["lsattr", str(home.path)], capture_output=True, text=True).stdout.split()[0]
            assert "C" in flags
        length = home.path.stat().st_size
        writer = home.writer()
        drafts = []
        for _ in range(length * 5 // 2 // 500_000):
            home.clock.run(SECOND_NS)
            draft = home.gop(490_000)
            writer.append(draft)
            drafts = [*drafts[-30:], draft]
        writer.close()
        subprocess.run(["umount", str(mount)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
        assert home.path.stat().st_size == length
        with home.reader() as reader:
            records = read_all(reader)
        assert [each.plaintext for each in records[-30:]] == [draft.payload for draft in drafts[-30:]]
    finally:
        subprocess.run(["umount", str(mount)], check=False)


@pytest.mark.skipif(not is_root(), reason="mounting needs root")
def test_read_only_remount_is_named(tmp_path: Path, rig: Rig) -> None:
    """A file system that became read-only refuses the writer by name; the reader goes on."""
    mount = tmp_path / "mount"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(mount)], capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        home = Rig(mount, rig.keys)
        home.create()
        writer = home.writer()
        home.record(writer, 3)
        writer.close()
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        with pytest.raises(RingError, match="Read-only") as caught:
            home.writer()
        assert "remounted" in caught.value.hint
        with home.reader() as reader:
            assert len(read_all(reader)) == 3
    finally:
        subprocess.run(["umount", str(mount)], check=False)

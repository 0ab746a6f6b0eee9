"""Another size, another place: the newest footage goes along, whatever interrupts it."""

from pathlib import Path

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.read.check import check_ring
from edge_agent.buffer.write.resize import move_ring, needs_move
from edge_agent.errors import RingBusyError
from tests.buffer.rig import BLOCK, Draft, Rig, read_all

SIZES = {"smaller": 4, "the same": 8, "larger": 20}


def size_of(blocks: int) -> int:
    return (2 + blocks) * 4096 + blocks * BLOCK


def fill(rig: Rig, count: int = 100) -> list[Draft]:
    rig.create(blocks=8)
    writer = rig.writer()
    drafts = rig.record(writer, count)
    writer.close()
    return drafts


def move(rig: Rig, target: Path, blocks: int, **options) -> None:
    move_ring(rig.path, target, size_bytes=size_of(blocks), recorder_key=rig.keys.recorder, **options)


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "elsewhere"])
def test_newest_footage_that_fits_goes_along(rig: Rig, tmp_path: Path, case: str, in_place: bool) -> None:
    """Same ring id, same keys, same chain; the newest blocks are there and recording goes on behind them."""
    drafts = fill(rig)
    with rig.reader() as reader:
        before = read_all(reader)
    target = rig.path if in_place else tmp_path / "moved.ring"
    blocks = SIZES[case]
    assert needs_move(rig.path, size_of(blocks)) == (blocks != 8)
    move(rig, target, blocks)
    assert rig.path.exists() == in_place
    assert target.stat().st_size == size_of(blocks)
    writer = rig.writer(target.name)
    with rig.reader(target.name) as reader:
        records = read_all(reader)
    assert [each.plaintext for each in records] == [draft.payload for draft in drafts[-len(records) :]]
    assert len({each.seq for each in records}) == min(blocks, len({each.seq for each in before}))
    drafts = rig.record(writer, 100)
    writer.close()
    assert check_ring(FileDisk.open(target), rig.keys.recorder.public_key()).findings == ()
    with rig.reader(target.name) as reader:
        assert read_all(reader)[-1].plaintext == drafts[-1].payload


class KilledError(Exception):
    """Stands for the kill."""


@pytest.mark.parametrize("after", range(8))
def test_move_goes_on_after_a_kill(rig: Rig, tmp_path: Path, after: int) -> None:
    """Killed behind any block, started again, killed again: in the end everything that fits is there."""
    drafts = fill(rig)
    target = tmp_path / "moved.ring"

    def kill(done: int, total: int) -> None:
        if done == after:
            raise KilledError

    for _ in range(2):
        with pytest.raises(KilledError):
            move(rig, target, 8, progress=kill)
        assert not target.exists()
    move(rig, target, 8)
    assert not rig.path.exists()
    with rig.reader("moved.ring") as reader:
        records = read_all(reader)
    assert len({each.seq for each in records}) == 8
    assert [each.plaintext for each in records] == [draft.payload for draft in drafts[-len(records) :]]


def test_move_gives_space_back_as_it_goes(rig: Rig, tmp_path: Path) -> None:
    """In the middle of a move the two files together take little more than one."""
    fill(rig)
    target = tmp_path / "moved.ring"
    whole = rig.path.stat().st_blocks
    most = 0

    def look(done: int, total: int) -> None:
        nonlocal most
        making = target.with_name("moved.ring.moving")
        most = max(most, rig.path.stat().st_blocks + making.stat().st_blocks)

    move(rig, target, 8, progress=look)
    assert most <= whole + 3 * BLOCK // 512


def test_ring_in_use_is_not_moved(rig: Rig, tmp_path: Path) -> None:
    """While a recorder has it open, a move is refused, and nothing is changed."""
    fill(rig)
    writer = rig.writer()
    with pytest.raises(RingBusyError):
        move(rig, tmp_path / "moved.ring", 8)
    assert not list(tmp_path.glob("moved*"))
    writer.close()


def test_interrupted_move_is_refused_by_the_recorder(rig: Rig, tmp_path: Path) -> None:
    """A half-filled ring is not recorded to; the program sees that a move is to be finished."""
    fill(rig)

    def kill(done: int, total: int) -> None:
        if done == 3:
            raise KilledError

    with pytest.raises(KilledError):
        move(rig, rig.path, 4, progress=kill)
    assert needs_move(rig.path, size_of(8))
    from edge_agent.errors import RingError

    with pytest.raises(RingError, match="state=moving"):
        rig.writer(rig.path.name + ".moving")

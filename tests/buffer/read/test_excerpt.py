"""Holds: what a pending request needs stays, without a key, within bounds, and goes with the request."""

from pathlib import Path

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.read.check import check_ring
from edge_agent.buffer.read.excerpt import HoldFolder, excerpt
from edge_agent.buffer.read.reader import RingReader
from edge_agent.errors import RingError
from edge_agent.units import DAY_NS, MINUTE_NS, SECOND_NS, ClockState, UtcNs, Window
from tests.buffer.rig import START, Rig, read_all

WINDOW = Window(UtcNs(START + 20 * SECOND_NS), UtcNs(START + 30 * SECOND_NS))


def without_key(rig: Rig) -> RingReader:
    return RingReader.open(rig.path, None)


def test_excerpt_outlives_the_ring(rig: Rig) -> None:
    """Footage that was overwritten in the ring is read from the excerpt, attested as before; check finds nothing."""
    rig.create(blocks=8)
    writer = rig.writer()
    rig.record(writer, 40)
    with rig.reader() as reader:
        before = read_all(reader, WINDOW)
    assert len(before) == 10
    with without_key(rig) as reader:
        info = excerpt(reader, [WINDOW], rig.folder / "held.ring", 1 << 20)
    rig.record(writer, 200)
    with rig.reader() as reader:
        assert read_all(reader, WINDOW) == []
    with rig.reader("held.ring") as held:
        assert read_all(held, WINDOW) == before
    assert info is not None
    disk = FileDisk.open(rig.folder / "held.ring")
    assert check_ring(disk, rig.keys.recorder.public_key()).findings == ()
    assert (rig.folder / "held.ring").stat().st_blocks * 512 <= info.size_bytes + 65536


def test_excerpt_takes_the_open_block_as_it_is(rig: Rig) -> None:
    """Footage on its way is held as far as it has come."""
    rig.create(blocks=32)
    writer = rig.writer()
    rig.record(writer, 25)
    with without_key(rig) as reader:
        excerpt(reader, [WINDOW], rig.folder / "held.ring", 1 << 20)
    rig.record(writer, 25)
    with rig.reader("held.ring") as held:
        assert len(read_all(held, WINDOW)) == 5


def test_excerpt_of_nothing_is_nothing(rig: Rig) -> None:
    """A window that the ring does not touch makes no file."""
    rig.create()
    with without_key(rig) as reader:
        assert excerpt(reader, [WINDOW], rig.folder / "held.ring", 1 << 20) is None
    assert not (rig.folder / "held.ring").exists()


def test_excerpt_over_its_bound_leaves_nothing_behind(rig: Rig) -> None:
    """A bound that is too small refuses with both figures, and no file stays."""
    rig.create(blocks=32)
    rig.record(rig.writer(), 40)
    with without_key(rig) as reader, pytest.raises(RingError, match=r"bytes=\d+ most=50000"):
        excerpt(reader, [WINDOW], rig.folder / "held.ring", 50_000)
    assert [path.name for path in rig.folder.iterdir()] == [rig.path.name]


def test_excerpt_is_no_ring_to_record_to(rig: Rig) -> None:
    """The recorder refuses an excerpt by name."""
    rig.create(blocks=32)
    rig.record(rig.writer(), 25)
    with without_key(rig) as reader:
        excerpt(reader, [WINDOW], rig.folder / "held.ring", 1 << 20)
    with pytest.raises(RingError, match="state=excerpt"):
        rig.writer("held.ring")


def test_holds_are_bounded_and_go_with_their_request(rig: Rig, tmp_path: Path) -> None:
    """A second hold of the same name is the same; a third name is one too many; release makes room again."""
    rig.create(blocks=32)
    rig.record(rig.writer(), 40)
    holds = HoldFolder(tmp_path / "holds", max_bytes=1 << 20, max_count=2)
    with without_key(rig) as reader:
        holds.hold("a_door", reader, [WINDOW])
        holds.hold("a_door", reader, [WINDOW])
        holds.hold("b_door", reader, [WINDOW])
        with pytest.raises(RingError, match="held already"):
            holds.hold("c_door", reader, [WINDOW])
        assert holds.release("a_door")
        assert not holds.release("a_door")
        holds.hold("c_door", reader, [WINDOW])
        with pytest.raises(ValueError, match="named by"):
            holds.hold("../etc", reader, [WINDOW])
    (tmp_path / "holds" / "d_door.ring.part").touch()
    assert sorted(holds.keep_only(["c_door"])) == ["b_door.ring", "d_door.ring.part"]
    assert holds.path("c_door").exists()


def test_erasure_takes_holds_along(rig: Rig, tmp_path: Path) -> None:
    """Erasing a span lets go of the holds that touch it, of that camera, and of no other."""
    rig.create(blocks=32)
    rig.record(rig.writer(), 40)
    holds = HoldFolder(tmp_path / "holds", max_bytes=1 << 20)
    with without_key(rig) as reader:
        holds.hold("a_door", reader, [WINDOW])
    late = Window(UtcNs(START + 3600 * SECOND_NS), UtcNs(START + 3601 * SECOND_NS))
    assert holds.erase(late, "door") == []
    assert holds.erase(WINDOW, "yard") == []
    assert holds.erase(WINDOW, "door") == ["a_door.ring"]


def test_excerpt_of_floor_only_footage_holds_what_dates_it(rig: Rig) -> None:
    """Footage from before the clock was set has its time by a later block: the excerpt holds that one too."""
    rig.create(blocks=64)
    rig.clock.state_now, rig.clock.utc_ns = ClockState.FLOOR_ONLY, START - 400 * DAY_NS
    writer = rig.writer()
    for _ in range(3):
        rig.record(writer, 40)
        rig.clock.run(5 * MINUTE_NS)
    rig.clock.state_now = ClockState.SYNCHRONISED
    rig.clock.utc_ns += 400 * DAY_NS
    writer.close()
    writer = rig.writer()
    rig.record(writer, 30)
    window = Window(UtcNs(START + 30 * SECOND_NS), UtcNs(START + 40 * SECOND_NS))
    with rig.reader() as reader:
        before = read_all(reader, window)
    assert len(before) == 10
    assert all(each.rebased and each.attested for each in before)
    with without_key(rig) as reader:
        info = excerpt(reader, [window], rig.folder / "held.ring", 1 << 20)
    assert info is not None
    with rig.reader("held.ring") as held:
        assert read_all(held, window) == before
    # Blocks in between are left out.
    assert len(info.blocks) < info.blocks[-1] - info.blocks[0] + 1

"""Kept moments: their names say everything, their folder is bounded, and each ends when its owner said."""

from pathlib import Path

import pytest

from edge_agent.errors import RingError, UsageError
from edge_agent.protocol.request import Quality
from edge_agent.units import DAY_NS, SECOND_NS, UtcNs, Window
from edge_agent.uplink.bundle.keeps import KeepFolder, plan_keep
from tests.buffer.conftest import keys, rig  # noqa: F401 (fixtures)
from tests.buffer.rig import START, Rig, read_all

WINDOW = Window(UtcNs(START + 20 * SECOND_NS), UtcNs(START + 30 * SECOND_NS))
END = UtcNs(START + DAY_NS)


def fill(rig: Rig) -> None:  # noqa: F811
    rig.create(blocks=16)
    rig.record(rig.writer(), 40)


def test_a_kept_moment_outlives_the_ring_and_ends(rig, tmp_path):  # noqa: F811
    """It opens as the ring did, at its end it is gone, and what a crash left half made goes with it."""
    fill(rig)
    folder = KeepFolder(tmp_path / "keeps", 1 << 20)
    with rig.reader() as reader:
        before = read_all(reader, WINDOW)
        kept = folder.keep(reader, plan_keep("door", Quality.MAIN, WINDOW, END), WINDOW)
    assert folder.list_kept() == [kept]
    found = folder.find("door", Quality.MAIN, WINDOW)
    assert found is not None
    (rig.folder / "kept.ring").write_bytes(found.read_bytes())
    with rig.reader("kept.ring") as reader:
        assert read_all(reader, WINDOW) == before
    (tmp_path / "keeps" / "x.ring.part").write_bytes(b"")
    assert folder.expire(UtcNs(END - 1)) == []
    assert folder.expire(END) == [kept]
    assert list((tmp_path / "keeps").iterdir()) == []


def test_only_what_lies_wholly_inside_is_found(rig, tmp_path):  # noqa: F811
    """A kept minute is no answer to a wish for two; nor is another camera's, or another stream's."""
    fill(rig)
    folder = KeepFolder(tmp_path / "keeps", 1 << 20)
    with rig.reader() as reader:
        folder.keep(reader, plan_keep("door", Quality.MAIN, WINDOW, END), WINDOW)
    assert folder.find("door", Quality.MAIN, WINDOW.widen(SECOND_NS)) is None
    assert folder.find("yard", Quality.MAIN, WINDOW) is None
    assert folder.find("door", Quality.SUB, WINDOW) is None


def test_the_bound_holds(rig, tmp_path):  # noqa: F811
    """A moment beyond the bound is refused with a remedy, and leaves nothing."""
    fill(rig)
    folder = KeepFolder(tmp_path / "keeps", 50_000)
    with rig.reader() as reader, pytest.raises(RingError, match="not kept") as caught:
        folder.keep(reader, plan_keep("door", Quality.MAIN, WINDOW, END), WINDOW)
    assert "keeps_size" in caught.value.hint
    assert folder.list_kept() == []


def test_what_is_unknown_is_said(rig, tmp_path):  # noqa: F811
    """A time without footage, and an unknown id."""
    fill(rig)
    folder = KeepFolder(tmp_path / "keeps", 1 << 20)
    early = Window(UtcNs(START - DAY_NS), UtcNs(START - DAY_NS + SECOND_NS))
    with rig.reader() as reader, pytest.raises(UsageError, match="nothing is recorded"):
        folder.keep(reader, plan_keep("door", Quality.MAIN, early, END), early)
    with pytest.raises(UsageError, match="nothing is kept"):
        folder.drop("../../etc/passwd")


@pytest.mark.parametrize("name", ["x.ring", "door.main.1-2.3.ring", "door.main.1-2.3-zzzzzzzz.ring", "..ring"])
def test_other_files_in_the_folder_are_no_kept_moments(tmp_path, name):
    """Names say everything; one that says nothing is left alone."""
    (tmp_path / name).write_bytes(b"")
    folder = KeepFolder(tmp_path, 1 << 20)
    assert folder.list_kept() == []
    assert folder.expire(UtcNs(2**62)) == []
    assert [path.name for path in Path(tmp_path).iterdir()] == [name]

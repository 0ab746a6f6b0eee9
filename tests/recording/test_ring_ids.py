"""The recorder's memory of ring ids: what it says is remembered lies on the disk."""

from pathlib import Path

import pytest

from edge_agent.errors import RingError
from edge_agent.recording import ring_ids
from edge_agent.recording.ring_ids import KnownRingIds, Pin

PIN = Pin(b"r" * 16, Path("/rings/door.ring"))


def _full_disk(path: Path, content: bytes) -> None:
    raise OSError(28, "No space left on device")


def test_pins_are_there_after_a_restart(tmp_path: Path) -> None:
    """What was remembered is found by the next recorder, and what was forgotten is not."""
    known = KnownRingIds(tmp_path / "rings.json")
    known.remember("door.main", PIN)
    known.remember("yard.main", PIN)
    known.forget("yard.main")
    again = KnownRingIds(tmp_path / "rings.json")
    assert (again.find("door.main"), again.find("yard.main")) == (PIN, None)


def test_what_could_not_be_saved_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that fails changes nothing, so that the next one saves: a return means that it is on the disk."""
    known = KnownRingIds(tmp_path / "rings.json")
    known.remember("door.main", PIN)
    with monkeypatch.context() as patch:
        patch.setattr(ring_ids, "write_small_file", _full_disk)
        with pytest.raises(RingError, match="No space left"):
            known.remember("yard.main", PIN)
        with pytest.raises(RingError, match="No space left"):
            known.forget("door.main")
        assert (known.find("door.main"), known.find("yard.main")) == (PIN, None)
    known.remember("yard.main", PIN)
    known.forget("door.main")
    again = KnownRingIds(tmp_path / "rings.json")
    assert (again.find("door.main"), again.find("yard.main")) == (None, PIN)

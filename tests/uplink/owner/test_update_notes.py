"""Notes of updates: each in the ledger once, whatever is in the folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from edge_agent.ledger import table as ledger
from edge_agent.units import UtcNs
from edge_agent.uplink.owner.notifications import News
from edge_agent.uplink.owner.update_notes import MAX_NOTES, UpdateNotes, take_in, write_note
from edge_agent.uplink.store.database import Database
from tests.support.fakes import FakeClock


def entered(store: Database) -> list[dict[str, object]]:
    with store.reading() as connection:
        return [dict(each.entry) for each in ledger.entries(connection, kinds=["update"])]


def test_each_note_is_entered_once(tmp_path: Path) -> None:
    """A releaser that starts again, or dies before it has forgotten a note, enters nothing twice."""
    notes = tmp_path / "update-notes"
    with Database(tmp_path / "store.db") as store:
        assert take_in(notes, store, UtcNs(1)) == []
        write_note(notes, "1-0.2.0", {"what": "went back", "from": "0.1.0", "to": "0.2.0", "why": "it did not start"})
        write_note(notes, "2-0.3.0", {"what": "installed", "from": "0.1.0", "to": "0.3.0", "why": ""})
        assert [each["what"] for each in take_in(notes, store, UtcNs(2))] == ["went back", "installed"]
        assert take_in(notes, store, UtcNs(3)) == []
        assert [each["note"] for each in entered(store)] == ["1-0.2.0", "2-0.3.0"]
    with Database(tmp_path / "store.db") as store:
        assert take_in(notes, store, UtcNs(4)) == []


def test_a_note_that_comes_later_is_told_once(tmp_path: Path) -> None:
    """Root writes it after the services have started: the owner hears of it at the next look, and then no more."""
    told: list[object] = []
    news = cast(News, SimpleNamespace(updated=told.append))
    with Database(tmp_path / "store.db") as store:
        notes = UpdateNotes(tmp_path, store, news, FakeClock())
        notes.look()
        write_note(tmp_path / "update-notes", "1-0.2.0", {"what": "installed", "from": "0.1.0", "to": "0.2.0"})
        notes.look()
        notes.look()
        assert told == [{"what": "installed", "from": "0.1.0", "to": "0.2.0"}]


def test_what_is_no_note_is_left_out(tmp_path: Path) -> None:
    """A damaged file costs its own note and no other; a long one fills nothing."""
    notes = tmp_path / "update-notes"
    write_note(notes, "3-0.4.0", {"what": "installed", "from": "0.1.0", "to": "0.4.0", "why": "x" * 9000})
    write_note(notes, "4-0.5.0", {"what": "installed", "from": "0.4.0", "to": "0.5.0", "why": ""})
    (notes / "5-bad.json").write_text('["no", "object"]')
    with Database(tmp_path / "store.db") as store:
        assert [each["to"] for each in take_in(notes, store, UtcNs(2))] == ["0.5.0"]


def test_old_notes_go(tmp_path: Path) -> None:
    """The folder does not grow indefinitely."""
    for number in range(MAX_NOTES + 5):
        write_note(tmp_path, f"{number:04}-0.1.0", {"what": "installed", "from": "", "to": "0.1.0", "why": ""})
    assert len(list(tmp_path.glob("*.json"))) == MAX_NOTES

"""The outcomes of updates, from root's notes into the ledger.

``edge-agent update`` is root's and writes no database of the releaser; it leaves one small file an outcome in a folder
that root alone writes. The releaser enters each once: a note is known by its name, which its entry carries. Owns the
form of a note. Must never write the folder.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import Clock
from edge_agent.host.regular_file import read_regular
from edge_agent.ledger import entries
from edge_agent.ledger import table as ledger
from edge_agent.ledger.gateway_kinds import UpdateEntry
from edge_agent.units import UtcNs
from edge_agent.uplink.owner.notifications import News
from edge_agent.uplink.store.database import Database

log = logging.getLogger(__name__)

FOLDER = "update-notes"
EVERY_S = 60.0
"""Root notes an outcome after it has seen the services start: never before they look for the first time."""
MAX_NOTES = 64
_MAX_BYTES = 4096
_MEMBERS = ("what", "from", "to", "why")


class UpdateNotes:
    """Tells the owner of each new note; for the thread of the releaser's jobs.

    Args:
        state_dir: Of the gateway.
        store: Its ledger gets the notes.
        news: Tells the owner.
        clock: Dates the entries.
    """

    def __init__(self, state_dir: Path, store: Database, news: News, clock: Clock) -> None:
        self._folder, self._store, self._news, self._clock = state_dir / FOLDER, store, news, clock

    def look(self) -> None:
        """Take in the notes that root has left since."""
        for note in take_in(self._folder, self._store, self._clock.utc()):
            self._news.updated(note)


def write_note(folder: Path, name: str, members: Mapping[str, str]) -> None:
    """Leave a note, durable on return; the oldest go if there are too many.

    Args:
        folder: ``update-notes`` in the state folder; made if it is missing.
        name: Of the file, without its ending: one a turn of events.
        members: ``what``, ``from``, ``to``, ``why``.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_small_file(folder / f"{name}.json", json.dumps(dict(members)).encode(), mode=0o644)
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)[:-MAX_NOTES]:
        path.unlink()


def take_in(folder: Path, store: Database, now: UtcNs) -> list[dict[str, str]]:
    """Enter the notes that the ledger does not have yet; return them, oldest first."""
    paths = sorted(folder.glob("*.json"))[:MAX_NOTES] if folder.is_dir() else []
    if not paths:
        return []
    with store.transaction() as connection:
        # Notes stay where root put them, since the releaser may not delete there: the ledger tells
        # which ones it has.
        known = {entry.entry.get("note") for entry in ledger.entries(connection, kinds=[UpdateEntry.kind])}
        entered = []
        for path in paths:
            note = None if path.stem in known else _read(path)
            if note is not None:
                entries.append(connection, UpdateEntry(path.stem, **_fields_of(note)), now)
                entered.append(note)
    return entered


def _fields_of(note: Mapping[str, str]) -> dict[str, str]:
    return {"from_" if name == "from" else name: text for name, text in note.items()}


def _read(path: Path) -> dict[str, str] | None:
    try:
        found: Any = json.loads(read_regular(path, _MAX_BYTES))
        return {name: str(found[name])[:400] for name in _MEMBERS if found.get(name)}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        log.warning("note of an update not read note=%s: %s", path.name, type(error).__name__)
        return None

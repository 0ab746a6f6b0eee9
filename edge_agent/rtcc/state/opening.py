"""How a home's state is found and opened: by the URL that it names, or as SQLite beside it.

Owns ``state.sqlite3`` of a home, its creation, and the taking over of an earlier version's folders.
"""

from pathlib import Path

from edge_agent.errors import UnavailableError
from edge_agent.host.atomic_file import sync_folder
from edge_agent.host.lock_file import hold_lock
from edge_agent.rtcc.state import folder_import
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.state import CityState

NAME = "state.sqlite3"
_PATIENCE_S = 60.0


def open_state(home: Path, url: str) -> CityState:
    """Open the state of a home.

    Args:
        home: Its folder.
        url: Of a database server; empty for the file in the home.

    Raises:
        ConfigError: The state of an earlier version cannot be taken over, or lies beside a newer one; or the database
            is none of ours.
        UnavailableError: The database cannot be reached.
    """
    if url:
        database = CityDatabase(url)
        database.check()
        return CityState(database)
    path = home / NAME
    if not path.exists() or folder_import.is_unfinished(home):
        busy = UnavailableError(f"another process is taking the state over: {home}")
        with hold_lock(home / ".state.lock", _PATIENCE_S, busy):
            if not path.exists():
                _make(home, path)
            if folder_import.is_unfinished(home):
                folder_import.put_aside(home)
    folder_import.refuse_later(home)
    database = CityDatabase(f"sqlite:///{path}")
    database.check()
    return CityState(database)


def _make(home: Path, path: Path) -> None:
    """Make the file, with all that an earlier version left; it gets its name once it is whole."""
    part = path.with_suffix(".part")
    for each in (part, Path(f"{part}-journal")):  # of a start that was killed
        each.unlink(missing_ok=True)
    database = CityDatabase(f"sqlite:///{part}")
    database.create()
    with database.begin() as connection:
        folder_import.take_over(home, connection)
    database.close()
    Path(f"{part}-journal").unlink(missing_ok=True)
    folder_import.begin(home)
    # It gets its name when it is whole: a crash leaves a draft of another name.
    part.rename(path)
    sync_folder(home)

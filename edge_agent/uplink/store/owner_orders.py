"""The owner's pauses of release, and the orders that were carried out."""

import sqlite3

from edge_agent.ledger import table as ledger
from edge_agent.ledger.entries import PauseEntry
from edge_agent.units import UtcNs
from edge_agent.uplink.store.sqlite_file import SqliteFile


class PauseTable:
    """Pauses by camera; ``*`` stands for all."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def extend(self, connection: sqlite3.Connection, camera: str, until: UtcNs | None) -> None:
        """Remember a pause of release for a camera or ``*``, until a time or indefinitely.

        A pause is never made shorter by another one: ``clear`` ends it.
        """
        connection.execute(
            "INSERT INTO pause VALUES (?, ?) ON CONFLICT (camera) DO UPDATE SET until_ns = CASE "
            "WHEN until_ns IS NULL OR excluded.until_ns IS NULL THEN NULL ELSE max(until_ns, excluded.until_ns) END",
            (camera, until),
        )

    def clear(self, connection: sqlite3.Connection, camera: str) -> None:
        """End the pause of a camera, or that of all (``*``): it leaves those of single cameras standing."""
        connection.execute("DELETE FROM pause WHERE camera = ?", (camera,))

    def find_entry(self, connection: sqlite3.Connection, camera: str) -> UtcNs | None:
        """Return when a camera (or ``*``) was paused last, by the ledger; None if it never was."""
        found = ledger.entries(connection, kinds=(PauseEntry.kind,))
        return max((each.at for each in found if each.entry.get("camera") == camera), default=None)

    def list_current(self, now: UtcNs) -> dict[str, UtcNs | None]:
        """Return the cameras (``*`` for all) of which release is paused, each with its end or None."""
        rows = self._file.list_rows("SELECT * FROM pause WHERE until_ns IS NULL OR until_ns > ?", now)
        return {row["camera"]: row["until_ns"] for row in rows}


class OrderTable:
    """Ids of orders, each of which counts once."""

    def mark_used(self, connection: sqlite3.Connection, order_id: str, at: UtcNs) -> bool:
        """Note that an owner's order is carried out; False if it was before."""
        cursor = connection.execute("INSERT OR IGNORE INTO owner_order VALUES (?, ?)", (order_id, at))
        return cursor.rowcount == 1

    def forget(self, connection: sqlite3.Connection, before: UtcNs, newest: int) -> None:
        """Forget the orders that were carried out before a time, but for the newest ones of all."""
        connection.execute(
            "DELETE FROM owner_order WHERE at_ns < ? "
            "AND rowid NOT IN (SELECT rowid FROM owner_order ORDER BY rowid DESC LIMIT ?)",
            (before, newest),
        )

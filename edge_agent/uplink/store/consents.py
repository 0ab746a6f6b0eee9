"""The newest consent of each camera, and whether it is revoked."""

import sqlite3
from dataclasses import dataclass

from edge_agent.ledger import table as ledger
from edge_agent.ledger.entries import ConsentRevokedEntry
from edge_agent.units import UtcNs
from edge_agent.uplink.store.sqlite_file import SqliteFile


@dataclass(frozen=True, slots=True)
class StoredConsent:
    """The newest consent of a camera that was ever taken in."""

    version: int
    raw: bytes
    """The signed message."""
    is_revoked: bool


class ConsentTable:
    """Signed consents by camera; a version never comes back."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def save(self, connection: sqlite3.Connection, camera: str, version: int, raw: bytes) -> bool:
        """Put a camera's consent in the place of an older one; False, and nothing changes, if it is not newer."""
        cursor = connection.execute(
            "INSERT INTO consent VALUES (?, ?, ?, 0) ON CONFLICT (camera) DO UPDATE SET "
            "version = excluded.version, raw = excluded.raw, revoked = 0 WHERE excluded.version > version",
            (camera, version, raw),
        )
        return cursor.rowcount == 1

    def revoke(self, connection: sqlite3.Connection, camera: str) -> bool:
        """Revoke a camera's consent: that version never counts again; False if none was ever taken in."""
        return connection.execute("UPDATE consent SET revoked = 1 WHERE camera = ?", (camera,)).rowcount == 1

    def find_revocation(self, connection: sqlite3.Connection, camera: str) -> UtcNs | None:
        """Return when a camera's consent was last revoked, by the ledger; None if it never was."""
        revoked = ConsentRevokedEntry(camera)
        found = ledger.entries(connection, kinds=(revoked.kind,))
        return max((each.at for each in found if each.entry == revoked.members()), default=None)

    def find(self, camera: str) -> StoredConsent | None:
        """Return the newest consent of a camera, revoked or not; None if none was ever taken in."""
        row = self._file.find_row("SELECT * FROM consent WHERE camera = ?", camera)
        return None if row is None else StoredConsent(row["version"], bytes(row["raw"]), bool(row["revoked"]))

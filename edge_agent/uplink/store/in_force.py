"""Tables of state that stays in force until it is replaced: trust bundle, consents, pauses, used orders."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.ledger import table as ledger
from edge_agent.ledger.owner_kinds import ConsentRevokedEntry, PauseEntry
from edge_agent.units import UtcNs
from edge_agent.uplink.store.sqlite_file import SqliteFile


@dataclass(frozen=True, slots=True)
class StoredConsent:
    """The newest consent of a camera that was ever taken in."""

    version: int
    raw: bytes
    """The signed message."""
    is_revoked: bool


class TrustTable:
    """The newest trust bundle, and the highest version that each root key ever signed."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def load(self) -> tuple[bytes, dict[str, Any]] | None:
        """Return the trust bundle with the highest version ever accepted, and the roots that verified it."""
        row = self._file.find_row("SELECT raw, roots FROM trust")
        return None if row is None else (bytes(row["raw"]), json.loads(row["roots"]))

    def save(self, version: int, raw: bytes, roots: Mapping[str, Any]) -> None:
        """Keep a verified trust bundle; one with a lower version than the kept one changes nothing."""
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT INTO trust VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET version = excluded.version, "
                "raw = excluded.raw, roots = excluded.roots WHERE excluded.version > version",
                (version, raw, json.dumps(roots)),
            )

    def forget(self) -> None:
        """Forget the trust bundle, which was accepted under other roots than are pinned now; its floors stay."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM trust")

    def raise_floors(self, roots: Iterable[str], version: int, payload_sha256: bytes) -> None:
        """Remember of each root key (thumbprint) the highest version of a bundle ever accepted; never lowered."""
        with self._file.transaction() as connection:
            connection.executemany(
                "INSERT INTO trust_floor VALUES (?, ?, ?) ON CONFLICT (root) DO UPDATE SET version = excluded.version, "
                "payload_sha256 = excluded.payload_sha256 WHERE excluded.version > version",
                [(root, version, payload_sha256) for root in roots],
            )

    def find_floor(self, roots: Iterable[str]) -> tuple[int, bytes] | None:
        """Return version and payload digest of the newest bundle that was ever accepted with one of these roots."""
        row = self._file.find_row(
            "SELECT version, payload_sha256 FROM trust_floor WHERE root IN (SELECT value FROM json_each(?)) "
            "ORDER BY version DESC LIMIT 1",
            json.dumps(list(roots)),
        )
        return None if row is None else (row["version"], bytes(row["payload_sha256"]))


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
        # In the transaction of its effect: an order that is replayed finds its id used (PROTOCOL
        # 10, step 2).
        cursor = connection.execute("INSERT OR IGNORE INTO owner_order VALUES (?, ?)", (order_id, at))
        return cursor.rowcount == 1

    def forget(self, connection: sqlite3.Connection, before: UtcNs, newest: int) -> None:
        """Forget the orders that were carried out before a time, but for the newest ones of all."""
        connection.execute(
            "DELETE FROM owner_order WHERE at_ns < ? "
            "AND rowid NOT IN (SELECT rowid FROM owner_order ORDER BY rowid DESC LIMIT ?)",
            (before, newest),
        )

"""Tables of what stays in force until it is replaced: trust bundle, pauses, used orders, versions of consent."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.ledger import table as ledger
from edge_agent.ledger.entries import ConsentRevokedEntry, PauseEntry
from edge_agent.units import UtcNs
from edge_agent.uplink.store.database import Database


@dataclass(frozen=True, slots=True)
class StoredConsent:
    """The newest consent of a camera that was ever taken in."""

    version: int
    raw: bytes
    """The signed message."""
    is_revoked: bool


class InForceTables(Database):
    """The RTCC's trust bundle and the owner's word, as far as the releaser has to remember them."""

    # The store itself

    def read_id(self) -> str:
        """Return this store's random id: 32 hexadecimal digits, drawn as its file was made."""
        row = self._one("SELECT id FROM store")
        assert row is not None
        return str(row["id"])

    def note_birth(self, now: UtcNs) -> None:
        """Remember the first moment at which this store knew the time; later ones change nothing."""
        if self.find_birth() is None:
            with self.transaction() as connection:
                connection.execute("UPDATE store SET born_ns = ? WHERE born_ns IS NULL", (now,))

    def find_birth(self) -> UtcNs | None:
        """Return that moment; None if it has not come."""
        row = self._one("SELECT born_ns FROM store")
        return None if row is None or row["born_ns"] is None else UtcNs(row["born_ns"])

    # Trust bundle

    def load_trust(self) -> tuple[bytes, dict[str, Any]] | None:
        """Return the trust bundle with the highest version ever accepted, and the roots that verified it."""
        row = self._one("SELECT raw, roots FROM trust")
        return None if row is None else (bytes(row["raw"]), json.loads(row["roots"]))

    def save_trust(self, version: int, raw: bytes, roots: Mapping[str, Any]) -> None:
        """Keep a verified trust bundle; one with a lower version than the kept one changes nothing."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO trust VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET version = excluded.version, "
                "raw = excluded.raw, roots = excluded.roots WHERE excluded.version > version",
                (version, raw, json.dumps(roots)),
            )

    def forget_trust(self) -> None:
        """Forget the trust bundle, which was accepted under other roots than are pinned now; its floors stay."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM trust")

    def raise_trust_floors(self, roots: Iterable[str], version: int, payload_sha256: bytes) -> None:
        """Remember of each root key (thumbprint) the highest version of a bundle ever accepted; never lowered."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO trust_floor VALUES (?, ?, ?) ON CONFLICT (root) DO UPDATE SET version = excluded.version, "
                "payload_sha256 = excluded.payload_sha256 WHERE excluded.version > version",
                [(root, version, payload_sha256) for root in roots],
            )

    def find_trust_floor(self, roots: Iterable[str]) -> tuple[int, bytes] | None:
        """Return version and payload digest of the newest bundle that was ever accepted with one of these roots."""
        row = self._one(
            "SELECT version, payload_sha256 FROM trust_floor WHERE root IN (SELECT value FROM json_each(?)) "
            "ORDER BY version DESC LIMIT 1",
            json.dumps(list(roots)),
        )
        return None if row is None else (row["version"], bytes(row["payload_sha256"]))

    # The owner's pauses and the versions of consent

    def set_pause(self, connection: sqlite3.Connection, camera: str, until: UtcNs | None) -> None:
        """Remember a pause of release for a camera or ``*``, until a time or for good.

        A pause is never made shorter by another one: ending it is ``clear_pause``.
        """
        connection.execute(
            "INSERT INTO pause VALUES (?, ?) ON CONFLICT (camera) DO UPDATE SET until_ns = CASE "
            "WHEN until_ns IS NULL OR excluded.until_ns IS NULL THEN NULL ELSE max(until_ns, excluded.until_ns) END",
            (camera, until),
        )

    def clear_pause(self, connection: sqlite3.Connection, camera: str) -> None:
        """End the pause of a camera, or that of all (``*``): it leaves those of single cameras standing."""
        connection.execute("DELETE FROM pause WHERE camera = ?", (camera,))

    def find_pause_entry(self, connection: sqlite3.Connection, camera: str) -> UtcNs | None:
        """Return when a camera (or ``*``) was paused last, by the ledger; None if it never was."""
        found = ledger.entries(connection, kinds=(PauseEntry.kind,))
        return max((each.at for each in found if each.entry.get("camera") == camera), default=None)

    def list_pauses(self, now: UtcNs) -> dict[str, UtcNs | None]:
        """Return the cameras (``*`` for all) of which release is paused, each with its end or None."""
        rows = self._all("SELECT * FROM pause WHERE until_ns IS NULL OR until_ns > ?", now)
        return {row["camera"]: row["until_ns"] for row in rows}

    def mark_order_used(self, connection: sqlite3.Connection, order_id: str, at: UtcNs) -> bool:
        """Note that an owner's order is carried out; False where it was before."""
        cursor = connection.execute("INSERT OR IGNORE INTO owner_order VALUES (?, ?)", (order_id, at))
        return cursor.rowcount == 1

    def forget_orders(self, connection: sqlite3.Connection, before: UtcNs, newest: int) -> None:
        """Forget the orders that were carried out before a time, but for the newest ones of all."""
        connection.execute(
            "DELETE FROM owner_order WHERE at_ns < ? "
            "AND rowid NOT IN (SELECT rowid FROM owner_order ORDER BY rowid DESC LIMIT ?)",
            (before, newest),
        )

    def save_consent(self, connection: sqlite3.Connection, camera: str, version: int, raw: bytes) -> bool:
        """Put a camera's consent in the place of an older one; False, and nothing changes, if it is not newer."""
        cursor = connection.execute(
            "INSERT INTO consent VALUES (?, ?, ?, 0) ON CONFLICT (camera) DO UPDATE SET "
            "version = excluded.version, raw = excluded.raw, revoked = 0 WHERE excluded.version > version",
            (camera, version, raw),
        )
        return cursor.rowcount == 1

    def revoke_consent(self, connection: sqlite3.Connection, camera: str) -> bool:
        """Revoke a camera's consent: that version never counts again; False if none was ever taken in."""
        return connection.execute("UPDATE consent SET revoked = 1 WHERE camera = ?", (camera,)).rowcount == 1

    def find_revocation(self, connection: sqlite3.Connection, camera: str) -> UtcNs | None:
        """Return when a camera's consent was last revoked, by the ledger; None if it never was."""
        revoked = ConsentRevokedEntry(camera)
        found = ledger.entries(connection, kinds=(revoked.kind,))
        return max((each.at for each in found if each.entry == revoked.members()), default=None)

    def find_consent(self, camera: str) -> StoredConsent | None:
        """Return the newest consent of a camera, revoked or not; None if none was ever taken in."""
        row = self._one("SELECT * FROM consent WHERE camera = ?", camera)
        return None if row is None else StoredConsent(row["version"], bytes(row["raw"]), bool(row["revoked"]))

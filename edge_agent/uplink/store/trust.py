"""The RTCC's trust bundle, and how far each root key has come."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from edge_agent.uplink.store.sqlite_file import SqliteFile


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

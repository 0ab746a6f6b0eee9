"""Refusals that are not entered one by one: the digests by which they are known again, and their counts.

A row here is some 150 bytes; a request that is entered is up to 64 KiB and an answer.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.units import UtcNs
from edge_agent.uplink.store.sqlite_file import SqliteFile


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A refused request, as far as it has to be known until it can arrive no more."""

    iss: str
    jti: str
    payload_sha256: bytes
    until: UtcNs
    """From then on its time alone refuses it."""
    declined_at: UtcNs
    """The moment of its answer ``declined``; 0 for silence."""


class RefusalTable:
    """Refused requests that are counted, and their counts by hour and signing key."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def add(self, connection: sqlite3.Connection, refused: RefusedRequest) -> None:
        """Remember a refused request."""
        connection.execute(
            "INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?, ?)",
            (refused.iss, refused.jti, refused.payload_sha256, refused.until, refused.declined_at),
        )

    def find(self, iss: str, jti: str) -> RefusedRequest | None:
        """Look one up."""
        row = self._file.find_row("SELECT * FROM refused WHERE iss = ? AND jti = ?", iss, jti)
        if row is None:
            return None
        return RefusedRequest(
            row["iss"], row["jti"], bytes(row["payload_sha256"]), UtcNs(row["until_ns"]), UtcNs(row["declined_ns"])
        )

    def forget(self, connection: sqlite3.Connection, now: UtcNs) -> None:
        """Forget what can arrive no more."""
        connection.execute("DELETE FROM refused WHERE until_ns < ?", (now,))

    def count(self) -> int:
        """Return how many are remembered."""
        row = self._file.find_row("SELECT count(*) AS n FROM refused")
        return 0 if row is None else int(row["n"])

    def add_entered(self, connection: sqlite3.Connection, hour: int, kids: Sequence[str]) -> None:
        """Count a refusal that is entered, for each of these keys."""
        connection.executemany(
            "INSERT INTO refusal_count VALUES (?, ?, 1, 0) ON CONFLICT (hour, kid) DO UPDATE SET entered = entered + 1",
            [(hour, kid) for kid in kids],
        )

    def add_counted(self, connection: sqlite3.Connection, hour: int, kid: str) -> None:
        """Count a refusal that is only counted."""
        connection.execute(
            "INSERT INTO refusal_count VALUES (?, ?, 0, 1) ON CONFLICT (hour, kid) DO UPDATE SET counted = counted + 1",
            (hour, kid),
        )

    def count_counted(self) -> int:
        """Return how many refusals were only counted, as far as the counts are not taken yet."""
        row = self._file.find_row("SELECT coalesce(sum(counted), 0) AS n FROM refusal_count")
        return 0 if row is None else int(row["n"])

    def find_key_over(self, hour: int, kids: Sequence[str], most: int) -> str | None:
        """Return the first of these keys under which ``most`` refusals were entered in an hour; None if none has."""
        row = self._file.find_row(
            "SELECT kid FROM refusal_count WHERE hour = ? AND entered >= ? AND kid IN (SELECT value FROM json_each(?)) "
            "ORDER BY kid LIMIT 1",
            hour, most, json.dumps(list(kids)),
        )  # fmt: skip
        return None if row is None else str(row["kid"])

    def take_counts(self, connection: sqlite3.Connection, before: int) -> list[tuple[int, str, int]]:
        """Return hour, key and number of the refusals that were only counted before an hour, and forget the counts."""
        rows = connection.execute(
            "SELECT hour, kid, counted FROM refusal_count WHERE hour < ? AND counted > 0 ORDER BY hour, kid", (before,)
        ).fetchall()
        connection.execute("DELETE FROM refusal_count WHERE hour < ?", (before,))
        return [(row["hour"], row["kid"], row["counted"]) for row in rows]

    def list_to_drop(self, iss: str, most_bytes: int, most: int) -> list[int]:
        """Return the oldest refused requests of an issuer that its newest ones of so many bytes leave no room for.

        Those that used a quota are left out: their number is bounded by the quota, and it must be remembered.

        Args:
            iss: The issuer.
            most_bytes: Of the signed messages.
            most: How many requests at most are left.
        """
        rows = self._file.list_rows(
            "SELECT id FROM (SELECT id, sum(length(raw)) OVER newest AS bytes, count(*) OVER newest AS n FROM request "
            "WHERE state = 'denied' AND iss = ? WINDOW newest AS (ORDER BY id DESC)) "
            "WHERE (bytes > ? OR n > ?) AND id NOT IN (SELECT request_id FROM quota) ORDER BY id",
            iss, most_bytes, most,
        )  # fmt: skip
        return [int(row["id"]) for row in rows]

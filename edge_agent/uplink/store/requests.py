"""The verified requests, the facts of their incidents, and their use of the quotas. Decides nothing."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge_agent.consent.bound import Bound, encode_bound, parse_bound
from edge_agent.consent.house_state import CameraHistory
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.store.sqlite_file import SqliteFile


class RequestState(Enum):
    """The state of an admitted request; the last five are final."""

    NEW = "new"
    """Inside the transaction of its decision, and never outside of it."""
    ASKED = "asked"
    GRANTED = "granted"
    UPLOADING = "uploading"
    DENIED = "denied"
    DELIVERED = "delivered"
    NO_FOOTAGE = "no-footage"
    CANCELLED = "cancelled"
    FAILED = "failed"


MONTH_NS = 30 * DAY_NS
"""PROTOCOL 6.2, O10: quotas are counted over any 30 days."""
OPEN_STATES = (RequestState.ASKED, RequestState.GRANTED, RequestState.UPLOADING)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One verified request and its state."""

    id: int
    """Its number: the gateway's own, by which a person calls it. Numbers rise, and none is given twice."""
    iss: str
    jti: str
    payload_sha256: bytes
    raw: bytes
    incident: str
    category: str
    is_area: bool
    correlation: bytes
    arrived_at: UtcNs
    release_by: UtcNs
    state: RequestState
    due: UtcNs
    """Ask: when silence becomes a denial. Granted: when cooling-off ends."""
    approval: bytes | None
    reasons: tuple[Mapping[str, Any], ...]
    bound: Bound | None = None
    """The most that may still leave; None for a request that was never decided."""
    is_handed_over: bool = False
    """The broker was given the age headers, acknowledged or not: they cannot be taken back any more."""


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """The use of a camera's quota by one request."""

    camera: str
    at: UtcNs
    granted_ns: int
    iss: str
    incident: str


@dataclass(frozen=True, slots=True)
class RequestChange:
    """The members of a request that change with its state; None leaves one as it was."""

    due: UtcNs | None = None
    reasons: Sequence[Mapping[str, Any]] | None = None
    approval: bytes | None = None
    bound: Bound | None = None


NO_CHANGE = RequestChange()


class RequestTable:
    """Requests by number, and the facts under which their incidents were first reported."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def add(self, connection: sqlite3.Connection, request: StoredRequest) -> int:
        """Insert a request (its ``id`` is ignored) under the next number and return that.

        The last number is kept apart from the requests: those that are forgotten make no room for others.
        """
        (number,) = connection.execute("UPDATE request_number SET last = last + 1 RETURNING last").fetchone()
        connection.execute(
            "INSERT INTO request VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number, request.iss, request.jti, request.payload_sha256, request.raw,
                request.incident, request.category, request.is_area,
                request.correlation, request.arrived_at, request.release_by, request.state.value, request.due,
                request.approval, json.dumps(request.reasons), request.is_handed_over,
                None if request.bound is None else encode_bound(request.bound),
            ),
        )  # fmt: skip
        return int(number)

    def find(self, jti: str, iss: str | None = None) -> StoredRequest | None:
        """Look a request up by its ``jti``, of one issuer or (for a person's command) of any."""
        row = self._file.find_row("SELECT * FROM request WHERE jti = ? AND iss = coalesce(?, iss)", jti, iss)
        return None if row is None else _request(row)

    def read(self, request_id: int) -> StoredRequest:
        """Return a request that is known to exist."""
        row = self._file.find_row("SELECT * FROM request WHERE id = ?", request_id)
        assert row is not None
        return _request(row)

    def find_numbered(self, number: int) -> StoredRequest | None:
        """Look a request up by its number; None if there is none, or it is forgotten."""
        row = self._file.find_row("SELECT * FROM request WHERE id = ?", number)
        return None if row is None else _request(row)

    def count(self) -> dict[str, int]:
        """Return how many requests are kept, by state; states without any are 0."""
        rows = self._file.list_rows("SELECT state, count(*) AS number FROM request GROUP BY state")
        return {state.value: 0 for state in RequestState} | {str(row["state"]): int(row["number"]) for row in rows}

    def list_newest(self, states: Sequence[RequestState] = (), limit: int = -1) -> list[StoredRequest]:
        """Return the newest requests, of the given states or of all, newest first; all of them unless limited."""
        wanted = [state.value for state in (states or RequestState)]
        marks = ",".join("?" * len(wanted))
        rows = self._file.list_rows(
            f"SELECT * FROM request WHERE state IN ({marks}) ORDER BY id DESC LIMIT ?",  # noqa: S608
            *wanted,
            limit,
        )
        return [_request(row) for row in rows]

    def list_ended(self, before: UtcNs, newest: int, *, after: int, limit: int) -> list[StoredRequest]:
        """Return requests that arrived before a time and have ended, oldest first, but for the newest ones of all.

        Args:
            before: Of arrival.
            newest: How many of all requests are left out.
            after: The id after which to go on.
            limit: How many at most.
        """
        ended = [state.value for state in RequestState if state not in OPEN_STATES]
        rows = self._file.list_rows(
            f"SELECT * FROM request WHERE id > ? AND arrived_ns < ? AND state IN ({','.join('?' * len(ended))}) "  # noqa: S608
            "AND id NOT IN (SELECT key_of FROM outbox WHERE key_of IS NOT NULL) "
            "AND id NOT IN (SELECT id FROM request ORDER BY id DESC LIMIT ?) ORDER BY id LIMIT ?",
            after, before, *ended, newest, limit,
        )  # fmt: skip
        return [_request(row) for row in rows]

    def remove(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Forget a request that has ended, and everything about it but its incident's facts."""
        for table in ("release", "quota", "answer", "doomed_upload", "notice"):
            connection.execute(f"DELETE FROM {table} WHERE request_id = ?", (request_id,))  # noqa: S608
        connection.execute("DELETE FROM request WHERE id = ?", (request_id,))
        self._file.note_remains()

    def update(
        self,
        connection: sqlite3.Connection,
        request_id: int,
        state: RequestState,
        change: RequestChange = NO_CHANGE,
    ) -> None:
        """Move a request to a state, with the members that change."""
        connection.execute(
            "UPDATE request SET state = ?, due_ns = coalesce(?, due_ns), reasons = coalesce(?, reasons), "
            "approval = coalesce(?, approval), bound = coalesce(?, bound) WHERE id = ?",
            (state.value, change.due, None if change.reasons is None else json.dumps(list(change.reasons)),
             change.approval, None if change.bound is None else encode_bound(change.bound), request_id),
        )  # fmt: skip

    def mark_handed_over(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Note that the broker is given a request's age headers now."""
        connection.execute("UPDATE request SET handed_over = 1 WHERE id = ?", (request_id,))

    def find_incident(self, iss: str, number: str) -> bytes | None:
        """Return the digest of an incident's facts as first seen."""
        row = self._file.find_row("SELECT facts FROM incident WHERE iss = ? AND number = ?", iss, number)
        return None if row is None else bytes(row["facts"])

    def add_incident(self, connection: sqlite3.Connection, iss: str, number: str, facts: bytes) -> None:
        """Remember an incident's facts, the first time only."""
        connection.execute("INSERT OR IGNORE INTO incident VALUES (?, ?, ?)", (iss, number, facts))

    def forget_incidents(self, connection: sqlite3.Connection, newest: int) -> None:
        """Forget the facts of incidents of which no request is remembered, but for those of the newest ones."""
        connection.execute(
            "DELETE FROM incident WHERE rowid <= (SELECT max(rowid) FROM incident) - ? "
            "AND (iss, number) NOT IN (SELECT iss, incident FROM request)",
            (newest,),
        )


class QuotaTable:
    """One row for each grant of a camera."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def add_use(self, connection: sqlite3.Connection, request_id: int, use: QuotaUse) -> None:
        """Count a grant against a camera's quota, once a request and camera."""
        connection.execute(
            "INSERT OR IGNORE INTO quota VALUES (?, ?, ?, ?, ?, ?)",
            (request_id, use.camera, use.at, use.granted_ns, use.iss, use.incident),
        )

    def count_uses(self, iss: str, incident: str, *, before: int, now: UtcNs) -> dict[str, CameraHistory]:
        """Count, of each camera, what requests with a smaller number than ``before`` used until ``now``.

        In SQL: an owner may sign a thousand requests a month for each camera, and every evaluation counts them.
        """
        rows = self._file.list_rows(
            "SELECT camera, sum(at_ns > ?1) AS last_day, sum(at_ns > ?2) AS last_month, "
            "sum(iss = ?3 AND incident = ?4) AS same_incident, sum((at_ns > ?2) * granted_ns) AS last_month_ns "
            "FROM quota WHERE request_id < ?5 GROUP BY camera",
            now - DAY_NS, now - MONTH_NS, iss, incident, before,
        )  # fmt: skip
        return {
            row["camera"]: CameraHistory(row["last_day"], row["last_month"], row["same_incident"], row["last_month_ns"])
            for row in rows
        }


def _request(row: sqlite3.Row) -> StoredRequest:
    return StoredRequest(
        row["id"], row["iss"], row["jti"], bytes(row["payload_sha256"]), bytes(row["raw"]), row["incident"],
        row["category"], bool(row["is_area"]), bytes(row["correlation"]), UtcNs(row["arrived_ns"]),
        UtcNs(row["release_by_ns"]),
        RequestState(row["state"]), UtcNs(row["due_ns"]), row["approval"], tuple(json.loads(row["reasons"])),
        None if row["bound"] is None else parse_bound(row["bound"]), bool(row["handed_over"]),
    )  # fmt: skip

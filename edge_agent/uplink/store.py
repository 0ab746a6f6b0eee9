"""The releaser's memory: requests, releases, outgoing messages and the owner's pauses, in one SQLite file.

Every step of a request is one transaction (``synchronous=FULL``), so that a kill at any point loses nothing and
repeats nothing (design 10). Owns the tables but the ledger's, which is handed the connection of the same transaction.
Decides nothing.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self

from edge_agent.errors import UnsupportedVersionError
from edge_agent.units import UtcNs
from edge_agent.uplink import ledger

SCHEMA_VERSION = 3
_BUSY_TIMEOUT_S = 5.0
_SCHEMA = """
CREATE TABLE trust (
  one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, raw BLOB NOT NULL, roots TEXT NOT NULL) STRICT;
CREATE TABLE request (
  id INTEGER PRIMARY KEY, iss TEXT NOT NULL, jti TEXT NOT NULL, payload_sha256 BLOB NOT NULL, raw BLOB NOT NULL,
  incident TEXT NOT NULL, category TEXT NOT NULL, is_area INTEGER NOT NULL, correlation BLOB NOT NULL,
  arrived_ns INTEGER NOT NULL, release_by_ns INTEGER NOT NULL,
  state TEXT NOT NULL, due_ns INTEGER NOT NULL, approval BLOB, reasons TEXT NOT NULL,
  handed_over INTEGER NOT NULL, UNIQUE (iss, jti)) STRICT;
CREATE INDEX request_state ON request (state);
CREATE TABLE incident (iss TEXT NOT NULL, number TEXT NOT NULL, facts BLOB NOT NULL, PRIMARY KEY (iss, number)) STRICT;
CREATE TABLE release (
  request_id INTEGER NOT NULL REFERENCES request (id), camera TEXT NOT NULL, state TEXT NOT NULL,
  file TEXT NOT NULL, info TEXT NOT NULL, header BLOB NOT NULL, upload_url TEXT NOT NULL,
  PRIMARY KEY (request_id, camera)) STRICT;
CREATE TABLE quota (
  request_id INTEGER NOT NULL REFERENCES request (id), camera TEXT NOT NULL, at_ns INTEGER NOT NULL,
  granted_ns INTEGER NOT NULL, iss TEXT NOT NULL, incident TEXT NOT NULL, PRIMARY KEY (request_id, camera)) STRICT;
CREATE TABLE answer (
  request_id INTEGER NOT NULL REFERENCES request (id), seq INTEGER NOT NULL, payload BLOB NOT NULL,
  due_ns INTEGER NOT NULL, PRIMARY KEY (request_id, seq)) STRICT;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, correlation BLOB NOT NULL,
  due_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL, key_of INTEGER REFERENCES request (id)) STRICT;
CREATE INDEX outbox_due ON outbox (due_ns);
CREATE TABLE pause (camera TEXT PRIMARY KEY, until_ns INTEGER) STRICT;
CREATE TABLE owner_order (order_id TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) STRICT;
CREATE TABLE consent (camera TEXT PRIMARY KEY, version INTEGER NOT NULL, revoked INTEGER NOT NULL) STRICT;
"""
_MIGRATIONS = {
    # Version 1 named what was paused, and that was never anything but release.
    1: """
CREATE TABLE pause (camera TEXT PRIMARY KEY, until_ns INTEGER) STRICT;
INSERT INTO pause SELECT camera, until_ns FROM stop WHERE what = 'release';
DROP TABLE stop;
""",
    # The clock has a memory of its own (`edge_agent.kept_clock`).
    2: "DROP TABLE IF EXISTS floor;",
}
"""What makes a file of each version one of the next."""


class RequestState(Enum):
    """Where an admitted request stands; the last five are final."""

    ASKED = "asked"
    GRANTED = "granted"
    UPLOADING = "uploading"
    DENIED = "denied"
    DELIVERED = "delivered"
    NO_FOOTAGE = "no-footage"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ReleaseState(Enum):
    """Where one camera's bundle stands; the last three are final."""

    WAITING = "waiting"
    """Its grant is in the ledger; it is not built yet, or could not be built so far."""
    BUILT = "built"
    UPLOADED = "uploaded"
    DELIVERED = "delivered"
    NO_FOOTAGE = "no-footage"
    FAILED = "failed"


OPEN_STATES = (RequestState.ASKED, RequestState.GRANTED, RequestState.UPLOADING)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One verified request and where it stands."""

    id: int
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
    is_handed_over: bool = False
    """The broker was given the age headers, whether it has acknowledged them or not: nobody can take them back."""


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """One camera's bundle: where its ciphertext lies and how far its upload is."""

    request_id: int
    camera: str
    state: ReleaseState
    file: str
    info: Mapping[str, Any]
    header: bytes
    """The age header: stays here until the key is handed over."""
    upload_url: str


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message that waits for its moment or for the broker."""

    id: int
    topic: str
    payload: bytes
    correlation: bytes
    due: UtcNs
    expires: UtcNs
    key_of: int | None = None
    """The request whose age headers it carries: it is sent only while that is still granted."""


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What one request used of a camera's quota."""

    camera: str
    at: UtcNs
    granted_ns: int
    iss: str
    incident: str


class Store:
    """The SQLite file, one connection for all threads, one transaction at a time.

    Raises:
        UnsupportedVersionError: The file was written by a newer version.
        sqlite3.Error: The disk fails; nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self.changed = threading.Event()
        """Set whenever something became durable; for one waiter, who clears it and looks."""
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise UnsupportedVersionError(
                f"{path}: written by a newer version: schema={version} known={SCHEMA_VERSION}"
            )
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        else:
            for step in range(version, SCHEMA_VERSION):
                self._connection.executescript(f"BEGIN; {_MIGRATIONS[step]} PRAGMA user_version={step + 1}; COMMIT;")
        ledger.create_tables(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open a second, read-only connection for the time of the block: for long reads beside the writers."""
        connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: all of it is durable afterwards, or none of it happened.

        Inside a transaction of the same thread it is a part of that one.
        """
        with self._lock:
            if self._is_open():
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
                self.changed.set()
            finally:
                # Not committed. A full disk may have ended the transaction itself; a failed COMMIT leaves it open.
                if self._is_open():
                    self._connection.execute("ROLLBACK")

    def _is_open(self) -> bool:
        return self._connection.in_transaction

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
        """Forget the trust bundle, its version included: it was accepted under other roots than are pinned now."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM trust")

    # Requests

    def add_request(self, connection: sqlite3.Connection, request: StoredRequest) -> int:
        """Insert a request (its ``id`` is ignored) and return its id."""
        cursor = connection.execute(
            "INSERT INTO request VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                request.iss, request.jti, request.payload_sha256, request.raw,
                request.incident, request.category, request.is_area,
                request.correlation, request.arrived_at, request.release_by, request.state.value, request.due,
                request.approval, json.dumps(request.reasons), request.is_handed_over,
            ),
        )  # fmt: skip
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def find_request(self, jti: str, iss: str | None = None) -> StoredRequest | None:
        """Look a request up by its ``jti``, of one issuer or (for a person's command) of any."""
        row = self._one("SELECT * FROM request WHERE jti = ? AND iss = coalesce(?, iss)", jti, iss)
        return None if row is None else _request(row)

    def read_request(self, request_id: int) -> StoredRequest:
        """Return a request that is known to exist."""
        row = self._one("SELECT * FROM request WHERE id = ?", request_id)
        assert row is not None
        return _request(row)

    def find_requests(self, letters: str) -> list[StoredRequest]:
        """Return the requests whose ``jti`` begins with these letters, newest first; two at most."""
        sql = "SELECT * FROM request WHERE substr(jti, 1, length(?1)) = ?1 ORDER BY id DESC LIMIT 2"
        return [_request(row) for row in self._all(sql, letters)]

    def list_requests(self, states: Sequence[RequestState] = (), limit: int = -1) -> list[StoredRequest]:
        """Return the newest requests, of the given states or of all, newest first; all of them unless limited."""
        wanted = [state.value for state in (states or RequestState)]
        marks = ",".join("?" * len(wanted))
        rows = self._all(
            f"SELECT * FROM request WHERE state IN ({marks}) ORDER BY id DESC LIMIT ?",  # noqa: S608
            *wanted,
            limit,
        )
        return [_request(row) for row in rows]

    def list_ended_requests(self, before: UtcNs, newest: int, *, after: int, limit: int) -> list[StoredRequest]:
        """Return requests that arrived before a time and have ended, oldest first, but for the newest ones of all.

        Args:
            before: Of arrival.
            newest: How many of all requests are left out.
            after: The id after which to go on.
            limit: How many at most.
        """
        ended = [state.value for state in RequestState if state not in OPEN_STATES]
        rows = self._all(
            f"SELECT * FROM request WHERE id > ? AND arrived_ns < ? AND state IN ({','.join('?' * len(ended))}) "  # noqa: S608
            "AND id NOT IN (SELECT key_of FROM outbox WHERE key_of IS NOT NULL) "
            "AND id NOT IN (SELECT id FROM request ORDER BY id DESC LIMIT ?) ORDER BY id LIMIT ?",
            after, before, *ended, newest, limit,
        )  # fmt: skip
        return [_request(row) for row in rows]

    def remove_request(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Forget a request that has ended, and everything about it but its incident's facts."""
        for table in ("release", "quota", "answer"):
            connection.execute(f"DELETE FROM {table} WHERE request_id = ?", (request_id,))  # noqa: S608
        connection.execute("DELETE FROM request WHERE id = ?", (request_id,))

    def update_request(
        self,
        connection: sqlite3.Connection,
        request_id: int,
        state: RequestState,
        *,
        due: UtcNs | None = None,
        reasons: Sequence[Mapping[str, Any]] | None = None,
        approval: bytes | None = None,
    ) -> None:
        """Move a request to a state; what is None stays as it was."""
        connection.execute(
            "UPDATE request SET state = ?, due_ns = coalesce(?, due_ns), reasons = coalesce(?, reasons), "
            "approval = coalesce(?, approval) WHERE id = ?",
            (state.value, due, None if reasons is None else json.dumps(list(reasons)), approval,
             request_id),
        )  # fmt: skip

    def mark_handed_over(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Note that the broker is given a request's age headers now."""
        connection.execute("UPDATE request SET handed_over = 1 WHERE id = ?", (request_id,))

    def find_incident(self, iss: str, number: str) -> bytes | None:
        """Return the digest of an incident's facts as first seen."""
        row = self._one("SELECT facts FROM incident WHERE iss = ? AND number = ?", iss, number)
        return None if row is None else bytes(row["facts"])

    def add_incident(self, connection: sqlite3.Connection, iss: str, number: str, facts: bytes) -> None:
        """Remember an incident's facts, the first time only."""
        connection.execute("INSERT OR IGNORE INTO incident VALUES (?, ?, ?)", (iss, number, facts))

    # Quotas

    def add_quota_use(self, connection: sqlite3.Connection, request_id: int, use: QuotaUse) -> None:
        """Count a grant against a camera's quota, once a request and camera."""
        connection.execute(
            "INSERT OR IGNORE INTO quota VALUES (?, ?, ?, ?, ?, ?)",
            (request_id, use.camera, use.at, use.granted_ns, use.iss, use.incident),
        )

    def list_quota_uses(self, since: UtcNs, *, but_not: int = -1) -> list[QuotaUse]:
        """Return what was used since a time, leaving one request out (that which is decided again)."""
        rows = self._all("SELECT * FROM quota WHERE at_ns >= ? AND request_id != ? ORDER BY at_ns", since, but_not)
        return [
            QuotaUse(row["camera"], UtcNs(row["at_ns"]), row["granted_ns"], row["iss"], row["incident"]) for row in rows
        ]

    # Releases

    def save_release(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Insert or replace one camera's release."""
        connection.execute(
            "INSERT OR REPLACE INTO release VALUES (?, ?, ?, ?, ?, ?, ?)",
            (release.request_id, release.camera, release.state.value, release.file, json.dumps(release.info),
             release.header, release.upload_url),
        )  # fmt: skip

    def list_releases(self, request_id: int | None = None) -> list[StoredRelease]:
        """Return the releases of one request, or of all."""
        rows = self._all("SELECT * FROM release WHERE request_id = coalesce(?, request_id) ORDER BY camera", request_id)
        return [
            StoredRelease(
                row["request_id"],
                row["camera"],
                ReleaseState(row["state"]),
                row["file"],
                json.loads(row["info"]),
                bytes(row["header"]),
                row["upload_url"],
            )
            for row in rows
        ]

    def set_release_state(self, connection: sqlite3.Connection, release: StoredRelease, state: ReleaseState) -> None:
        """Move one camera's release on."""
        connection.execute(
            "UPDATE release SET state = ? WHERE request_id = ? AND camera = ?",
            (state.value, release.request_id, release.camera),
        )

    def remove_release(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Forget one camera's release, its age header included."""
        connection.execute(
            "DELETE FROM release WHERE request_id = ? AND camera = ?", (release.request_id, release.camera)
        )

    def save_upload_url(self, release: StoredRelease, url: str) -> None:
        """Remember where an upload goes on; empty to start anew."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE release SET upload_url = ? WHERE request_id = ? AND camera = ?",
                (url, release.request_id, release.camera),
            )

    def forget_header(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Destroy the age headers of a request: what was uploaded without them can never be opened."""
        connection.execute("UPDATE release SET header = x'' WHERE request_id = ?", (request_id,))

    # Answers and outbox

    def count_answers(self, request_id: int) -> int:
        """Return how many answers a request has; the next one's sequence number."""
        row = self._one("SELECT count(*) AS n FROM answer WHERE request_id = ?", request_id)
        assert row is not None
        return int(row["n"])

    def push_answer(
        self,
        connection: sqlite3.Connection,
        request: StoredRequest,
        topic: str,
        payload: bytes,
        due: UtcNs,
        expires: UtcNs,
        *,
        is_key: bool = False,
    ) -> None:
        """Put a request's next signed answer into the outbox and remember it for duplicates."""
        seq = self.count_answers(request.id)
        connection.execute("INSERT INTO answer VALUES (?, ?, ?, ?)", (request.id, seq, payload, due))
        key_of = request.id if is_key else None
        self.push_message(connection, topic, payload, request.correlation, due, expires, key_of=key_of)

    def recall_key(self, connection: sqlite3.Connection, request_id: int) -> bool:
        """Take back an answer with age headers that the broker has not taken yet; False where there is none."""
        rows = connection.execute("DELETE FROM outbox WHERE key_of = ? RETURNING payload", (request_id,)).fetchall()
        for row in rows:
            connection.execute("DELETE FROM answer WHERE request_id = ? AND payload = ?", (request_id, row["payload"]))
        return bool(rows)

    def drop_key(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Send an answer with age headers no more; it stays the last answer of its request."""
        connection.execute("DELETE FROM outbox WHERE key_of = ?", (request_id,))

    def has_waiting_key(self, connection: sqlite3.Connection, request_id: int) -> bool:
        """Tell whether age headers of a request wait in the outbox."""
        return connection.execute("SELECT 1 FROM outbox WHERE key_of = ?", (request_id,)).fetchone() is not None

    def list_waiting_keys(self) -> list[int]:
        """Return the requests whose age headers wait in the outbox."""
        return [row["key_of"] for row in self._all("SELECT DISTINCT key_of FROM outbox WHERE key_of IS NOT NULL")]

    def find_last_answer(self, request_id: int, now: UtcNs) -> bytes | None:
        """Return the last answer whose moment has come, or None: a duplicate then gets the stored silence."""
        row = self._one(
            "SELECT payload FROM answer WHERE request_id = ? AND due_ns <= ? ORDER BY seq DESC LIMIT 1", request_id, now
        )
        return None if row is None else bytes(row["payload"])

    def push_message(
        self,
        connection: sqlite3.Connection,
        topic: str,
        payload: bytes,
        correlation: bytes,
        due: UtcNs,
        expires: UtcNs,
        *,
        key_of: int | None = None,
    ) -> None:
        """Put a message into the outbox."""
        connection.execute(
            "INSERT INTO outbox VALUES (NULL, ?, ?, ?, ?, ?, ?)", (topic, payload, correlation, due, expires, key_of)
        )

    def has_message(self, connection: sqlite3.Connection, payload: bytes) -> bool:
        """Tell whether this very message waits in the outbox."""
        return connection.execute("SELECT 1 FROM outbox WHERE payload = ?", (payload,)).fetchone() is not None

    def list_due_messages(self, now: UtcNs, limit: int = 16) -> list[OutboxMessage]:
        """Return the messages whose moment has come, oldest first; those that expired are dropped here.

        But for age headers: that those were never sent is the end of a request, and not for the outbox to decide.
        """
        with self.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE expires_ns <= ? AND key_of IS NULL", (now,))
        return [
            OutboxMessage(
                row["id"],
                row["topic"],
                bytes(row["payload"]),
                bytes(row["correlation"]),
                UtcNs(row["due_ns"]),
                UtcNs(row["expires_ns"]),
                row["key_of"],
            )
            for row in self._all("SELECT * FROM outbox WHERE due_ns <= ? ORDER BY due_ns, id LIMIT ?", now, limit)
        ]

    def remove_message(self, message_id: int) -> None:
        """Forget a message that the broker has taken."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE id = ?", (message_id,))

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

    def list_pauses(self, now: UtcNs) -> dict[str, UtcNs | None]:
        """Return the cameras (``*`` for all) of which release is paused, each with its end or None."""
        rows = self._all("SELECT * FROM pause WHERE until_ns IS NULL OR until_ns > ?", now)
        return {row["camera"]: row["until_ns"] for row in rows}

    def burn_order(self, connection: sqlite3.Connection, order_id: str, at: UtcNs) -> bool:
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

    def note_consent(self, connection: sqlite3.Connection, camera: str, version: int, *, revoked: bool = False) -> None:
        """Remember the highest version of a camera's consent; a revoked version stays revoked for ever."""
        connection.execute(
            "INSERT INTO consent VALUES (?, ?, ?) ON CONFLICT (camera) DO UPDATE SET "
            "revoked = CASE WHEN excluded.version > version THEN excluded.revoked "
            "ELSE max(revoked, excluded.revoked) END, "
            "version = max(version, excluded.version)",
            (camera, version, revoked),
        )

    def find_consent(self, camera: str) -> tuple[int, bool]:
        """Return the highest version of a camera's consent ever seen (0: none) and whether it was revoked."""
        row = self._one("SELECT * FROM consent WHERE camera = ?", camera)
        return (0, False) if row is None else (row["version"], bool(row["revoked"]))

    def _one(self, sql: str, *values: object) -> sqlite3.Row | None:
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def _all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()


def _request(row: sqlite3.Row) -> StoredRequest:
    return StoredRequest(
        row["id"], row["iss"], row["jti"], bytes(row["payload_sha256"]), bytes(row["raw"]), row["incident"],
        row["category"], bool(row["is_area"]), bytes(row["correlation"]), UtcNs(row["arrived_ns"]),
        UtcNs(row["release_by_ns"]),
        RequestState(row["state"]), UtcNs(row["due_ns"]), row["approval"], tuple(json.loads(row["reasons"])),
        bool(row["handed_over"]),
    )  # fmt: skip

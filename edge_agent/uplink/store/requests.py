"""The releaser's memory: requests, what their cameras' releases came to, and what they used of the quotas.

Together with the outbox and what stands, one SQLite file. Decides nothing.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge_agent.consent.bound import Bound, encode_bound, parse_bound
from edge_agent.consent.house_state import CameraHistory
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.store.in_force import InForceTables
from edge_agent.uplink.store.notices import Notices
from edge_agent.uplink.store.outbox import Outbox
from edge_agent.uplink.store.refusals import RefusedRequests
from edge_agent.uplink.store.release_info import Bundle, ReleaseInfo, Waiting, encode_info, parse_info


class RequestState(Enum):
    """Where an admitted request stands; the last five are final."""

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


class ReleaseState(Enum):
    """Where one camera's bundle stands; the last three are final."""

    WAITING = "waiting"
    """Its grant is in the ledger; it is not built yet, or could not be built so far."""
    BUILT = "built"
    UPLOADED = "uploaded"
    DELIVERED = "delivered"
    NO_FOOTAGE = "no-footage"
    FAILED = "failed"


MONTH_NS = 30 * DAY_NS
OPEN_STATES = (RequestState.ASKED, RequestState.GRANTED, RequestState.UPLOADING)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One verified request and where it stands."""

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
    """The broker was given the age headers, whether it has acknowledged them or not: nobody can take them back."""


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """One camera's bundle: where its ciphertext lies and how far its upload is."""

    request_id: int
    camera: str
    state: ReleaseState
    file: str
    info: ReleaseInfo
    """In the shape of the state: ``Waiting``, ``Bundle`` or ``Ended``."""
    header: bytes
    """The age header: stays here until the key is handed over."""
    upload_url: str

    @property
    def waiting(self) -> Waiting:
        """What is known of a release that waits."""
        assert isinstance(self.info, Waiting)
        return self.info

    @property
    def bundle(self) -> Bundle:
        """What is known of a release with a bundle."""
        assert isinstance(self.info, Bundle)
        return self.info


@dataclass(frozen=True, slots=True)
class DoomedUpload:
    """An upload that the server is still to be asked to delete."""

    id: int
    request_id: int
    file: str
    url: str


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What one request used of a camera's quota."""

    camera: str
    at: UtcNs
    granted_ns: int
    iss: str
    incident: str


class Store(Outbox, InForceTables, Notices, RefusedRequests):
    """Requests, incidents, quotas and releases; with everything else that lies in the file."""

    # Requests

    def add_request(self, connection: sqlite3.Connection, request: StoredRequest) -> int:
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

    def find_request(self, jti: str, iss: str | None = None) -> StoredRequest | None:
        """Look a request up by its ``jti``, of one issuer or (for a person's command) of any."""
        row = self._one("SELECT * FROM request WHERE jti = ? AND iss = coalesce(?, iss)", jti, iss)
        return None if row is None else _request(row)

    def read_request(self, request_id: int) -> StoredRequest:
        """Return a request that is known to exist."""
        row = self._one("SELECT * FROM request WHERE id = ?", request_id)
        assert row is not None
        return _request(row)

    def find_numbered(self, number: int) -> StoredRequest | None:
        """Look a request up by its number; None if there is none, or it is forgotten."""
        row = self._one("SELECT * FROM request WHERE id = ?", number)
        return None if row is None else _request(row)

    def count_requests(self) -> dict[str, int]:
        """Return how many requests are kept, by state; states without any are 0."""
        rows = self._all("SELECT state, count(*) AS number FROM request GROUP BY state")
        return {state.value: 0 for state in RequestState} | {str(row["state"]): int(row["number"]) for row in rows}

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
        for table in ("release", "quota", "answer", "doomed_upload"):
            connection.execute(f"DELETE FROM {table} WHERE request_id = ?", (request_id,))  # noqa: S608
        self.forget_notices(connection, request_id)
        connection.execute("DELETE FROM request WHERE id = ?", (request_id,))
        self.note_remains()

    def update_request(
        self,
        connection: sqlite3.Connection,
        request_id: int,
        state: RequestState,
        *,
        due: UtcNs | None = None,
        reasons: Sequence[Mapping[str, Any]] | None = None,
        approval: bytes | None = None,
        bound: Bound | None = None,
    ) -> None:
        """Move a request to a state; what is None stays as it was."""
        connection.execute(
            "UPDATE request SET state = ?, due_ns = coalesce(?, due_ns), reasons = coalesce(?, reasons), "
            "approval = coalesce(?, approval), bound = coalesce(?, bound) WHERE id = ?",
            (state.value, due, None if reasons is None else json.dumps(list(reasons)), approval,
             None if bound is None else encode_bound(bound), request_id),
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

    def count_quota_uses(self, iss: str, incident: str, *, before: int, now: UtcNs) -> dict[str, CameraHistory]:
        """Count, of each camera, what requests with a smaller number than ``before`` used until ``now``.

        In SQL: an owner may sign a thousand requests a month for each camera, and every evaluation counts them.
        """
        rows = self._all(
            "SELECT camera, sum(at_ns > ?1) AS last_day, sum(at_ns > ?2) AS last_month, "
            "sum(iss = ?3 AND incident = ?4) AS same_incident, sum((at_ns > ?2) * granted_ns) AS last_month_ns "
            "FROM quota WHERE request_id < ?5 GROUP BY camera",
            now - DAY_NS, now - MONTH_NS, iss, incident, before,
        )  # fmt: skip
        return {
            row["camera"]: CameraHistory(row["last_day"], row["last_month"], row["same_incident"], row["last_month_ns"])
            for row in rows
        }

    # Releases

    def save_release(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Insert or replace one camera's release."""
        connection.execute(
            "INSERT OR REPLACE INTO release VALUES (?, ?, ?, ?, ?, ?, ?)",
            (release.request_id, release.camera, release.state.value, release.file,
             json.dumps(encode_info(release.info)), release.header, release.upload_url),
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
                parse_info(row["state"], json.loads(row["info"])),
                bytes(row["header"]),
                row["upload_url"],
            )
            for row in rows
        ]

    def remove_release(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Forget one camera's release, its age header included."""
        connection.execute(
            "DELETE FROM release WHERE request_id = ? AND camera = ?", (release.request_id, release.camera)
        )
        self.note_remains()

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
        self.note_remains()

    # Uploads that are to be deleted where they lie

    def doom_upload(self, connection: sqlite3.Connection, release: StoredRelease) -> None:
        """Remember that what the server has of a release is to be deleted."""
        connection.execute(
            "INSERT INTO doomed_upload VALUES (NULL, ?, ?, ?, 0)",
            (release.request_id, release.file, release.upload_url),
        )

    def find_doomed_upload(self) -> DoomedUpload | None:
        """Return the upload that was tried least often, the oldest of them."""
        row = self._one("SELECT id, request_id, file, url FROM doomed_upload ORDER BY tries, id LIMIT 1")
        return None if row is None else DoomedUpload(*row)

    def put_off_doomed(self, doomed: DoomedUpload, max_tries: int) -> None:
        """Note that deleting an upload was tried; forget it after so many tries (0: it is done)."""
        with self.transaction() as connection:
            connection.execute("UPDATE doomed_upload SET tries = tries + 1 WHERE id = ?", (doomed.id,))
            connection.execute("DELETE FROM doomed_upload WHERE id = ? AND tries >= ?", (doomed.id, max_tries))


def _request(row: sqlite3.Row) -> StoredRequest:
    return StoredRequest(
        row["id"], row["iss"], row["jti"], bytes(row["payload_sha256"]), bytes(row["raw"]), row["incident"],
        row["category"], bool(row["is_area"]), bytes(row["correlation"]), UtcNs(row["arrived_ns"]),
        UtcNs(row["release_by_ns"]),
        RequestState(row["state"]), UtcNs(row["due_ns"]), row["approval"], tuple(json.loads(row["reasons"])),
        None if row["bound"] is None else parse_bound(row["bound"]), bool(row["handed_over"]),
    )  # fmt: skip

"""What each request used of its cameras' quotas."""

import sqlite3
from dataclasses import dataclass

from edge_agent.consent.house_state import CameraHistory
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.store.sqlite_file import SqliteFile

MONTH_NS = 30 * DAY_NS


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What one request used of a camera's quota."""

    camera: str
    at: UtcNs
    granted_ns: int
    iss: str
    incident: str


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

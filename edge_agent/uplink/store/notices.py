"""The owner's unsent news: one row for each turn of a request, and for each thing of the house that comes near.

A row is written in the transaction of the event that it tells of, so that no event is forgotten. Its
text is made as it is sent, of how things are then. Each service has its own list of the rows that it was not sent.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.uplink.store.sqlite_file import SqliteFile

HOUSE = 0
"""Stands for a request in the rows that are about none."""
REFUSALS = "refusals"
"""The row of the house that counts refused requests which were dropped before everybody was told of them."""
MAX_HOUSE_ROWS = 200
"""So many of those are kept, told or not, so that nothing is told twice. Those of requests go with their request."""


@dataclass(frozen=True, slots=True)
class HouseNotice:
    """Something to be told that is about no request."""

    id: int
    event: str
    detail: str


class NoticeTable:
    """Rows to be told, and to whom."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._services: tuple[str, ...] = ()
        self.noticed: dict[str, threading.Event] = {}
        """By service: set with each new row; for one waiter, who clears it and looks."""

    def set_services(self, names: Iterable[str], missing: Iterable[str] = ()) -> None:
        """Name the services that are told from now on, and the missing ones that rows wait for; rows of others go."""
        present = tuple(names)
        self._services = (*present, *missing)
        self.noticed = {name: threading.Event() for name in present}
        with self._file.transaction() as connection:
            connection.execute(
                "DELETE FROM notice_waiting WHERE service NOT IN (SELECT value FROM json_each(?))",
                (json.dumps(self._services),),
            )

    def add(
        self,
        connection: sqlite3.Connection,
        request_id: int,
        event: str,
        detail: str = "",
        *,
        number: int | None = None,
    ) -> None:
        """Have every service told of an event, once: the same event of the same request again is none."""
        row = (number, request_id, event, detail)
        cursor = connection.execute("INSERT OR IGNORE INTO notice VALUES (?, ?, ?, ?)", row)
        if not cursor.rowcount:
            return
        rows = [(name, cursor.lastrowid) for name in self._services]
        connection.executemany("INSERT INTO notice_waiting VALUES (?, ?)", rows)
        if request_id == HOUSE:
            connection.execute(
                "DELETE FROM notice WHERE request_id = ?1 AND id NOT IN "
                "(SELECT id FROM notice WHERE request_id = ?1 ORDER BY id DESC LIMIT ?2)",
                (HOUSE, MAX_HOUSE_ROWS),
            )
        for event_of in self.noticed.values():
            event_of.set()  # who looks now waits for the transaction to end

    def sum_up(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Count a refused request that goes in a row of the house, if somebody was not told of it."""
        waits = (
            "SELECT 1 FROM notice_waiting JOIN notice ON notice.id = notice_id "
            "WHERE request_id = ? AND ? IN ('', event) LIMIT 1"
        )
        if connection.execute(waits, (request_id, "")).fetchone() is None:
            return
        count = 1
        if connection.execute(waits, (HOUSE, REFUSALS)).fetchone() is not None:
            row = self._file.find_row("SELECT detail FROM notice WHERE request_id = ? AND event = ?", HOUSE, REFUSALS)
            count += 0 if row is None else int(row["detail"])
        # A number of its own: the row that goes may just be on its way to a service, which then marks that number.
        number = self.find_newest() + 1
        connection.execute("DELETE FROM notice WHERE request_id = ? AND event = ?", (HOUSE, REFUSALS))
        self.add(connection, HOUSE, REFUSALS, str(count), number=number)

    def find_newest(self) -> int:
        """Return the number of the newest row; 0 if there is none."""
        row = self._file.find_row("SELECT coalesce(max(id), 0) AS newest FROM notice")
        assert row is not None
        return int(row["newest"])

    def find_request_to_tell(self, service: str, asked: str, refused: str) -> int | None:
        """Return the request of which a service is told next: those that wait for the owner first, then the oldest.

        Args:
            service: Its name.
            asked: The state of those that come first.
            refused: The state of those that are not told one by one.
        """
        row = self._file.find_row(
            "SELECT request_id FROM notice_waiting JOIN notice ON notice.id = notice_id "
            "JOIN request ON request.id = request_id WHERE service = ? AND state != ? "
            "ORDER BY state != ?, notice.id LIMIT 1",
            service, refused, asked,
        )  # fmt: skip
        return None if row is None else int(row["request_id"])

    def list_events_to_tell(self, service: str, request_id: int) -> set[str]:
        """Return the events of a request of which a service was not told."""
        rows = self._file.list_rows(
            "SELECT event FROM notice_waiting JOIN notice ON notice.id = notice_id "
            "WHERE service = ? AND request_id = ?",
            service, request_id,
        )  # fmt: skip
        return {str(row["event"]) for row in rows}

    def find_house_notice(self, service: str, *, refusals: bool = False) -> HouseNotice | None:
        """Return the oldest thing about no request that a service was not sent; the count of refusals by itself."""
        row = self._file.find_row(
            "SELECT notice.id, event, detail FROM notice_waiting JOIN notice ON notice.id = notice_id "
            "WHERE service = ? AND request_id = ? AND (event = ?) = ? ORDER BY notice.id LIMIT 1",
            service, HOUSE, REFUSALS, refusals,
        )  # fmt: skip
        return None if row is None else HouseNotice(row["id"], row["event"], row["detail"])

    def list_refused_to_tell(self, service: str, refused: str, limit: int) -> list[int]:
        """Return requests of a state that a service was not told of, oldest first."""
        rows = self._file.list_rows(
            "SELECT DISTINCT request_id FROM notice_waiting JOIN notice ON notice.id = notice_id "
            "JOIN request ON request.id = request_id WHERE service = ? AND state = ? ORDER BY request_id LIMIT ?",
            service, refused, limit,
        )  # fmt: skip
        return [int(row["request_id"]) for row in rows]

    def mark_told(self, service: str, requests: Iterable[int], up_to: int) -> None:
        """Take the rows of these requests, as far as ``up_to``, off a service's list."""
        with self._file.transaction() as connection:
            connection.execute(
                "DELETE FROM notice_waiting WHERE service = ? AND notice_id <= ? AND notice_id IN "
                "(SELECT id FROM notice WHERE request_id IN (SELECT value FROM json_each(?)))",
                (service, up_to, json.dumps(list(requests))),
            )

    def mark_house_notice_told(self, service: str, notice_id: int) -> None:
        """Take one row about no request off a service's list."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM notice_waiting WHERE service = ? AND notice_id = ?", (service, notice_id))

"""The signed answers of each request, and the messages that wait for their moment or for the broker."""

import sqlite3
import threading
from dataclasses import dataclass

from edge_agent.units import UtcNs
from edge_agent.uplink.store.sqlite_file import SqliteFile


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message that waits for its moment or for the broker."""

    topic: str
    payload: bytes
    correlation: bytes
    due: UtcNs
    expires: UtcNs
    key_of: int | None = None
    """The request whose age headers it carries: it is sent only while that is still granted."""
    id: int = 0
    """Its row; 0 before it is pushed."""


class Outbox:
    """Signed answers by request, and messages in the order in which they are due."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self.pushed = threading.Event()
        """Set with every new message; for one waiter, who clears it and looks."""

    def count_answers(self, request_id: int) -> int:
        """Return how many answers a request has; the next one's sequence number."""
        row = self._file.find_row("SELECT count(*) AS n FROM answer WHERE request_id = ?", request_id)
        assert row is not None
        return int(row["n"])

    def push_answer(self, connection: sqlite3.Connection, request_id: int, answer: OutboxMessage) -> None:
        """Put a request's next signed answer into the outbox and remember it for duplicates."""
        seq = self.count_answers(request_id)
        connection.execute("INSERT INTO answer VALUES (?, ?, ?, ?)", (request_id, seq, answer.payload, answer.due))
        self.push(connection, answer)

    def recall_key(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Take back an answer with age headers that the broker has not taken yet."""
        rows = connection.execute("DELETE FROM outbox WHERE key_of = ? RETURNING payload", (request_id,)).fetchall()
        # It never left, so its number is free again: the next answer takes it.
        for row in rows:
            connection.execute("DELETE FROM answer WHERE request_id = ? AND payload = ?", (request_id, row["payload"]))
        self._file.note_remains()

    def drop_key(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Send an answer with age headers no more; it stays the last answer of its request."""
        connection.execute("DELETE FROM outbox WHERE key_of = ?", (request_id,))

    def has_waiting_key(self, connection: sqlite3.Connection, request_id: int) -> bool:
        """Tell whether age headers of a request wait in the outbox."""
        return connection.execute("SELECT 1 FROM outbox WHERE key_of = ?", (request_id,)).fetchone() is not None

    def list_waiting_keys(self) -> list[int]:
        """Return the requests whose age headers wait in the outbox."""
        rows = self._file.list_rows("SELECT DISTINCT key_of FROM outbox WHERE key_of IS NOT NULL")
        return [row["key_of"] for row in rows]

    def find_last_answer(self, request_id: int, now: UtcNs) -> bytes | None:
        """Return the last answer whose moment has come, or None: a duplicate then gets the stored silence."""
        row = self._file.find_row(
            "SELECT payload FROM answer WHERE request_id = ? AND due_ns <= ? ORDER BY seq DESC LIMIT 1", request_id, now
        )
        return None if row is None else bytes(row["payload"])

    def find_answer_due(self, request_id: int) -> UtcNs:
        """Return the moment of a request's last answer, past or to come; 0 if there is none."""
        row = self._file.find_row("SELECT coalesce(max(due_ns), 0) AS due FROM answer WHERE request_id = ?", request_id)
        return UtcNs(0 if row is None else row["due"])

    def push(self, connection: sqlite3.Connection, message: OutboxMessage) -> None:
        """Put a message into the outbox."""
        connection.execute(
            "INSERT INTO outbox VALUES (NULL, ?, ?, ?, ?, ?, ?)",
            (message.topic, message.payload, message.correlation, message.due, message.expires, message.key_of),
        )
        self.pushed.set()  # who looks now waits for the transaction to end

    def has_message(self, connection: sqlite3.Connection, payload: bytes) -> bool:
        """Tell whether this very message waits in the outbox."""
        return connection.execute("SELECT 1 FROM outbox WHERE payload = ?", (payload,)).fetchone() is not None

    def list_due(self, now: UtcNs, limit: int = 16, *, after: OutboxMessage | None = None) -> list[OutboxMessage]:
        """Return the messages whose moment has come, oldest first; those that expired are dropped here.

        But for age headers: that those were never sent is the end of a request, and not for the outbox to decide.

        Args:
            now: By which they are due.
            limit: How many at most.
            after: The one behind which to go on; None begins with the oldest.
        """
        place = (-1, -1) if after is None else (after.due, after.id)
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE expires_ns <= ? AND key_of IS NULL", (now,))
        return [
            OutboxMessage(
                row["topic"],
                bytes(row["payload"]),
                bytes(row["correlation"]),
                UtcNs(row["due_ns"]),
                UtcNs(row["expires_ns"]),
                row["key_of"],
                row["id"],
            )
            for row in self._file.list_rows(
                "SELECT * FROM outbox WHERE due_ns <= ? AND (due_ns, id) > (?, ?) ORDER BY due_ns, id LIMIT ?",
                now,
                *place,
                limit,
            )
        ]

    def remove(self, message: OutboxMessage) -> None:
        """Forget a message that the broker has taken; its row's number may be another message's by now."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE id = ? AND payload = ?", (message.id, message.payload))

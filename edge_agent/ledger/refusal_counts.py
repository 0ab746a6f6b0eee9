"""Counts of the refusals that are not written down one by one, per reason and hour, on their way into the ledger.

Owns the counts of the hours that are not entered yet, in memory only: a flood of bogus messages costs no write and no
more than ``MAX_KEYS`` numbers an hour. A kill loses the counts of the hour that was running, and nothing else.
"""

import sqlite3
import threading

from edge_agent.host.clock import Clock
from edge_agent.ledger import entries
from edge_agent.ledger.gateway_kinds import CountedEntry
from edge_agent.units import HOUR_NS, UtcNs

MAX_KEYS = 64
OTHER = "other"

RefusalKey = tuple[int, str]
"""The hour, counted since 1970, and the reason."""


class RefusalCounter:
    """Counts of messages that were refused unread, per hour and reason. Any thread.

    Args:
        clock: Tells which hour is running.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[RefusalKey, int] = {}
        self._lock = threading.Lock()

    def count(self, reason: str) -> None:
        """Count one refusal; if too many reasons wait to be entered, new ones count as ``other``."""
        hour = self._clock.utc() // HOUR_NS
        with self._lock:
            key = (hour, reason) if (hour, reason) in self._counts or len(self._counts) < MAX_KEYS else (hour, OTHER)
            self._counts[key] = self._counts.get(key, 0) + 1

    def read(self) -> dict[str, int]:
        """Return the counts that are not entered yet, by reason: for the owner's status."""
        with self._lock:
            counts: dict[str, int] = {}
            for (_, reason), count in self._counts.items():
                counts[reason] = counts.get(reason, 0) + count
            return counts

    def enter(self, conn: sqlite3.Connection, *, running: bool = False) -> dict[RefusalKey, int]:
        """Append one entry per reason of every hour that is over, inside the caller's transaction.

        Args:
            conn: A connection with an open transaction.
            running: The running hour as well: at a clean stop.

        Returns:
            The counts that were entered, for ``forget`` once the transaction is committed; empty if nothing was due.
        """
        now = self._clock.utc()
        with self._lock:
            due = {key: self._counts[key] for key in sorted(self._counts) if running or key[0] != now // HOUR_NS}
        for (hour, reason), count in due.items():
            entries.append(conn, CountedEntry(UtcNs(hour * HOUR_NS), reason, count), now)
        return due

    def forget(self, entered: dict[RefusalKey, int]) -> None:
        """Take off what a committed ``enter`` returned."""
        with self._lock:
            for key, count in entered.items():
                # Subtracted, not deleted: refusals that came while the transaction ran belong to
                # the next entry.
                self._counts[key] -= count
                if not self._counts[key]:
                    del self._counts[key]

"""The releaser's SQLite file: its connection, its versions, its transactions.

Every step of a request is one transaction (``synchronous=FULL``), so that a kill at any point loses nothing and
repeats nothing (PROTOCOL 9). The ledger has its own table in the file, and gets the connection of the same transaction.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from edge_agent.errors import UnsupportedVersionError
from edge_agent.host.regular_file import open_regular
from edge_agent.ledger import table as ledger
from edge_agent.uplink.store.schema import MIGRATIONS, SCHEMA, SCHEMA_VERSION

log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 5.0


class SqliteFile:
    """The SQLite file, one connection for all threads, one transaction at a time.

    Raises:
        UnsupportedVersionError: The file was written by a newer version.
        OSError: No regular file lies there.
        sqlite3.Error: The disk fails; nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        refuse_other_files(path)
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        self._connection.row_factory = sqlite3.Row
        # FULL: an acknowledged message and a ledger entry outlive a power cut. secure_delete: R3,
        # an age header that was revoked is overwritten with zeros.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise UnsupportedVersionError(
                f"{path}: written by a newer version: schema={version} known={SCHEMA_VERSION}"
            )
        # The version is set in the transaction of its step: a kill leaves a file of one version,
        # never between two.
        if version == 0:
            self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        else:
            for step in range(version, SCHEMA_VERSION):
                self._connection.executescript(f"BEGIN; {MIGRATIONS[step]} PRAGMA user_version={step + 1}; COMMIT;")
        ledger.create_tables(self._connection)
        self._has_remains = True  # a kill may have come between a commit and what follows it
        self.destroy_remains()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._has_remains = False  # what a reader still keeps in the log is the next start's to destroy
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open a second, read-only connection for the time of the block: for long reads beside the writers."""
        connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
        try:
            yield connection
        finally:
            connection.close()
            self.destroy_remains()  # a reader keeps the log from being emptied

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: all of it is durable afterwards, or none of it happened.

        Inside a transaction of the same thread it is a part of that one.
        """
        with self._lock:
            if self._is_open():
                yield self._connection
                return
            # IMMEDIATE: a transaction that began by reading could find at its first write that
            # another came before it.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                # Not committed. A full disk may have ended the transaction itself; a failed COMMIT leaves it open.
                if self._is_open():
                    self._connection.execute("ROLLBACK")
            self.destroy_remains()

    def find_row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """Return the first row that a query finds; None if it finds none."""
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def list_rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows that a query finds."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def note_remains(self) -> None:
        """Tell, inside a transaction, that it deletes what must be in no file afterwards."""
        self._has_remains = True

    def destroy_remains(self) -> None:
        """Empty the write-ahead log if it may hold deleted rows, unless somebody still reads from it.

        ``secure_delete`` writes zeros over it in the database alone; the log keeps earlier pages until it comes round.
        Does not wait: it is tried again after the next transaction, after each reader, and whenever this is called.
        """
        with self._lock:
            if not self._has_remains or self._is_open():
                return
            try:
                self._connection.execute("PRAGMA busy_timeout=0")
                try:
                    (is_busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    self._connection.execute(f"PRAGMA busy_timeout={int(_BUSY_TIMEOUT_S * 1000)}")
            except sqlite3.Error as error:  # such as a disk that is full: what was committed is durable all the same
                log.warning("what was deleted may still be in the journal, and is destroyed later: %s", error)
                is_busy = True
            self._has_remains = bool(is_busy)

    def _is_open(self) -> bool:
        return self._connection.in_transaction


def refuse_other_files(path: Path) -> None:
    """Refuse pipes, links and devices in the place of the file and of its journals: SQLite would wait or follow."""
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        with contextlib.suppress(FileNotFoundError):
            os.close(open_regular(each))

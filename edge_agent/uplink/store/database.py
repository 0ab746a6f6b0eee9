"""The releaser's SQLite file: its tables, its versions, its transactions.

Every step of a request is one transaction (``synchronous=FULL``), so that a kill at any point loses nothing and
repeats nothing (PROTOCOL 9). Owns the form of every table but the ledger's, which gets the connection of the same
transaction; the modules beside it read and write the rows.
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

log = logging.getLogger(__name__)

SCHEMA_VERSION = 10
_BUSY_TIMEOUT_S = 5.0
_NUMBERS_AND_NOTICES = """
CREATE TABLE request_number (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL) STRICT;
CREATE TABLE notice (
  id INTEGER PRIMARY KEY, request_id INTEGER NOT NULL, event TEXT NOT NULL, detail TEXT NOT NULL,
  UNIQUE (request_id, event)) STRICT;
CREATE TABLE notice_waiting (
  service TEXT NOT NULL, notice_id INTEGER NOT NULL REFERENCES notice (id) ON DELETE CASCADE,
  PRIMARY KEY (service, notice_id)) STRICT, WITHOUT ROWID;
CREATE INDEX notice_waiting_notice ON notice_waiting (notice_id);
INSERT INTO request_number SELECT 1, coalesce(max(id), 0) FROM request;
"""
_REFUSALS = """
CREATE TABLE refused (
  iss TEXT NOT NULL, jti TEXT NOT NULL, payload_sha256 BLOB NOT NULL, until_ns INTEGER NOT NULL,
  declined_ns INTEGER NOT NULL, PRIMARY KEY (iss, jti)) STRICT, WITHOUT ROWID;
CREATE INDEX refused_until ON refused (until_ns);
CREATE TABLE refusal_count (
  hour INTEGER NOT NULL, kid TEXT NOT NULL, entered INTEGER NOT NULL, counted INTEGER NOT NULL,
  PRIMARY KEY (hour, kid)) STRICT, WITHOUT ROWID;
CREATE INDEX request_refused ON request (iss, id, length(raw)) WHERE state = 'denied';
"""
_BIRTH = """
CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, born_ns INTEGER) STRICT;
INSERT INTO store VALUES (1, lower(hex(randomblob(16))), NULL);
"""
_SCHEMA = """
CREATE TABLE trust (
  one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, raw BLOB NOT NULL, roots TEXT NOT NULL) STRICT;
CREATE TABLE trust_floor (
  root TEXT PRIMARY KEY, version INTEGER NOT NULL, payload_sha256 BLOB NOT NULL) STRICT;
CREATE TABLE request (
  id INTEGER PRIMARY KEY, iss TEXT NOT NULL, jti TEXT NOT NULL, payload_sha256 BLOB NOT NULL, raw BLOB NOT NULL,
  incident TEXT NOT NULL, category TEXT NOT NULL, is_area INTEGER NOT NULL, correlation BLOB NOT NULL,
  arrived_ns INTEGER NOT NULL, release_by_ns INTEGER NOT NULL,
  state TEXT NOT NULL, due_ns INTEGER NOT NULL, approval BLOB, reasons TEXT NOT NULL,
  handed_over INTEGER NOT NULL, bound TEXT, UNIQUE (iss, jti)) STRICT;
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
CREATE TABLE doomed_upload (
  id INTEGER PRIMARY KEY, request_id INTEGER NOT NULL REFERENCES request (id), file TEXT NOT NULL, url TEXT NOT NULL,
  tries INTEGER NOT NULL) STRICT;
CREATE INDEX outbox_due ON outbox (due_ns);
CREATE TABLE pause (camera TEXT PRIMARY KEY, until_ns INTEGER) STRICT;
CREATE TABLE owner_order (order_id TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) STRICT;
CREATE TABLE consent (
  camera TEXT PRIMARY KEY, version INTEGER NOT NULL, raw BLOB NOT NULL, revoked INTEGER NOT NULL) STRICT;
"""
_SCHEMA += _NUMBERS_AND_NOTICES + _REFUSALS + _BIRTH
_MIGRATIONS = {
    # Version 1 named what was paused, and that was never anything but release.
    1: """
CREATE TABLE pause (camera TEXT PRIMARY KEY, until_ns INTEGER) STRICT;
INSERT INTO pause SELECT camera, until_ns FROM stop WHERE what = 'release';
DROP TABLE stop;
""",
    # The clock has a memory of its own (`edge_agent.host.persistent_clock`).
    2: "DROP TABLE IF EXISTS floor;",
    # What was decided before there was a bound may release nothing: its next evaluation ends it.
    3: "ALTER TABLE request ADD COLUMN bound TEXT;",
    # A bound of before names no source, and may release nothing either. Floors are entered as the bundle is loaded.
    4: """
UPDATE request SET bound = NULL;
CREATE TABLE trust_floor (
  root TEXT PRIMARY KEY, version INTEGER NOT NULL, payload_sha256 BLOB NOT NULL) STRICT;
""",
    5: """
CREATE TABLE doomed_upload (
  id INTEGER PRIMARY KEY, request_id INTEGER NOT NULL REFERENCES request (id), file TEXT NOT NULL, url TEXT NOT NULL,
  tries INTEGER NOT NULL) STRICT;
""",
    6: _NUMBERS_AND_NOTICES,
    7: _REFUSALS,
    8: _BIRTH,
    # Consents lay in files, which could be exchanged. What the store does not have does not count until it is signed
    # again; versions and revocations stay.
    9: """
CREATE TABLE consent_taken (
  camera TEXT PRIMARY KEY, version INTEGER NOT NULL, raw BLOB NOT NULL, revoked INTEGER NOT NULL) STRICT;
INSERT INTO consent_taken SELECT camera, version, x'', revoked FROM consent;
DROP TABLE consent;
ALTER TABLE consent_taken RENAME TO consent;
""",
}
"""What makes a file of each version one of the next."""


class Database:
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
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                # Not committed. A full disk may have ended the transaction itself; a failed COMMIT leaves it open.
                if self._is_open():
                    self._connection.execute("ROLLBACK")
            self.destroy_remains()

    def read_ledger_size(self) -> int:
        """Return the number of the ledger's entries, padding included."""
        with self._lock:
            return ledger.read_size(self._connection)

    def note_remains(self) -> None:
        """Tell, inside a transaction, that it deletes what must be in no file afterwards."""
        self._has_remains = True

    def destroy_remains(self) -> None:
        """Empty the write-ahead log where it may hold what was deleted, unless somebody still reads from it.

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

    def _one(self, sql: str, *values: object) -> sqlite3.Row | None:
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def _all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()


def refuse_other_files(path: Path) -> None:
    """Refuse what SQLite would wait for or follow, in place of the file and of its journals."""
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        with contextlib.suppress(FileNotFoundError):
            os.close(open_regular(each))

"""One database for an RTCC's state: its connections, transactions and errors.

Owns SQLAlchemy's engine, and the two dialects' differences: which transaction excludes another, what is durable when.
A transaction that ends without an error is durable. It must never log a URL: it may hold a password.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError

from edge_agent.errors import ConfigError, ConflictError
from edge_agent.rtcc.state import guards, tables
from edge_agent.rtcc.state.database_errors import in_words

_READS = "reads_only"
_PATIENCE_S = 15
_PRAGMAS = (
    # No write-ahead log: its index is shared memory, which a home on a share has not.
    "journal_mode=TRUNCATE",
    # Durable at the commit: right after it the broker hears that it may forget the message.
    "synchronous=FULL",
    "foreign_keys=ON",
    # A schema that was put into the file calls no function with a side effect
    # (sqlite.org/security.html).
    "trusted_schema=OFF",
)
_MIN_POSTGRESQL = (15,)
_DRIVER = "postgresql+psycopg"
_CONNECT = {
    "connect_timeout": _PATIENCE_S,
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    # Keepalives are silent while something is sent and not acknowledged: that is this one's (ms).
    "tcp_user_timeout": 20_000,
}  # fmt: skip
_SERVER_SETTINGS = "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"
"""A statement that waits for another's lock ends; a program that hangs gives its own locks up."""
_MOVED = 1
"""``user_version`` of a SQLite whose rows lie at a server now."""


class CityDatabase:
    """The database at a URL; any thread. Nothing is opened before the first transaction.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://…``.

    Raises:
        ConfigError: Another kind of URL, or the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._engine = _make_engine(url)
        self._reading = self._engine.execution_options(**{_READS: True})

    @property
    def is_shared(self) -> bool:
        """Tell whether it is a server's, which other machines reach as well."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction that writes; it is committed at the end, or undone by an error.

        Raises:
            UnavailableError: The database cannot be reached, or is busy for too long.
            ConfigError: It is damaged, its rows were moved to a server, or its role has not the rights.
        """
        with in_words(), self._engine.begin() as connection:
            self._refuse_moved(connection)
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads.

        Raises:
            UnavailableError, ConfigError: As ``begin``.
        """
        with in_words(), self._reading.connect() as connection:
            self._refuse_moved(connection)
            yield connection

    def create(self) -> None:
        """Create what is missing of the tables and their guards.

        Raises:
            ConfigError: The tables are of a newer version, or the server is too old.
        """
        with self.begin() as connection:
            found = connection.dialect.server_version_info
            if self.is_shared and found is not None and found < _MIN_POSTGRESQL:
                raise ConfigError(f"PostgreSQL is too old: version={found[0]} least={_MIN_POSTGRESQL[0]}")
            if self.is_shared:
                guards.exclude_others(connection)
            if inspect(connection).has_table(tables.state_version.name):
                self._check_version(connection)
            else:
                tables.metadata.create_all(connection)
                guards.create(connection)
                connection.execute(insert(tables.state_version).values(version=tables.VERSION))

    def check(self) -> None:
        """Look whether the tables are there and of this version.

        Raises:
            ConfigError: They are not.
            UnavailableError: The database cannot be reached.
        """
        with self.read() as connection:
            if not inspect(connection).has_table(tables.state_version.name):
                hint = "`rtcc state create` makes its tables" if self.is_shared else "bring your copy of the file back"
                raise ConfigError("the database holds no state of an RTCC", hint)
            self._check_version(connection)

    def mark_moved(self, connection: Connection) -> None:
        """Let nobody read or write a SQLite any more once the caller's transaction is committed."""
        # In the file's header: part of the transaction, and read by every program at its next one.
        connection.exec_driver_sql(f"PRAGMA user_version = {_MOVED}")

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()

    def _refuse_moved(self, connection: Connection) -> None:
        if not self.is_shared and connection.exec_driver_sql("PRAGMA user_version").scalar() == _MOVED:
            raise ConfigError(
                "the home's state was moved to a database server: state.sqlite3 is used no more",
                "start the program anew; if `database` is missing in rtcc.json, write the server's URL there",
            )

    def _check_version(self, connection: Connection) -> None:
        version = connection.execute(select(tables.state_version.c.version)).scalar()
        if version != tables.VERSION:
            raise ConfigError(f"the database is of another version: version={version} ours={tables.VERSION}")


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Undo what is done inside, and nothing else of the transaction, if it fails.

    Raises:
        ConflictError: A constraint refuses a row.
    """
    try:
        with connection.begin_nested():
            yield
    except IntegrityError as error:
        # Its text holds the values of the row.
        raise ConflictError(f"a row is refused: error={type(error.orig).__name__}") from None


def _make_engine(text: str) -> Engine:
    try:
        url = make_url(text)
        if url.get_backend_name() == "sqlite" and url.database:
            return _make_sqlite(Path(url.database))
        if url.drivername in ("postgresql", _DRIVER):
            # The URL's own options are said last, and count.
            options = " ".join((_SERVER_SETTINGS, *url.normalized_query.get("options", ())))
            return create_engine(
                url.set(drivername=_DRIVER), connect_args=_CONNECT | {"options": options}, pool_pre_ping=True,
                pool_timeout=_PATIENCE_S, hide_parameters=True,
            )  # fmt: skip
    except ArgumentError:
        raise ConfigError("the database's URL cannot be read") from None
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigError(
            f"the database's packages are not installed: {error}", "in a checkout: pip install '.[city]'"
        ) from error
    raise ConfigError(f"not a kind of database that we know: {url.drivername}", "sqlite:///PATH or postgresql://…")


def _make_sqlite(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": _PATIENCE_S}, pool_timeout=_PATIENCE_S, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # Transactions are begun below, not by the driver's guess.
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READS, False)
        # Two that began by reading, and both would write, would each wait for the other.
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    return engine

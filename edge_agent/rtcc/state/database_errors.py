"""The meaning of a database's error: away for now, set up wrongly, or a fault of ours.

Owns the one place in which a driver's error is read. Only a fault that time mends is an outage: its finder
waits and tries again, indefinitely, and would wait as long for a statement that is wrong or a row that no table takes.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from edge_agent.errors import ConfigError, EdgeAgentError, UnavailableError

_SQLITE_AWAY = frozenset(
    (
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
    )
)  # fmt: skip
_SQLITE_DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
# Of PostgreSQL's other classes: a server that lost its office to another one, a transaction that was silent for long.
_POSTGRESQL_AWAY = frozenset(("25006", "25P03"))
_NO_RIGHT = "42501"


@contextmanager
def in_words() -> Iterator[None]:
    """Translate what time or a person mends; a constraint, and a fault of ours, stay the errors that they are.

    Raises:
        UnavailableError: The database cannot be reached, or is busy for too long.
        ConfigError: It is damaged, or its role has not the rights.
    """
    try:
        yield
    except (PoolTimeoutError, DisconnectionError) as error:
        raise UnavailableError(f"state cannot be read or written: {type(error).__name__}") from error
    except DBAPIError as error:
        said = _translate(error)
        if said is None:
            raise
        raise said from error


def _translate(error: DBAPIError) -> EdgeAgentError | None:
    first = next(iter(str(error.orig).splitlines()), "no word")[:200]
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        primary = code & 0xFF  # the rest says more about the same
        if primary in _SQLITE_AWAY:
            return UnavailableError(f"state cannot be read or written: {first}")
        if primary in _SQLITE_DAMAGED:
            return ConfigError(f"state.sqlite3 is damaged: {first}", "put it aside, and bring your copy of it back")
        return None
    state = getattr(error.orig, "sqlstate", None)
    if state == _NO_RIGHT:
        return ConfigError(f"our role has not the rights: {first}", "`rtcc state create --writer ROLE` grants them")
    is_away = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    if is_away or state in _POSTGRESQL_AWAY:
        return UnavailableError(f"state cannot be read or written: {first}")
    return None

"""All of one database moved into another, in one transaction there: a home's SQLite into PostgreSQL."""

from sqlalchemy import Connection, func, insert, select, text

from edge_agent.errors import ConfigError
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import audit_events, inbound, metadata, state_version

_AT_ONCE = 500


def move_state(source: CityDatabase, target: CityDatabase) -> int:
    """Copy every row, and refuse every later use of the source.

    The transaction keeps other writers out of the source meanwhile. The target's rows are durable
    before the source is marked: after a kill in between the source is still the state, and the
    target has to be emptied.

    Returns:
        How many rows there were.

    Raises:
        ConfigError: The target holds rows already.
    """
    with source.begin() as reading:
        with target.begin() as writing:
            count = _copy(reading, writing)
            if target.is_shared:
                _move_sequences(writing)
        source.mark_moved(reading)
    return count


def _copy(reading: Connection, writing: Connection) -> int:
    count = 0
    # In the order of their foreign keys.
    for table in metadata.sorted_tables:
        # The target has its own.
        if table is state_version:
            continue
        if writing.execute(select(table).limit(1)).first() is not None:
            raise ConfigError(f"the database holds rows already: table={table.name}")
        for rows in reading.execute(select(table)).mappings().partitions(_AT_ONCE):
            writing.execute(insert(table), [dict(row) for row in rows])
            count += len(rows)
    return count


def _move_sequences(writing: Connection) -> None:
    """Let new rows go on behind those that brought their numbers."""
    for table in (inbound, audit_events):
        highest = writing.execute(select(func.max(table.c.number))).scalar()
        if highest is not None:
            words = {"name": f"{table.name}_number_seq", "highest": highest}
            writing.execute(text("SELECT setval(:name, :highest)"), words)

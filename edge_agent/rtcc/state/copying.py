"""All of one database copied into another, in one transaction there: a home's SQLite into PostgreSQL."""

from sqlalchemy import func, insert, select, text

from edge_agent.errors import ConfigError
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import audit_events, inbound, metadata, state_version

_AT_ONCE = 500


def copy_state(source: CityDatabase, target: CityDatabase) -> int:
    """Copy every row.

    Returns:
        How many there were.

    Raises:
        ConfigError: The target holds rows already.
    """
    count = 0
    with source.read() as reading, target.begin() as writing:
        for table in metadata.sorted_tables:
            if table is state_version:
                continue
            if writing.execute(select(table).limit(1)).first() is not None:
                raise ConfigError(f"the database holds rows already: table={table.name}")
            for rows in reading.execute(select(table)).mappings().partitions(_AT_ONCE):
                writing.execute(insert(table), [dict(row) for row in rows])
                count += len(rows)
        if target.is_shared:  # Rows that brought their numbers did not move the sequences.
            for table in (inbound, audit_events):
                highest = writing.execute(select(func.max(table.c.number))).scalar()
                if highest is not None:
                    name = f"{table.name}_number_seq"
                    writing.execute(text("SELECT setval(:name, :highest)"), {"name": name, "highest": highest})
    return count

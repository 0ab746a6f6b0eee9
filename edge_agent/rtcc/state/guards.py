"""The refusals of the database itself: a change of the audit's rows, and two programs that make the tables at once.

Owns the statements that one dialect knows and the other does not.
"""

from sqlalchemy import Connection, text

from edge_agent.rtcc.state.tables import AUDIT, metadata

WRITER = "rtcc_writer"
"""Role of PostgreSQL for readers, workers, the receiver and the office: of the audit it may insert events alone."""
_LOCK = 0x72746363  # "rtcc"
_REFUSE = """
CREATE OR REPLACE FUNCTION rtcc_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit only grows'; END $$
"""


def exclude_others(connection: Connection) -> None:
    """Let no other program make the tables before this transaction ends; PostgreSQL only."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def create(connection: Connection) -> None:
    """Refuse every update and delete of the audit."""
    if connection.dialect.name == "sqlite":
        for table in AUDIT:
            for verb in ("UPDATE", "DELETE"):
                connection.exec_driver_sql(
                    f"CREATE TRIGGER {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name}"
                    " BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END"
                )
        return
    connection.exec_driver_sql(_REFUSE)
    for table in AUDIT:
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table.name}_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table.name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION rtcc_refuse()"
        )


def grant_writer(connection: Connection, role: str = WRITER) -> None:
    """Let a role that exists do everything but read or change the audit; PostgreSQL only.

    The program that signs the audit's checkpoints connects as the owner of the tables.
    """
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    ours = [table.name for table in metadata.sorted_tables if table not in AUDIT and table.name != "state_version"]
    connection.exec_driver_sql(f"GRANT SELECT ON state_version TO {quoted}")
    connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(ours)} TO {quoted}")
    connection.exec_driver_sql(f"GRANT INSERT ON audit_events TO {quoted}")
    connection.exec_driver_sql(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {quoted}")

"""The reader of each broker: one at a time, and another one soon after the first has gone."""

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import readers
from edge_agent.units import SECOND_NS, UtcNs

LEASE_NS = 10 * SECOND_NS
"""A reader that does not say within it that it is there has gone."""


class Readers:
    """The table of readers. Clocks of machines must agree within ``LEASE_NS``: if they do not, two readers take a
    broker from each other, and no message is lost by it."""

    def __init__(self, database: CityDatabase) -> None:
        self._database = database

    def hold(self, broker: str, holder: str, now: UtcNs) -> bool:
        """Become or stay the reader of a broker until ``LEASE_NS`` from now; False if another one is."""
        values = {"holder": holder, "until_ns": now + LEASE_NS, "read_at_ns": now}
        # No right lease ends so late: a wrong clock wrote it, and until then the broker had no reader.
        is_astray = readers.c.until_ns > now + 2 * LEASE_NS
        free = (readers.c.holder == holder) | (readers.c.until_ns <= now) | is_astray
        with self._database.begin() as connection:
            mine = update(readers).where(readers.c.broker == broker, free).values(**values)
            if connection.execute(mine).rowcount:
                return True
            if connection.execute(select(readers.c.holder).where(readers.c.broker == broker)).first() is not None:
                return False
        try:
            with self._database.begin() as connection:
                connection.execute(insert(readers).values(broker=broker, **values))
        except IntegrityError:  # Another one was first.
            return False
        return True

    def leave(self, broker: str, holder: str, now: UtcNs) -> None:
        """Let another one read a broker at once."""
        with self._database.begin() as connection:
            mine = (readers.c.broker == broker, readers.c.holder == holder)
            connection.execute(update(readers).where(*mine).values(until_ns=now))

    def note(self, broker: str, now: UtcNs) -> None:
        """Note that the broker keeps answers for us from now on, without becoming its reader."""
        with self._database.begin() as connection:
            noted = update(readers).where(readers.c.broker == broker).values(read_at_ns=now)
            if not connection.execute(noted).rowcount:
                values = {"broker": broker, "holder": "", "until_ns": 0, "read_at_ns": now}
                connection.execute(insert(readers).values(**values))

    def read_at(self, broker: str) -> UtcNs | None:
        """Return when a broker was last read; None if it never was."""
        with self._database.read() as connection:
            found = connection.execute(select(readers.c.read_at_ns).where(readers.c.broker == broker)).scalar()
        return None if found is None else UtcNs(found)

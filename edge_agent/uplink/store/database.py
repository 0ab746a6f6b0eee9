"""The releaser's memory: one SQLite file, and a table for each kind of thing that it remembers. Decides nothing."""

from pathlib import Path

from edge_agent.ledger import table as ledger
from edge_agent.units import UtcNs
from edge_agent.uplink.store.in_force import ConsentTable, OrderTable, PauseTable, TrustTable
from edge_agent.uplink.store.notices import NoticeTable
from edge_agent.uplink.store.outbox import Outbox
from edge_agent.uplink.store.refusals import RefusalTable
from edge_agent.uplink.store.releases import ReleaseTable
from edge_agent.uplink.store.requests import QuotaTable, RequestTable
from edge_agent.uplink.store.sqlite_file import SqliteFile


class Database(SqliteFile):
    """The file with its tables, and its own identity.

    Each table reads by itself. A change of several tables is one ``transaction``: they get its connection.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.requests = RequestTable(self)
        self.releases = ReleaseTable(self)
        self.quotas = QuotaTable(self)
        self.outbox = Outbox(self)
        self.notices = NoticeTable(self)
        self.refusals = RefusalTable(self)
        self.trust = TrustTable(self)
        self.consents = ConsentTable(self)
        self.pauses = PauseTable(self)
        self.orders = OrderTable()

    def read_id(self) -> str:
        """Return this store's random id: 32 hexadecimal digits, drawn as its file was made."""
        row = self.find_row("SELECT id FROM store")
        assert row is not None
        return str(row["id"])

    def note_birth(self, now: UtcNs) -> None:
        """Remember the first moment at which this store knew the time; later ones change nothing."""
        if self.find_birth() is None:
            with self.transaction() as connection:
                # The condition once more: two threads may both have found none.
                connection.execute("UPDATE store SET born_ns = ? WHERE born_ns IS NULL", (now,))

    def find_birth(self) -> UtcNs | None:
        """Return that moment; None if it has not come."""
        row = self.find_row("SELECT born_ns FROM store")
        return None if row is None or row["born_ns"] is None else UtcNs(row["born_ns"])

    def read_ledger_size(self) -> int:
        """Return the number of the ledger's entries, padding included."""
        with self._lock:
            return ledger.read_size(self._connection)

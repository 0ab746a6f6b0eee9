"""Documents of drafts: each written once, so that two persons' machines cannot spoil each other's."""

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from edge_agent.errors import CustodyError, EvidenceError
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import drafts

MAX_BYTES = 128 << 10
MAX_DOCUMENTS = 256
"""Of one draft."""


class DraftDocuments:
    """The table of drafts: named documents of each."""

    def __init__(self, database: CityDatabase) -> None:
        self._database = database

    def add(self, draft: str, name: str, content: bytes) -> None:
        """Keep a document.

        Raises:
            CustodyError: One of this name is there already.
            EvidenceError: It is too long, or the draft has too many.
        """
        if len(content) > MAX_BYTES or len(self.names(draft)) >= MAX_DOCUMENTS:
            raise EvidenceError(f"too much for a draft: id={draft} bytes={len(content)}")
        try:
            with self._database.begin() as connection:
                connection.execute(insert(drafts).values(draft=draft, name=name, content=content))
        except IntegrityError:
            raise CustodyError(f"document is there already and is not overwritten: {draft}/{name}") from None

    def read(self, draft: str, name: str) -> bytes | None:
        """Return a document; None if there is none of this name."""
        with self._database.read() as connection:
            query = select(drafts.c.content).where(drafts.c.draft == draft, drafts.c.name == name)
            return connection.execute(query).scalar()

    def names(self, draft: str) -> tuple[str, ...]:
        """Return the names of a draft's documents."""
        query = select(drafts.c.name).where(drafts.c.draft == draft).order_by(drafts.c.name)
        with self._database.read() as connection:
            return tuple(connection.execute(query).scalars())

    def ids(self, name: str) -> tuple[str, ...]:
        """Return the drafts that have a document of this name."""
        with self._database.read() as connection:
            query = select(drafts.c.draft).where(drafts.c.name == name).order_by(drafts.c.draft)
            return tuple(connection.execute(query).scalars())

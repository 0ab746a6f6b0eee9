"""Requests that were sent: each once, with whom it asks and until when it may be carried out."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from edge_agent.errors import CustodyError, DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.state import audit
from edge_agent.rtcc.state.audit import AuditEvent
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import requests
from edge_agent.units import UtcNs, parse_rfc3339

PAGE = 500
AREA = "*"
_ASKED = select(requests.c.jti, requests.c.audience, requests.c.release_by_ns).where(
    requests.c.jti.in_(bindparam("names", expanding=True))
)


@dataclass(frozen=True, slots=True)
class AskedOf:
    """Of whom a request asks something, and until when."""

    audience: str | None
    """A gateway's id, or ``AREA``: which homes are in it, the gateways alone know. None: it asks nobody."""
    release_by: UtcNs

    def is_of(self, gateway: str) -> bool:
        """Tell whether this gateway may answer with an upload."""
        return self.audience in (AREA, gateway)


class Requests:
    """The table of requests."""

    def __init__(self, database: CityDatabase) -> None:
        self._database = database

    def add(self, jti: str, raw: bytes) -> None:
        """Keep a request that is about to be sent.

        Raises:
            CustodyError: One of this id was kept already: it is never overwritten.
        """
        try:
            with self._database.begin() as connection:
                insert_request(connection, jti, raw)
        except IntegrityError:
            raise CustodyError(f"request is there already and is not overwritten: jti={jti}") from None

    def find(self, jti: str) -> bytes | None:
        """Return a signed request; None if none of this id was sent."""
        with self._database.read() as connection:
            return connection.execute(select(requests.c.raw).where(requests.c.jti == jti)).scalar()

    def ids(self) -> Iterator[str]:
        """Yield the ids of all requests, page by page."""
        after = ""
        while True:
            query = select(requests.c.jti).where(requests.c.jti > after).order_by(requests.c.jti).limit(PAGE)
            with self._database.read() as connection:
                page = list(connection.execute(query).scalars())
            if not page:
                return
            yield from page
            after = page[-1]


def insert_request(connection: Connection, jti: str, raw: bytes) -> None:
    """Insert a request and the audit's event."""
    asked = read_asked(raw)
    values = {"jti": jti, "raw": raw, "audience": asked.audience, "release_by_ns": asked.release_by}
    connection.execute(insert(requests), values)
    audit.add(connection, AuditEvent("request", {"jti": jti, "sha256": hashlib.sha256(raw).hexdigest()}))


def find_asked(connection: Connection, names: Iterable[str]) -> dict[str, AskedOf]:
    """Return whom requests of ours ask; one that was not sent is not among them."""
    rows = connection.execute(_ASKED, {"names": list(names)})
    return {row.jti: AskedOf(row.audience, UtcNs(row.release_by_ns or 0)) for row in rows}


def read_asked(raw: bytes) -> AskedOf:
    """Read whom a request of ours asks; of one that cannot be read, nobody."""
    try:
        payload = jws.parse(raw, TYP).payload
        gateway = payload["aud"].get("gateway")
        return AskedOf(AREA if gateway is None else str(gateway)[:22], parse_rfc3339(payload["release_by"]))
    except (DenialError, KeyError, TypeError, AttributeError, ValueError):
        return AskedOf(None, UtcNs(0))

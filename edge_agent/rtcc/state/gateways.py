"""Enrolled gateways: found by id and by the key that signs their answers, however many there are."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from edge_agent.errors import CustodyError
from edge_agent.protocol.public_keys import load_jwk, thumbprint
from edge_agent.rtcc.pinned_keys import parse_keys, read_key
from edge_agent.rtcc.state import audit
from edge_agent.rtcc.state.audit import AuditEvent
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import gateways

PAGE = 500
_PINS = select(gateways.c.gateway, gateways.c.kid, gateways.c.pinned_keys, gateways.c.revoked_at).where(
    gateways.c.gateway.in_(bindparam("names", expanding=True))
)


@dataclass(frozen=True, slots=True)
class GatewayPin:
    """The key that verifies the answers of a gateway, and whether it was revoked."""

    key: Any
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class DamagedPin:
    """A row from which no key can be read: it costs its own gateway, and nobody else."""

    error: CustodyError


class Gateways:
    """The table of gateways. A record holds the facts of an enrolment: ``gateway enrolled_at keys note``."""

    def __init__(self, database: CityDatabase) -> None:
        self._database = database

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep a record.

        Raises:
            CustodyError: Its id or its key is there already: a pin is never overwritten.
        """
        try:
            with self._database.begin() as connection:
                insert_gateway(connection, record)
        except IntegrityError:
            raise CustodyError(f"gateway is enrolled already: gateway={record['gateway']}") from None

    def find(self, gateway: str) -> dict[str, Any] | None:
        """Return the record of a gateway; None if none of this id was enrolled.

        Raises:
            CustodyError: Its row is damaged.
        """
        with self._database.read() as connection:
            row = connection.execute(select(gateways).where(gateways.c.gateway == gateway)).first()
        return None if row is None else _record(row) | {"keys": parse_keys(gateway, row.pinned_keys, row.kid)}

    def find_by_key(self, kid: str) -> str | None:
        """Return the id of the gateway that signs with the key of this thumbprint."""
        with self._database.read() as connection:
            return connection.execute(select(gateways.c.gateway).where(gateways.c.kid == kid)).scalar()

    def revoke(self, gateway: str, at: str) -> None:
        """Note that nothing more is taken from a gateway; the first such note stays."""
        with self._database.begin() as connection:
            changed = connection.execute(
                update(gateways)
                # Once: a second revocation must neither move the moment of the first nor put
                # another event into the audit.
                .where(gateways.c.gateway == gateway, gateways.c.revoked_at.is_(None))
                .values(revoked_at=at)
            )
            if changed.rowcount:
                audit.add(connection, AuditEvent("revocation", {"gateway": gateway}))

    def is_revoked(self, gateway: str) -> bool:
        """Tell whether a gateway was revoked."""
        with self._database.read() as connection:
            query = select(gateways.c.revoked_at).where(gateways.c.gateway == gateway)
            return connection.execute(query).scalar() is not None

    def page(self, after: str = "", limit: int = PAGE) -> list[tuple[dict[str, Any], bool]]:
        """Return up to ``limit`` records after an id, by id, each with whether the gateway was revoked.

        Without their keys: a list does not end at a row whose keys cannot be read.
        """
        query = select(gateways).where(gateways.c.gateway > after).order_by(gateways.c.gateway).limit(limit)
        with self._database.read() as connection:
            return [(_record(row), row.revoked_at is not None) for row in connection.execute(query)]

    def ids(self) -> Iterator[str]:
        """Yield the ids of all gateways, page by page."""
        after = ""
        while page := self.page(after):
            yield from (record["gateway"] for record, _ in page)
            after = page[-1][0]["gateway"]

    def has(self, gateway: str) -> bool:
        """Tell whether a gateway of this id was enrolled, damaged or not."""
        with self._database.read() as connection:
            query = select(gateways.c.gateway).where(gateways.c.gateway == gateway)
            return connection.execute(query).first() is not None


def find_pins(connection: Connection, names: Iterable[str]) -> dict[str, GatewayPin | DamagedPin]:
    """Return by what the answers of gateways are verified; one that was not enrolled is not among them."""
    return {row.gateway: _read_pin(row) for row in connection.execute(_PINS, {"names": list(names)})}


def _read_pin(row: Any) -> GatewayPin | DamagedPin:
    try:
        keys = parse_keys(row.gateway, row.pinned_keys, row.kid)
        return GatewayPin(read_key(row.gateway, keys), row.revoked_at is not None)
    except CustodyError as error:
        return DamagedPin(error)


def insert_gateway(connection: Connection, record: Mapping[str, Any], revoked_at: str | None = None) -> None:
    """Insert a record and the audit's event."""
    values = {
        "gateway": record["gateway"],
        "kid": thumbprint(load_jwk(record["keys"]["gateway"])),
        "enrolled_at": record["enrolled_at"],
        "pinned_keys": json.dumps(record["keys"], sort_keys=True),
        "note": record.get("note", ""),
        "revoked_at": revoked_at,
    }
    connection.execute(insert(gateways), values)
    audit.add(connection, AuditEvent("enrolment", {"gateway": record["gateway"], "kid": values["kid"]}))


def _record(row: Any) -> dict[str, Any]:
    return {"gateway": row.gateway, "enrolled_at": row.enrolled_at, "note": row.note}

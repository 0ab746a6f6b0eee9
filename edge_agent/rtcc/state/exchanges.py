"""The gateways' side of each exchange, to be read: answers, announced uploads, deliveries, conflicts.

Owns the reading, and the keeping of conflicts. How answers are taken in is ``edge_agent.rtcc.state.exchange_batch``'s.
"""

import hashlib
import logging
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, tuple_

from edge_agent.errors import CustodyError
from edge_agent.protocol.answer import Answer, DeliveredFile, Delivery
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import announced, answers, conflicts, deliveries, requests
from edge_agent.units import UtcNs

PAGE = 500

log = logging.getLogger(__name__)
_DELIVERED = select(deliveries).where(deliveries.c.upload.in_(bindparam("uploads", expanding=True)))


@dataclass(frozen=True, slots=True)
class TakenAnswer:
    """An answer as it was taken in, and when."""

    taken_at: UtcNs
    jti: str
    gateway: str
    seq: int
    raw: bytes


def find_deliveries(connection: Connection, uploads: Sequence[str]) -> dict[str, Delivery]:
    """Return what is known of these uploads, by name."""
    rows = connection.execute(_DELIVERED, {"uploads": list(uploads)})
    return {row.upload: _delivery(row) for row in rows}


class ConflictKept(Enum):
    """The outcome for a message that contradicts."""

    NEW = "new"
    KNOWN = "known"
    """The very same message was kept before."""
    TOO_MANY = "too many"
    """It was not kept: its gateway has as many as are kept of one."""


def keep_conflict(connection: Connection, answer: Answer, raw: bytes, now: UtcNs, most: int) -> ConflictKept:
    """Keep a message that contradicts, once."""
    digest = hashlib.sha256(raw).hexdigest()
    known = conflicts.c.gateway == answer.gateway
    if connection.execute(select(conflicts.c.jti).where(known, conflicts.c.sha256 == digest)).first() is not None:
        return ConflictKept.KNOWN
    # A gateway's own key signs these: without a bound one gateway could fill the disk.
    if connection.execute(select(func.count()).where(known)).scalar_one() >= most:
        return ConflictKept.TOO_MANY
    place = {"gateway": answer.gateway, "jti": answer.jti, "sha256": digest}
    connection.execute(insert(conflicts), {**place, "raw": raw, "kept_at_ns": now})
    return ConflictKept.NEW


class Exchanges:
    """The answers that were taken in, to be read by commands and by the receiver."""

    def __init__(self, database: CityDatabase) -> None:
        self._database = database

    def answers(self, jti: str) -> Iterator[tuple[str, bytes]]:
        """Yield gateway and message of each answer to a request, gateway by gateway, page by page."""
        after = ("", -1)
        while True:
            query = (
                select(answers.c.gateway, answers.c.seq, answers.c.raw)
                .where(answers.c.jti == jti, tuple_(answers.c.gateway, answers.c.seq) > after)
                .order_by(answers.c.gateway, answers.c.seq)
                .limit(PAGE)
            )
            with self._database.read() as connection:
                page = connection.execute(query).all()
            if not page:
                return
            yield from ((row.gateway, bytes(row.raw)) for row in page)
            after = (page[-1].gateway, page[-1].seq)

    def taken_since(self, moment: UtcNs, jti: str | None = None) -> Iterator[TakenAnswer]:
        """Yield the answers taken in from a moment on, to all requests or to one, the oldest first, page by page."""
        key = (answers.c.taken_at_ns, answers.c.jti, answers.c.gateway, answers.c.seq)
        after: tuple[int, str, str, int] = (moment, "", "", -1)
        while True:
            query = select(*key, answers.c.raw).where(tuple_(*key) > after).order_by(*key).limit(PAGE)
            if jti is not None:
                query = query.where(answers.c.jti == jti)
            with self._database.read() as connection:
                page = connection.execute(query).all()
            if not page:
                return
            for row in page:
                yield TakenAnswer(UtcNs(row.taken_at_ns), row.jti, row.gateway, row.seq, bytes(row.raw))
            after = tuple(page[-1])[:4]

    def is_announced(self, gateway: str, upload: str, now: UtcNs) -> bool:
        """Tell whether a verified ``queued`` of this gateway names the upload, and its request still runs."""
        query = (
            select(requests.c.audience)
            .join(announced, announced.c.jti == requests.c.jti)
            .where(
                announced.c.gateway == gateway, announced.c.upload == upload,
                requests.c.audience.in_(("*", gateway)), requests.c.release_by_ns > now,
            )
        )  # fmt: skip
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def find_delivery(self, upload: str) -> Delivery | None:
        """Return what opens an upload; None before an answer handed its key over."""
        with self._database.read() as connection:
            return find_deliveries(connection, [upload]).get(upload)

    def deliveries(self, jti: str | None = None) -> Iterator[Delivery]:
        """Yield all deliveries, or those of one request, by the name of the upload, page by page."""
        return _deliveries(self._delivery_rows("", PAGE, jti))

    def delivery_page(self, after: str = "", limit: int = PAGE) -> list[Delivery]:
        """Return up to ``limit`` deliveries after an upload's name."""
        return list(islice(_deliveries(self._delivery_rows(after, min(limit, PAGE), None)), limit))

    def _delivery_rows(self, after: str, at_once: int, jti: str | None) -> Iterator[Any]:
        while True:
            query = select(deliveries).where(deliveries.c.upload > after).order_by(deliveries.c.upload).limit(at_once)
            if jti is not None:
                query = query.where(deliveries.c.jti == jti)
            with self._database.read() as connection:
                page = connection.execute(query).all()
            if not page:
                return
            yield from page
            after = page[-1].upload

    def conflicts(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield gateway, request and message of each contradiction, the oldest first, page by page."""
        key = (conflicts.c.kept_at_ns, conflicts.c.gateway, conflicts.c.sha256)
        after: tuple[int, str, str] = (-1, "", "")
        while True:
            query = select(*key, conflicts.c.jti, conflicts.c.raw).where(tuple_(*key) > after).order_by(*key)
            with self._database.read() as connection:
                page = connection.execute(query.limit(PAGE)).all()
            if not page:
                return
            yield from ((row.gateway, row.jti, bytes(row.raw)) for row in page)
            after = tuple(page[-1])[:3]


def _delivery(row: Any) -> Delivery:
    try:
        # SQLite keeps a value of any type in any column.
        size = operator.index(row.size)
        file = DeliveredFile(row.camera, row.upload, bytes.fromhex(row.sha256), size, bytes(row.age_header))
    except (TypeError, ValueError) as error:
        raise CustodyError(
            f"a delivery's row is damaged: table=deliveries upload={row.upload[:64]} gateway={row.gateway}"
        ) from error
    return Delivery(row.gateway, row.jti, file)


def _deliveries(rows: Iterable[Any]) -> Iterator[Delivery]:
    """Yield what the rows say; a damaged one is said and left out, so that a list does not end at it."""
    for row in rows:
        try:
            yield _delivery(row)
        except CustodyError as error:
            log.error("left out: %s", error)

"""What gateways answered, exchange by exchange: answers, announced uploads, deliveries, conflicts.

An exchange is one request and one gateway. Whoever takes an answer in holds the exchange's row until the transaction
ends, so two workers never judge two answers of it at once. What is judged is ``edge_agent.rtcc.answers``'s.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from edge_agent.protocol.answer import Answer, DeliveredFile, Delivery, Status
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import announced, answers, conflicts, deliveries, exchanges, requests
from edge_agent.units import UtcNs, encode_rfc3339

PAGE = 500
_FIRST = -1
"""``last_seq`` before the first answer."""


def _make_lock(insert_of: Any) -> Any:
    # One statement makes the row or locks it: what is "changed" of a row that is there is its own name.
    made = insert_of(exchanges)
    found = made.on_conflict_do_update(
        index_elements=[exchanges.c.jti, exchanges.c.gateway], set_={"jti": made.excluded.jti}
    )
    return found.returning(exchanges.c.last_seq, exchanges.c.is_final, exchanges.c.kept)


_LOCK_SQLITE, _LOCK_POSTGRESQL = _make_lock(sqlite.insert), _make_lock(postgresql.insert)
_ADVANCE = (
    update(exchanges)
    .where(exchanges.c.jti == bindparam("of_jti"), exchanges.c.gateway == bindparam("of_gateway"))
    .values(last_seq=bindparam("seq"), is_final=bindparam("final"), kept=bindparam("now_kept"))
)
_KEEP, _ANNOUNCE, _DELIVER = insert(answers), insert(announced), insert(deliveries)
_END_PROGRESS = delete(answers).where(
    answers.c.jti == bindparam("of_jti"),
    answers.c.gateway == bindparam("of_gateway"),
    answers.c.status == Status.UPLOADING.value,
)
_END = delete(announced).where(announced.c.gateway == bindparam("of_gateway"), announced.c.jti == bindparam("of_jti"))
_DELIVERED = select(deliveries).where(deliveries.c.upload.in_(bindparam("uploads", expanding=True)))
_NAMED = select(announced.c.upload).where(
    announced.c.gateway == bindparam("gateway"), announced.c.jti == bindparam("jti")
)


@dataclass(frozen=True, slots=True)
class TakenAnswer:
    """An answer as it was taken in, and when."""

    taken_at: UtcNs
    jti: str
    gateway: str
    seq: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """How far an exchange has come; its row is locked."""

    last_seq: int
    """-1 before the first answer."""
    is_final: bool
    kept: int
    """Answers before the final one, progress aside."""

    @property
    def is_new(self) -> bool:
        """Tell whether nothing was answered in it before."""
        return self.last_seq == _FIRST


def lock(connection: Connection, jti: str, gateway: str) -> Exchange:
    """Hold an exchange until the transaction ends; it is made if this is its first answer."""
    statement = _LOCK_SQLITE if connection.dialect.name == "sqlite" else _LOCK_POSTGRESQL
    values = {"jti": jti, "gateway": gateway, "last_seq": _FIRST, "is_final": False, "kept": 0}
    return Exchange(*connection.execute(statement, values).one())


def find_raw(connection: Connection, jti: str, gateway: str, seq: int) -> bytes:
    """Return the answer of a number that is known to be kept."""
    query = select(answers.c.raw).where(answers.c.jti == jti, answers.c.gateway == gateway, answers.c.seq == seq)
    return bytes(connection.execute(query).scalar_one())


def keep(connection: Connection, exchange: Exchange, answer: Answer, raw: bytes, now: UtcNs) -> None:
    """Keep an answer as the newest of its exchange; the progress before it goes."""
    place = {"of_jti": answer.jti, "of_gateway": answer.gateway}
    is_progress = answer.status is Status.UPLOADING
    if not exchange.is_new:
        connection.execute(_END_PROGRESS, place)
    values = {"jti": answer.jti, "gateway": answer.gateway, "seq": answer.seq, "status": answer.status.value}
    connection.execute(_KEEP, {**values, "raw": raw, "taken_at_ns": now})
    connection.execute(
        _ADVANCE,
        {
            **place, "seq": answer.seq, "final": answer.status.is_final,
            "now_kept": exchange.kept + (not is_progress and not answer.status.is_final),
        },
    )  # fmt: skip


def announced_uploads(connection: Connection, answer: Answer) -> set[str]:
    """Return the uploads that this exchange has announced."""
    return set(connection.execute(_NAMED, {"gateway": answer.gateway, "jti": answer.jti}).scalars())


def announce(connection: Connection, answer: Answer, uploads: Sequence[str]) -> None:
    """Take down further uploads of an exchange."""
    rows = [{"gateway": answer.gateway, "upload": upload, "jti": answer.jti} for upload in uploads]
    if rows:
        connection.execute(_ANNOUNCE, rows)


def end_announcements(connection: Connection, answer: Answer) -> None:
    """Forget the announced uploads of an exchange that has ended."""
    connection.execute(_END, {"of_jti": answer.jti, "of_gateway": answer.gateway})


def find_deliveries(connection: Connection, uploads: Sequence[str]) -> dict[str, Delivery]:
    """Return what is known of these uploads, by name."""
    rows = connection.execute(_DELIVERED, {"uploads": list(uploads)})
    return {row.upload: _delivery(row) for row in rows}


def deliver(connection: Connection, answer: Answer, files: Sequence[DeliveredFile]) -> None:
    """Keep the keys that an answer brings."""
    rows = [
        {
            "upload": file.upload, "gateway": answer.gateway, "jti": answer.jti, "camera": file.camera,
            "sha256": file.sha256.hex(), "size": file.size, "age_header": file.age_header,
            "delivered_at": encode_rfc3339(answer.at),
        }
        for file in files
    ]  # fmt: skip
    if rows:
        connection.execute(_DELIVER, rows)


class ConflictKept(Enum):
    """What became of a message that contradicts."""

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
    if connection.execute(select(func.count()).where(known)).scalar_one() >= most:
        return ConflictKept.TOO_MANY
    place = {"gateway": answer.gateway, "jti": answer.jti, "sha256": digest}
    connection.execute(insert(conflicts), {**place, "raw": raw, "kept_at_ns": now})
    return ConflictKept.NEW


class Exchanges:
    """What was taken in, to be read by commands and by the receiver."""

    def __init__(self, database: CityDatabase) -> None:
        self._database = database

    def answers(self, jti: str) -> Iterator[tuple[str, bytes]]:
        """Yield gateway and message of each answer to a request, gateway by gateway, page by page."""
        after = ("", _FIRST)
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
        after: tuple[int, str, str, int] = (moment, "", "", _FIRST)
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
        after = ""
        while page := self.delivery_page(after, jti=jti):
            yield from page
            after = page[-1].file.upload

    def delivery_page(self, after: str = "", limit: int = PAGE, jti: str | None = None) -> list[Delivery]:
        """Return up to ``limit`` deliveries after an upload's name."""
        query = select(deliveries).where(deliveries.c.upload > after).order_by(deliveries.c.upload).limit(limit)
        if jti is not None:
            query = query.where(deliveries.c.jti == jti)
        with self._database.read() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def conflicts(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield gateway, request and message of what contradicts, the oldest first, page by page."""
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
    file = DeliveredFile(row.camera, row.upload, bytes.fromhex(row.sha256), row.size, bytes(row.age_header))
    return Delivery(row.gateway, row.jti, file)

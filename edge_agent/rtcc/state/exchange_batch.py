"""The exchanges of one transaction: locked and read at once, judged in memory, written at once.

An exchange is one request and one gateway. A worker that takes its answers in holds its row until
the transaction ends, so two workers never judge two answers of it at once. A worker judges dozens
of answers in a transaction: a statement for each of their rows cost more than to verify them.
``edge_agent.rtcc.answers`` judges them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Delete,
    Insert,
    Update,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from edge_agent.protocol.answer import Answer, DeliveredFile, Delivery, Status
from edge_agent.rtcc.state import exchanges
from edge_agent.rtcc.state.tables import announced, answers, deliveries
from edge_agent.rtcc.state.tables import exchanges as rows
from edge_agent.units import UtcNs, encode_rfc3339

FIRST = -1
"""``last_seq`` before the first answer."""
ExchangeKey = tuple[str, str]
"""Request (jti) and gateway."""

_PLACES: BindParameter[Any] = bindparam("places", expanding=True)
_LOCK = (
    select(rows)
    .where(tuple_(rows.c.jti, rows.c.gateway).in_(_PLACES))
    .order_by(rows.c.jti, rows.c.gateway)  # in one order, so that no two transactions wait for each other
    .with_for_update()
)
_MAKE, _MAKE_BESIDE_OTHERS = insert(rows), postgresql.insert(rows).on_conflict_do_nothing()
_RAW = select(answers.c.raw).where(
    answers.c.jti == bindparam("of_jti"),
    answers.c.gateway == bindparam("of_gateway"),
    answers.c.seq == bindparam("seq"),
)
_NAMED = select(announced.c.jti, announced.c.gateway, announced.c.upload).where(
    tuple_(announced.c.jti, announced.c.gateway).in_(_PLACES)
)
_END_PROGRESS = delete(answers).where(
    tuple_(answers.c.jti, answers.c.gateway).in_(_PLACES), answers.c.status == Status.UPLOADING.value
)
_END_ANNOUNCED = delete(announced).where(tuple_(announced.c.jti, announced.c.gateway).in_(_PLACES))
_ADVANCE = (
    update(rows)
    .where(rows.c.jti == bindparam("of_jti"), rows.c.gateway == bindparam("of_gateway"))
    .values(last_seq=bindparam("seq"), is_final=bindparam("final"), kept=bindparam("now_kept"))
)
_KEEP, _ANNOUNCE, _DELIVER = insert(answers), insert(announced), insert(deliveries)


@dataclass(slots=True)
class Exchange:
    """How far an exchange has come; its row is locked."""

    last_seq: int
    """-1 before the first answer."""
    is_final: bool
    kept: int
    """Answers before the final one, progress aside."""
    was_new: bool
    """Nothing was answered in it before this transaction."""
    taken: dict[int, "TakenNow"] = field(default_factory=dict)
    """The answers that this transaction keeps, by number."""


@dataclass(frozen=True, slots=True)
class TakenNow:
    """An answer of this transaction that is kept."""

    answer: Answer
    raw: bytes
    at: UtcNs

    @property
    def is_progress(self) -> bool:
        """Tell whether the next answer takes its place."""
        return self.answer.status is Status.UPLOADING


class ExchangeBatch:
    """The exchanges of the answers that a transaction judges. Nothing is written before ``write``.

    Args:
        connection: Of the transaction.
        judged: The answers; each was verified.
    """

    def __init__(self, connection: Connection, judged: Sequence[Answer]) -> None:
        self.connection = connection
        self._exchanges = _lock(connection, {_place(each) for each in judged})
        self._uploads = sorted({file.upload for each in judged for file in each.files})
        self._announced: list[dict[str, str]] = []
        self._ended: list[ExchangeKey] = []
        self._delivered: list[dict[str, object]] = []

    def find(self, answer: Answer) -> Exchange:
        """Return the exchange of an answer."""
        return self._exchanges[_place(answer)]

    def find_last_raw(self, answer: Answer) -> bytes:
        """Return the newest answer of an exchange that has one."""
        exchange = self.find(answer)
        if taken := exchange.taken.get(exchange.last_seq):
            return taken.raw
        place = {"of_jti": answer.jti, "of_gateway": answer.gateway, "seq": exchange.last_seq}
        raw: bytes = self.connection.execute(_RAW, place).scalar_one()
        return bytes(raw)

    @cached_property
    def _known_files(self) -> dict[str, DeliveredFile]:
        found: Mapping[str, Delivery] = exchanges.find_deliveries(self.connection, self._uploads)
        return {upload: each.file for upload, each in found.items()}

    @cached_property
    def _known_uploads(self) -> dict[ExchangeKey, set[str]]:
        found: dict[ExchangeKey, set[str]] = {place: set() for place in self._exchanges}
        for row in self.connection.execute(_NAMED, {"places": list(self._exchanges)}):
            found[row.jti, row.gateway].add(row.upload)
        return found

    def find_file(self, upload: str) -> DeliveredFile | None:
        """Return what is known of an upload whose key was handed over."""
        return self._known_files.get(upload)

    def announced_uploads(self, answer: Answer) -> set[str]:
        """Return the uploads that this exchange has announced."""
        return self._known_uploads[_place(answer)]

    def announce(self, answer: Answer, uploads: Sequence[str]) -> None:
        """Record further uploads of an exchange."""
        self._known_uploads[_place(answer)].update(uploads)
        self._announced += [{"gateway": answer.gateway, "upload": each, "jti": answer.jti} for each in uploads]

    def end_announcements(self, answer: Answer) -> None:
        """Forget the announced uploads of an exchange that has ended."""
        place = _place(answer)
        self._announced = [each for each in self._announced if (each["jti"], each["gateway"]) != place]
        self._ended.append(place)

    def deliver(self, answer: Answer, files: Sequence[DeliveredFile]) -> None:
        """Keep the keys that an answer brings."""
        self._delivered += [
            {
                "upload": file.upload, "gateway": answer.gateway, "jti": answer.jti, "camera": file.camera,
                "sha256": file.sha256.hex(), "size": file.size, "age_header": file.age_header,
                "delivered_at": encode_rfc3339(answer.at),
            }
            for file in files
        ]  # fmt: skip

    def keep(self, answer: Answer, raw: bytes, now: UtcNs) -> None:
        """Keep an answer as the newest of its exchange; the progress before it goes."""
        exchange, taken = self.find(answer), TakenNow(answer, raw, now)
        exchange.taken = {seq: each for seq, each in exchange.taken.items() if not each.is_progress}
        exchange.taken[answer.seq] = taken
        exchange.last_seq, exchange.is_final = answer.seq, answer.status.is_final
        exchange.kept += not taken.is_progress and not answer.status.is_final

    def write(self) -> None:
        """Write everything, one statement for each kind of row."""
        changed = {place: each for place, each in self._exchanges.items() if each.taken}
        self._delete(_END_PROGRESS, [place for place, each in changed.items() if not each.was_new])
        self._delete(_END_ANNOUNCED, self._ended)
        self._put(_KEEP, [_row(each) for exchange in changed.values() for each in exchange.taken.values()])
        self._put(_ANNOUNCE, self._announced)
        self._put(_DELIVER, self._delivered)
        self._put(_ADVANCE, [_advance(place, each) for place, each in changed.items()])

    def _delete(self, statement: Delete, places: Sequence[ExchangeKey]) -> None:
        if places:
            self.connection.execute(statement, {"places": list(places)})

    def _put(self, statement: Insert | Update, found: Sequence[Mapping[str, object]]) -> None:
        if found:
            self.connection.execute(statement, found)


def _place(answer: Answer) -> ExchangeKey:
    return answer.jti, answer.gateway


def _row(taken: TakenNow) -> dict[str, object]:
    answer = taken.answer
    return {
        "jti": answer.jti, "gateway": answer.gateway, "seq": answer.seq, "status": answer.status.value,
        "raw": taken.raw, "taken_at_ns": taken.at,
    }  # fmt: skip


def _advance(place: ExchangeKey, exchange: Exchange) -> dict[str, object]:
    return {
        "of_jti": place[0], "of_gateway": place[1],
        "seq": exchange.last_seq, "final": exchange.is_final, "now_kept": exchange.kept,
    }  # fmt: skip


def _lock(connection: Connection, places: Iterable[ExchangeKey]) -> dict[ExchangeKey, Exchange]:
    """Hold exchanges until the transaction ends; those are made that this brings the first answer of."""
    wanted = sorted(places)
    found = _read(connection, wanted)
    missing = [place for place in wanted if place not in found]
    if not missing:
        return found
    new = [
        {"jti": jti, "gateway": gateway, "last_seq": FIRST, "is_final": False, "kept": 0} for jti, gateway in missing
    ]
    if connection.dialect.name == "sqlite":  # A transaction that writes is alone.
        connection.execute(_MAKE, new)
        return found | {place: Exchange(FIRST, is_final=False, kept=0, was_new=True) for place in missing}
    connection.execute(_MAKE_BESIDE_OTHERS, new)
    # Another transaction may have made one meanwhile, and gone further.
    return found | _read(connection, missing)


def _read(connection: Connection, places: Sequence[ExchangeKey]) -> dict[ExchangeKey, Exchange]:
    if not places:
        return {}
    read = connection.execute(_LOCK, {"places": list(places)})
    return {
        (row.jti, row.gateway): Exchange(row.last_seq, row.is_final, row.kept, was_new=row.last_seq == FIRST)
        for row in read
    }

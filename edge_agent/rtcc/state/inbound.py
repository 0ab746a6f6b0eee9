"""Messages between a reader and the workers: inserted as they came, judged in the order of their exchange, once each.

Owns the table ``inbound``. The oldest message of an exchange (gateway and request) is its head. A worker takes heads
that no other worker has, and with each the messages behind it: while the head is there, no other worker can take them.

Gateways take turns. A message's turn is one more than that of its gateway's last waiting message, and 0 if none waits;
a batch is the messages of the lowest turns, and of one turn the oldest. So a gateway waits for its own backlog, and for
one message of each other gateway, over however many exchanges it spreads its messages. The broker vouches for the
gateway, which the topic names, and for nothing else.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.tables import inbound

MAX_FAILURES = 8
"""After so many, a message waits for a person."""
MAX_WAITING = 1024
"""Messages kept of one gateway: a flood fills its own share, and not the disk."""
MAX_STUCK = 256
"""Messages kept of an exchange whose head waits for a person, the newest: the final one brings the keys."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as it came; nothing in it is verified."""

    topic: str
    payload: bytes
    gateway: str
    """Of the topic."""
    jti: str
    """As the payload claims; empty if it claims none."""


@dataclass(frozen=True, slots=True)
class TakenMessage:
    """A message that a worker has, until its transaction ends."""

    number: int
    gateway: str
    jti: str
    topic: str
    payload: bytes


# In an exchange turns rise with numbers, so that a batch never holds a message without those before it: a gateway
# speaks through one reader at a time.
_MOST_TURNS = 1 << 62
_TURNS = (inbound.c.turn, inbound.c.number)
_EARLIER = inbound.alias("earlier")
_HEADS = (
    select(inbound.c.gateway, inbound.c.jti)
    .where(
        inbound.c.failures < MAX_FAILURES,
        ~select(_EARLIER.c.number)
        .where(
            _EARLIER.c.gateway == inbound.c.gateway,
            _EARLIER.c.jti == inbound.c.jti,
            _EARLIER.c.number < inbound.c.number,
        )
        .exists(),
    )
    .order_by(*_TURNS)
    .limit(bindparam("most"))
    # A head that another worker has is left out, not waited for; SQLite has one writer anyway.
    .with_for_update(of=inbound, skip_locked=True)
)
_FOLLOWING = (
    select(inbound.c.number, inbound.c.gateway, inbound.c.jti, inbound.c.topic, inbound.c.payload)
    .where(tuple_(inbound.c.gateway, inbound.c.jti).in_(bindparam("exchanges", expanding=True)))
    .order_by(*_TURNS)
    .limit(bindparam("most"))
)
_WAITING = (
    select(inbound.c.gateway, func.count().label("waiting"), func.max(inbound.c.turn).label("turn"))
    .where(inbound.c.gateway.in_(bindparam("gateways", expanding=True)))
    .group_by(inbound.c.gateway)
)
_STUCK = (
    select(inbound.c.gateway, inbound.c.jti)
    .where(tuple_(inbound.c.gateway, inbound.c.jti).in_(bindparam("exchanges", expanding=True)))
    .group_by(inbound.c.gateway, inbound.c.jti)
    .having(func.max(inbound.c.failures) >= MAX_FAILURES, func.count() > bindparam("most"))
)
_BEHIND = (inbound.c.gateway == bindparam("of_gateway"), inbound.c.jti == bindparam("of_jti"))
_NEWEST = select(inbound.c.number).where(*_BEHIND).order_by(inbound.c.number.desc()).limit(bindparam("most"))
_TRIM = delete(inbound).where(
    *_BEHIND, inbound.c.failures < MAX_FAILURES, inbound.c.number.not_in(_NEWEST.scalar_subquery())
)
_SET_ASIDE = (
    update(inbound).where(inbound.c.number.in_(bindparam("numbers", expanding=True))).values(failures=MAX_FAILURES)
)
_REMOVE = delete(inbound).where(inbound.c.number.in_(bindparam("numbers", expanding=True)))


class InboundMessages:
    """The table of messages that no worker has judged yet."""

    def __init__(self, database: CityDatabase) -> None:
        self._database = database

    def put(self, messages: Sequence[NewMessage]) -> None:
        """Insert messages in their order, durable on return; one that waits already is not inserted again.

        If ``MAX_WAITING`` messages of a gateway wait, its further ones are dropped, and those of no other gateway.
        """
        dialect = postgresql if self._database.is_shared else sqlite
        with self._database.begin() as connection:
            if rows := _share_out(connection, messages):
                connection.execute(dialect.insert(inbound).on_conflict_do_nothing(), rows)
            _bound_stuck(connection, {(each.gateway, each.jti) for each in messages})

    def count(self) -> tuple[int, int]:
        """Return how many messages wait, and how many of them for a person."""
        with self._database.read() as connection:
            stuck = func.coalesce(func.sum((inbound.c.failures >= MAX_FAILURES).cast(inbound.c.failures.type)), 0)
            every, waiting = connection.execute(select(func.count(), stuck).select_from(inbound)).one()
        return int(every), int(waiting)

    def retry(self) -> int:
        """Give every message that waits for a person all its attempts again; return how many did."""
        with self._database.begin() as connection:
            stuck = update(inbound).where(inbound.c.failures >= MAX_FAILURES).values(failures=0)
            return int(connection.execute(stuck).rowcount)

    def note_failure(self, number: int) -> int:
        """Count a failure of a message; return how many there were."""
        mine = inbound.c.number == number
        with self._database.begin() as connection:
            connection.execute(update(inbound).where(mine).values(failures=inbound.c.failures + 1))
            return int(connection.execute(select(inbound.c.failures).where(mine)).scalar() or 0)


def _share_out(connection: Connection, messages: Sequence[NewMessage]) -> list[dict[str, object]]:
    """Give each message its turn; leave out those of a gateway that has no room left."""
    gateways = {each.gateway for each in messages}
    found = connection.execute(_WAITING, {"gateways": list(gateways)})
    waiting, turns = Counter[str](), dict.fromkeys(gateways, -1)
    for row in found:
        waiting[row.gateway], turns[row.gateway] = row.waiting, _read_turn(row.turn)
    coming = Counter(each.gateway for each in messages)
    if any(waiting[gateway] + count > MAX_WAITING for gateway, count in coming.items()):
        # Redelivered messages need no room: counted again, they would push out new ones.
        messages = _list_new(connection, messages)
    rows: list[dict[str, object]] = []
    dropped = Counter[str]()
    for each in messages:
        if waiting[each.gateway] >= MAX_WAITING:
            dropped[each.gateway] += 1
            continue
        # A repetition, which the insert will ignore, counts as well: turns need not be without gaps.
        waiting[each.gateway] += 1
        turns[each.gateway] += 1
        rows.append(_row(each, turns[each.gateway]))
    for gateway, count in dropped.items():
        log.error("messages of a gateway that floods: gateway=%s waiting=%d dropped=%d", gateway, MAX_WAITING, count)
    return rows


def _list_new(connection: Connection, messages: Sequence[NewMessage]) -> list[NewMessage]:
    """Return the messages that do not wait already, each once, in their order."""
    new = {_digest(each): each for each in messages}
    query = select(inbound.c.sha256).where(inbound.c.sha256.in_(list(new)))
    known = set(connection.execute(query).scalars())
    return [each for digest, each in new.items() if digest not in known]


def _digest(message: NewMessage) -> str:
    return hashlib.sha256(message.topic.encode() + b"\0" + message.payload).hexdigest()


def _row(message: NewMessage, turn: int) -> dict[str, object]:
    return {
        "gateway": message.gateway, "jti": message.jti, "topic": message.topic, "payload": message.payload,
        "sha256": _digest(message), "failures": 0, "turn": turn,
    }  # fmt: skip


def _bound_stuck(connection: Connection, exchanges: set[tuple[str, str]]) -> None:
    """Delete the oldest messages that wait behind a head that waits for a person."""
    for gateway, jti in connection.execute(_STUCK, {"exchanges": list(exchanges), "most": MAX_STUCK}).all():
        gone = connection.execute(_TRIM, {"of_gateway": gateway, "of_jti": jti, "most": MAX_STUCK}).rowcount
        log.error("messages behind one that waits for a person: gateway=%s jti=%s dropped=%d", gateway, jti, gone)


def take(connection: Connection, most: int) -> list[TakenMessage]:
    """Take up to ``most`` messages inside the caller's transaction; empty if none waits, or others have them all."""
    heads = connection.execute(_HEADS, {"most": most}).all()
    if not heads:
        return []
    rows = connection.execute(_FOLLOWING, {"exchanges": [tuple(head) for head in heads], "most": most})
    return [TakenMessage(row.number, row.gateway, row.jti, row.topic, _read_payload(row.payload)) for row in rows]


# SQLite keeps a value of any type in any column: a damaged row must not end what is done for all gateways.


def _read_payload(value: object) -> bytes:
    """Return a payload; of a damaged row other bytes, which no signature fits."""
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode(errors="replace")


def _read_turn(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < _MOST_TURNS else 0


def set_aside(connection: Connection, messages: Sequence[TakenMessage]) -> None:
    """Let messages wait for a person, in the transaction that took them."""
    if messages:
        connection.execute(_SET_ASIDE, {"numbers": [each.number for each in messages]})


def remove(connection: Connection, messages: Sequence[TakenMessage]) -> None:
    """Remove judged messages, in the transaction that judged them."""
    connection.execute(_REMOVE, {"numbers": [each.number for each in messages]})

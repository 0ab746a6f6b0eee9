"""The answers of gateways: each is verified, put in order, and kept before it is acknowledged.

Owns the judgement of one message against the RTCC's state. A gateway is believed for its own answers to our own
requests and for nothing else: its key was pinned when it was enrolled, numbers must rise, and the rows that it can make
us keep are bounded.
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError, ConflictError, CustodyError, DenialError, EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.answer import MAX_ANSWER_BYTES, TYP, Answer, DeliveredFile, Status, upload_name, verify_answer
from edge_agent.rtcc.announced import announce
from edge_agent.rtcc.office.enrol import gateway_key
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.state import audit, exchanges
from edge_agent.rtcc.state.audit import AuditEvent
from edge_agent.rtcc.state.database import savepoint
from edge_agent.rtcc.state.exchange_batch import Exchange, ExchangeBatch
from edge_agent.rtcc.state.exchanges import ConflictKept
from edge_agent.rtcc.state.gateways import DamagedPin, GatewayPin, find_pins
from edge_agent.rtcc.state.inbound import NewMessage, TakenMessage
from edge_agent.rtcc.state.sent_requests import AskedOf, find_asked
from edge_agent.units import UtcNs

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_ANSWERS = 256
"""Kept per request and gateway, progress aside, of which only the last one is."""
MAX_CONFLICTS = 64
"""Kept per gateway."""
TOPIC_FILTER = "rtcc/1/gw/+/res"
_MOST_KEYS = 1024
_JTI = re.compile(r"[A-Za-z0-9_-]{22}")
_TOPIC = re.compile(r"rtcc/1/gw/([A-Za-z0-9_-]{22})/res")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome of one message."""

    answer: Answer | None = None
    """The answer that was kept; None if it, or a later one, was taken before, or if there is a fault."""
    fault: EvidenceError | None = None
    """Why it was refused; of a ``ConflictError`` the message was kept for a person: the key in it comes once."""
    event: AuditEvent | None = None
    """For the audit."""
    waits: CustodyError | None = None
    """Why it cannot be judged now: a row of ours is damaged. Nothing was kept, and the message must be."""


@dataclass(frozen=True, slots=True)
class Known:
    """The rows that a transaction has read, for all of its messages at once."""

    pins: Mapping[str, GatewayPin | DamagedPin]
    asked: Mapping[str, AskedOf]


def gateway_of(topic: str) -> str | None:
    """Return the gateway whose answers come on a topic; None for any other topic."""
    match = _TOPIC.fullmatch(topic)
    return None if match is None else match[1]


def jti_of(payload: bytes) -> str:
    """Return the request that a message says it answers, of which nothing is verified; empty if it says none."""
    try:
        jti = jws.parse(payload, TYP, MAX_ANSWER_BYTES).payload["jti"]
    except (DenialError, LookupError, TypeError):
        return ""
    return jti if isinstance(jti, str) and _JTI.fullmatch(jti) else ""


class Inbox:
    """The answers in a home's state. Any thread, and any number of processes at once."""

    def __init__(self, home: RtccHome) -> None:
        self._home = home
        self._keys = lru_cache(_MOST_KEYS)(partial(gateway_key, home))

    def judge(self, connection: "Connection", messages: Sequence[NewMessage | TakenMessage]) -> list[Judged]:
        """Verify messages in their order, and keep them inside the caller's transaction; durable once that is."""
        # Two queries for the whole batch, not two for each message.
        known = Known(
            find_pins(connection, {each.gateway for each in messages}),
            find_asked(connection, {each.jti for each in messages}),
        )
        verified = [self._try(known, each) for each in messages]
        batch = ExchangeBatch(connection, [each for each in verified if isinstance(each, Answer)])
        judged = [
            self._judge(batch, known, each, message.payload) if isinstance(each, Answer) else _refuse(each)
            for message, each in zip(messages, verified, strict=True)
        ]
        batch.write()
        audit.add(connection, *(each.event for each in judged if each.event is not None))
        return judged

    def judge_one(self, connection: "Connection", message: NewMessage | TakenMessage) -> Judged:
        """As ``judge``, but a message that a constraint of the state refuses is a conflict, kept for a person.

        It would be refused as often as it came again, and would hold up whatever comes behind it.
        """
        try:
            with savepoint(connection):
                return self.judge(connection, [message])[0]
        except ConflictError as error:
            return self._set_aside(connection, message, error)

    def _set_aside(self, connection: "Connection", message: NewMessage | TakenMessage, error: ConflictError) -> Judged:
        known = Known(find_pins(connection, {message.gateway}), find_asked(connection, {message.jti}))
        try:
            answer = self._verify(known, message.topic, message.payload)
        except (EvidenceError, CustodyError) as fault:
            return _refuse(fault)
        where = f"gateway={answer.gateway} jti={answer.jti} seq={answer.seq}"
        conflict = ConflictError(f"answer does not fit the state: {where}: {error}")
        judged = self._keep_conflict(connection, answer, message.payload, conflict)
        audit.add(connection, *([] if judged.event is None else [judged.event]))
        return judged

    def _try(self, known: Known, message: NewMessage | TakenMessage) -> Answer | EvidenceError | CustodyError:
        try:
            return self._verify(known, message.topic, message.payload)
        except (EvidenceError, CustodyError) as error:
            return error

    def _judge(self, batch: ExchangeBatch, known: Known, answer: Answer, raw: bytes) -> Judged:
        try:
            if not _keep(batch, known.asked[answer.jti], answer, raw):
                return Judged()
        except ConflictError as error:
            return self._keep_conflict(batch.connection, answer, raw, error)
        except EvidenceError as error:
            return Judged(fault=error)
        # Progress is no event: a gateway could fill the audit with it.
        if answer.status is Status.UPLOADING:
            return Judged(answer)
        place = {"gateway": answer.gateway, "jti": answer.jti, "seq": answer.seq, "status": answer.status.value}
        return Judged(answer, event=AuditEvent("answer", {**place, "sha256": hashlib.sha256(raw).hexdigest()}))

    def answers(self, jti: str) -> Iterator[Answer]:
        """Yield the answers kept for one request, gateway by gateway, the last progress among them.

        One that does not verify any more is left out and logged: a damaged row hides no other.
        """
        for gateway, raw in self._home.state.exchanges.answers(jti):
            if (answer := self.read_again(gateway, raw)) is not None:
                yield answer

    def read_again(self, gateway: str, raw: bytes) -> Answer | None:
        """Verify an answer that was kept; None, with a line in the log, if its row or its gateway's is damaged."""
        try:
            return verify_answer(raw, gateway, self._keys(gateway))
        except (EvidenceError, CustodyError, ConfigError) as error:
            log.error("a kept answer is left out: table=answers gateway=%s jti=%s: %s", gateway, jti_of(raw), error)
            return None

    def _verify(self, known: Known, topic: str, payload: bytes) -> Answer:
        gateway = gateway_of(topic)
        if gateway is None:
            raise EvidenceError(f"not a gateway's topic: {topic[:80]!r}")
        pin = known.pins.get(gateway)
        if pin is None:
            raise EvidenceError(f"answer of a gateway that is not enrolled: gateway={gateway}")
        if isinstance(pin, DamagedPin):
            raise pin.error
        # Before the signature: a stolen key signs as well as its gateway does.
        if pin.is_revoked:
            raise EvidenceError(f"answer of a gateway that was revoked: gateway={gateway}")
        answer = verify_answer(payload, gateway, pin.key)
        if answer.requester != self._home.settings.iss:
            raise EvidenceError(f"answer to another's request: gateway={gateway} jti={answer.jti}")
        if answer.jti not in known.asked:
            raise EvidenceError(f"answer to a request that is not ours: gateway={gateway} jti={answer.jti}")
        return answer

    def _keep_conflict(self, connection: "Connection", answer: Answer, raw: bytes, error: ConflictError) -> Judged:
        """Keep a message that contradicts; bounded, for its own gateway alone can send one.

        It is an event of the audit once: the audit's rows stay, and a gateway may repeat itself
        without end.
        """
        kept = exchanges.keep_conflict(connection, answer, raw, _now(), MAX_CONFLICTS)
        if kept is ConflictKept.TOO_MANY:
            return Judged(
                fault=EvidenceError(f"too many conflicts: gateway={answer.gateway}", "rtcc watch --conflicts")
            )
        if kept is ConflictKept.KNOWN:
            return Judged(fault=error)
        event = {"gateway": answer.gateway, "jti": answer.jti, "sha256": hashlib.sha256(raw).hexdigest()}
        return Judged(fault=error, event=AuditEvent("conflict", event))


def _refuse(error: EvidenceError | CustodyError) -> Judged:
    return Judged(fault=error) if isinstance(error, EvidenceError) else Judged(waits=error)


def _keep(batch: ExchangeBatch, asked: AskedOf, answer: Answer, raw: bytes) -> bool:
    """Keep an answer; False if it is not news. Nothing was kept if it raises."""
    exchange = batch.find(answer)
    if not _is_news(batch, exchange, answer, raw):
        return False
    # The final one, which may bring keys, is one more at most.
    if not answer.status.is_final and exchange.kept >= MAX_ANSWERS:
        raise EvidenceError(f"too many answers: gateway={answer.gateway} jti={answer.jti}")
    batch.deliver(answer, _new_files(batch, answer))
    announce(batch, answer, asked)
    batch.keep(answer, raw, _now())
    return True


def _is_news(batch: ExchangeBatch, exchange: Exchange, answer: Answer, raw: bytes) -> bool:
    """Tell whether an answer is later than all that were kept; ConflictError if it contradicts one of them."""
    # PROTOCOL 8: `seq` rises within an exchange. A repeated message is no fault: the broker
    # delivers at least once.
    if answer.seq == exchange.last_seq:
        known = batch.find_last_raw(answer)
        # The same payload may be signed anew: both signatures were verified.
        if known != raw and _payload(known) != _payload(raw):
            raise ConflictError(f"two answers of one number: gateway={answer.gateway} seq={answer.seq}")
    if answer.seq <= exchange.last_seq:
        return False
    if exchange.is_final:
        raise ConflictError(f"answer after the final one: gateway={answer.gateway} jti={answer.jti}")
    return True


def _new_files(batch: ExchangeBatch, answer: Answer) -> list[DeliveredFile]:
    """Return the files whose keys are not known yet; ConflictError if an upload is not this camera's own."""
    for file in answer.files:
        where = f"upload={file.upload} gateway={answer.gateway} jti={answer.jti}"
        if file.upload != upload_name(answer.gateway, answer.jti, file.camera):
            raise ConflictError(f"upload is another's: {where}")
        if batch.find_file(file.upload) not in (None, file):
            raise ConflictError(f"upload was delivered before, as another: {where}")
    return [file for file in answer.files if batch.find_file(file.upload) is None]


def _payload(raw: bytes) -> bytes:
    return jws.parse(raw, TYP, MAX_ANSWER_BYTES).payload_bytes


def _now() -> UtcNs:
    return UtcNs(time.time_ns())

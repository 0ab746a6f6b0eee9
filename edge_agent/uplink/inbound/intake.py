"""Takes in the broker's messages: trust bundles, and requests through the eleven checks (PROTOCOL 4).

One message is one transaction: question, decision and answer become durable together, and only then is the message
acknowledged.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from edge_agent.consent.admission import Replayed, incident_digest
from edge_agent.consent.bound import NOTHING
from edge_agent.errors import DenialError
from edge_agent.ledger.refusal_counts import RefusalCounter
from edge_agent.protocol.reasons import CAUSES, TRANSIENT
from edge_agent.protocol.request import Admitted, Request
from edge_agent.protocol.verdict import Denial, Reason, Verdict
from edge_agent.units import UtcNs
from edge_agent.uplink.inbound.ack_pace import AckPace
from edge_agent.uplink.inbound.evaluator import Assessment, Evaluator, Outlook
from edge_agent.uplink.inbound.refusal_limits import RefusalLimits
from edge_agent.uplink.inbound.register import RequestRegister
from edge_agent.uplink.inbound.retention import exp_of, is_forgotten
from edge_agent.uplink.inbound.trust_store import TrustStore
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.requests import StoredRequest

log = logging.getLogger(__name__)

TRUST_TOPIC = "rtcc/1/trust"
LAST_UNREAD_CHECK = 7
"""A message that fails a check up to this one is not about this house, or not signed: it is counted, not recorded."""
MAX_REUSED = 256
"""Requests with an id of another one that are entered once; more of them push the oldest out."""
MAX_WAITING = 32
"""Messages that wait for a clock or a trust bundle; more are refused and counted."""


class Message(Protocol):
    """A message from the broker."""

    @property
    def topic(self) -> str:
        """Its topic."""

    @property
    def payload(self) -> bytes:
        """Its bytes."""

    @property
    def retained(self) -> bool:
        """Whether the broker had kept it."""

    @property
    def correlation(self) -> bytes | None:
        """Correlation Data: echoed, never believed."""

    def ack(self) -> None:
        """Tell the broker that it is dealt with."""


class _Fate(Enum):
    """The outcome of a message."""

    WAITS = "waits"
    UNREAD = "unread"
    """Nothing about this house was looked up for it."""
    EVALUATED = "evaluated"


class Intake:
    """The way in.

    Args:
        store: One transaction a message.
        evaluator: The gate.
        register: Writes down what becomes of requests.
        trust: Takes trust bundles.
        refusal_counter: Counts what is not written down.
        pace: Says when what was judged is acknowledged.
        on_verdict: Told of every decided request, after its transaction.
    """

    def __init__(
        self,
        store: Database,
        evaluator: Evaluator,
        register: RequestRegister,
        trust: TrustStore,
        refusal_counter: RefusalCounter,
        pace: AckPace,
        on_verdict: Callable[[StoredRequest, Verdict], None],
    ) -> None:
        self._store = store
        self._evaluator = evaluator
        self._register = register
        self._trust = trust
        self._refusal_counter = refusal_counter
        self._pace = pace
        self.limits = RefusalLimits(store)
        """Which refusals are entered one by one."""
        self._on_verdict = on_verdict
        self._lock = threading.RLock()
        self._waiting: dict[bytes, Message] = {}
        self._reused: deque[bytes] = deque(maxlen=MAX_REUSED)

    def handle(self, message: Message) -> None:
        """Deal with one message and acknowledge it.

        Raises:
            sqlite3.Error, OSError: It could not be written down; nothing happened, and it must come again.
        """
        with self._lock:
            if not self._finish(message):
                self._wait(message)

    def retry_waiting(self) -> None:
        """Judge again what waits for a believable clock or for a trust bundle."""
        with self._lock:
            for payload, message in list(self._waiting.items()):
                if self._finish(message):
                    del self._waiting[payload]

    def _finish(self, message: Message) -> bool:
        """Deal with a message and acknowledge it at its moment; False if it has to wait.

        A message for which nothing of this house was read is acknowledged at once: noise delays no request.
        """
        arrival = self._pace.arrive()
        fate = self._take(message)
        if fate is _Fate.WAITS:
            return False
        if fate is _Fate.UNREAD or self._pace.hold(arrival):
            message.ack()
        return True

    def _wait(self, message: Message) -> None:
        earlier = self._waiting.pop(message.payload, None)
        if earlier is not None:
            earlier.ack()  # of an earlier connection, or of another topic: the newer one stands for both
        elif len(self._waiting) >= MAX_WAITING:
            self._refusal_counter.count("waiting-too-many")
            message.ack()
            return
        self._waiting[message.payload] = message

    def _take(self, message: Message) -> _Fate:
        """Deal with a message.

        An unforeseen error refuses its message: the message would meet the error again each time, and hold up every
        message behind it.
        """
        try:
            if message.topic == TRUST_TOPIC:
                self._take_trust(message.payload)
            # PROTOCOL 2, M3: a request that was retained is refused; the broker would bring it at
            # every connection.
            elif message.retained:
                self._refusal_counter.count("retained")
            else:
                return self._take_request(message)
        # Faults of this machine, not of the message: unacknowledged, it comes again.
        except (sqlite3.Error, OSError, MemoryError):
            raise
        except Exception:
            log.exception("message refused by an error of this program: bytes=%d", len(message.payload))
            self._refusal_counter.count("internal")
            return _Fate.EVALUATED
        return _Fate.UNREAD

    def _take_trust(self, payload: bytes) -> None:
        try:
            self._trust.take(payload)
        except DenialError as error:
            log.warning("trust bundle refused reason=%s", error.reason)
            self._refusal_counter.count(error.reason)
        else:
            self.retry_waiting()

    def _take_request(self, message: Message) -> _Fate:
        """Judge a request.

        One transaction reads clock, trust, consent, pauses and quotas once, and records the verdict that follows from
        them (PROTOCOL 6.2, O9).
        """
        decided: tuple[StoredRequest | None, Verdict] | None = None
        counted: str | None = None
        with self._store.transaction() as connection:
            moment = self._evaluator.moment()
            request: Request | None = None
            try:
                request = self._evaluator.verify(message.payload, moment)
                # After the signatures: only a verified key has an account that refusals can fill.
                over = self.limits.find_key_over(request, moment.now)
                outlook = self._evaluator.look(moment)
                admitted = self._evaluator.admit(request, outlook)
                decided = self._decide(connection, admitted, message.correlation, outlook, over)
            except Replayed as replayed:
                self._repeat(connection, request, replayed, message.correlation, moment.now)
            except DenialError as error:
                # Nothing is written and nothing acknowledged: the message waits for a clock or a
                # trust bundle.
                if error.reason in TRANSIENT:
                    return _Fate.WAITS
                if request is None or self._is_counted(request, error, moment.now):
                    counted = error.reason
                else:
                    decided = self._refuse(connection, request, error, message.correlation, outlook, over)
        if counted is not None:
            log.info("request refused and counted reason=%s", counted)
            self._refusal_counter.count(counted)
        if decided is not None:
            self._tell(*decided)
        return _Fate.UNREAD if request is None else _Fate.EVALUATED

    def _repeat(
        self,
        connection: sqlite3.Connection,
        request: Request | None,
        replayed: Replayed,
        correlation: bytes | None,
        now: UtcNs,
    ) -> None:
        stored = None if request is None else self._store.requests.find(request.jti, request.iss)
        if replayed.answer is not None and stored is not None:
            self._register.repeat(connection, stored, replayed.answer, correlation, now)
        elif request is not None and stored is None:
            refused = self._store.refusals.find(request.iss, request.jti)
            if refused is not None and 0 < refused.declined_at <= now:
                self._register.decline_unkept(connection, request, correlation, refused.declined_at, now)

    def _is_counted(self, request: Request, error: DenialError, now: UtcNs) -> bool:
        """Tell whether a refusal is counted and not entered: an endless repetition must not fill the ledger.

        Counted are: a request for another gateway, one so old that it was entered and forgotten, and one with the id
        of another request that was entered already.
        """
        is_known = error.reason == "jti-reused" and request.payload_sha256 in self._reused
        return CAUSES[error.reason].check <= LAST_UNREAD_CHECK or is_forgotten(request.exp, now) or is_known

    def _refuse(
        self,
        connection: sqlite3.Connection,
        request: Request,
        error: DenialError,
        correlation: bytes | None,
        outlook: Outlook,
        over: str | None,
    ) -> tuple[StoredRequest | None, Verdict] | None:
        """Write down a request that verified and was not admitted; None if it is only counted."""
        verdict = Denial(request, (Reason(error.reason, str(error)),), outlook.now)
        if over is not None:
            self._only_count(connection, request, verdict, correlation, outlook, over)
            return None
        self.limits.note_entered(connection, request, outlook.now, exp_of)
        if error.reason == "jti-reused":
            self._register.enter_reused(connection, request, verdict.reasons, outlook.now)
            return None, verdict
        assessment = Assessment(verdict, NOTHING)
        return self._register.enter(connection, request, correlation, assessment, outlook), verdict

    def _decide(
        self,
        connection: sqlite3.Connection,
        admitted: Admitted,
        correlation: bytes | None,
        outlook: Outlook,
        over: str | None,
    ) -> tuple[StoredRequest | None, Verdict] | None:
        request = admitted.request
        assessment = self._evaluator.decide(admitted, outlook)
        if isinstance(assessment.verdict, Denial) and over is not None and not assessment.uses:
            self._only_count(connection, request, assessment.verdict, correlation, outlook, over)
            return None
        # Also of a denial: an incident whose facts were seen once may not come back with other
        # facts (check 10).
        facts = incident_digest(request.incident)
        self._store.requests.add_incident(connection, request.iss, request.incident.number, facts)
        stored = self._register.enter(connection, request, correlation, assessment, outlook)
        if isinstance(assessment.verdict, Denial):
            self.limits.note_entered(connection, request, outlook.now, exp_of)
        return stored, assessment.verdict

    def _only_count(
        self,
        connection: sqlite3.Connection,
        request: Request,
        verdict: Denial,
        correlation: bytes | None,
        outlook: Outlook,
        over: str,
    ) -> None:
        """Count a refusal that is one too many to be entered; the RTCC sees no difference.

        If there is no room to remember it, the answer is silence: a repetition could get its answer at another moment.
        """
        now = outlook.now
        due = outlook.find_decline_of(request.audience.is_area, now, request.release_by, verdict.reasons)
        is_reused = any(each.code == "jti-reused" for each in verdict.reasons)  # its id is known as another request's
        if is_reused or not self.limits.make_room(connection, now):
            self.limits.note_unkept(connection, over, now)
            return
        self.limits.note_counted(connection, request, over, due or UtcNs(0), now)
        if due is not None:
            self._register.decline_unkept(connection, request, correlation, due, now)
        log.info("request refused and counted reason=%s", verdict.reasons[0].code)

    def _tell(self, stored: StoredRequest | None, verdict: Verdict) -> None:
        """Report the decision, once it is durable."""
        kind = type(verdict).__name__.lower()
        if stored is not None:
            log.info("request decided request=%d verdict=%s", stored.id, kind)
            self._on_verdict(self._store.requests.read(stored.id), verdict)
        elif isinstance(verdict, Denial) and verdict.request is not None:
            self._reused.append(verdict.request.payload_sha256)  # what is counted must have been entered
            log.info("request refused jti=%s reason=jti-reused", verdict.request.jti)

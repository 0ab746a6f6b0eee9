"""Takes in what the broker brings: trust bundles, and requests through the eleven checks (PROTOCOL 4).

One message is one transaction: what was asked, what was decided and what will be answered become durable together, and
only then is the message acknowledged.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.consent.request import Admitted, Request
from edge_agent.consent.verdict import Denial, Reason, Verdict
from edge_agent.errors import DenialError
from edge_agent.reasons import RULES, TRANSIENT
from edge_agent.units import UtcNs
from edge_agent.uplink.admission import Replayed, incident_digest
from edge_agent.uplink.docket import Docket, identify
from edge_agent.uplink.judge import Judge
from edge_agent.uplink.pruning import is_forgotten
from edge_agent.uplink.store import QuotaUse, Store, StoredRequest
from edge_agent.uplink.tally import Tally
from edge_agent.uplink.trust_store import TrustStore

log = logging.getLogger(__name__)

TRUST_TOPIC = "rtcc/1/trust"
LAST_UNREAD_CHECK = 7
"""What fails a check up to this one is not about this house, or nobody's word: it is counted and not written down."""
MAX_REUSED = 256
"""Requests with an id of another one that are entered once; more of them push the oldest out."""
MAX_WAITING = 32
"""Messages that wait for a clock or a trust bundle; more are refused and counted."""


class Message(Protocol):
    """What the broker brings."""

    @property
    def topic(self) -> str:
        """Where it was published."""

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


class Intake:
    """The way in.

    Args:
        store: One transaction a message.
        judge: The gate.
        docket: Writes down what becomes of requests.
        trust: Takes trust bundles.
        tally: Counts what is not written down.
        clock: The moment of arrival.
        on_verdict: Told of every decided request, after its transaction.
    """

    def __init__(
        self,
        store: Store,
        judge: Judge,
        docket: Docket,
        trust: TrustStore,
        tally: Tally,
        clock: Clock,
        on_verdict: Callable[[StoredRequest, Verdict], None],
    ) -> None:
        self._store = store
        self._judge = judge
        self._docket = docket
        self._trust = trust
        self._tally = tally
        self._clock = clock
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
            if self._take(message):
                message.ack()
            else:
                self._wait(message)

    def retry_waiting(self) -> None:
        """Judge again what waits for a believable clock or for a trust bundle."""
        with self._lock:
            for payload, message in list(self._waiting.items()):
                if self._take(message):
                    del self._waiting[payload]
                    message.ack()

    def _wait(self, message: Message) -> None:
        earlier = self._waiting.pop(message.payload, None)
        if earlier is not None:
            earlier.ack()  # of an earlier connection, or of another topic: the newer one stands for both
        elif len(self._waiting) >= MAX_WAITING:
            self._tally.count("waiting-too-many", self._clock.utc())
            message.ack()
            return
        self._waiting[message.payload] = message

    def _take(self, message: Message) -> bool:
        """Deal with a message; False where it has to wait.

        An error that nobody foresaw refuses the message that met it: it would meet it again for ever, and hold up every
        message behind it.
        """
        try:
            if message.topic == TRUST_TOPIC:
                self._take_trust(message.payload)
            elif message.retained:
                self._tally.count("retained", self._clock.utc())
            else:
                return self._take_request(message)
        except (sqlite3.Error, OSError, MemoryError):
            raise
        except Exception:
            log.exception("message refused by an error of this program: bytes=%d", len(message.payload))
            self._tally.count("internal", self._clock.utc())
        return True

    def _take_trust(self, payload: bytes) -> None:
        try:
            self._trust.take(payload)
        except DenialError as error:
            log.warning("trust bundle refused reason=%s", error.reason)
            self._tally.count(error.reason, self._clock.utc())
        else:
            self.retry_waiting()

    def _take_request(self, message: Message) -> bool:
        """Judge a request; False where it has to wait."""
        now = self._clock.utc()
        try:
            request = self._judge.verify(message.payload, now)
        except DenialError as error:
            if error.reason in TRANSIENT:
                return False
            log.info("request refused unread reason=%s", error.reason)
            self._tally.count(error.reason, now)
            return True
        try:
            admitted = self._judge.admit(request, now)
        except Replayed as replayed:
            stored = self._store.find_request(request.jti, request.iss)
            if replayed.answer is not None and stored is not None:
                with self._store.transaction() as connection:
                    self._docket.repeat(connection, stored, replayed.answer, message.correlation, now)
            return True
        except DenialError as error:
            if error.reason in TRANSIENT:
                return False
            if self._is_counted(request, error, now):
                log.info("request refused and counted reason=%s", error.reason)
                self._tally.count(error.reason, now)
            else:
                self._refuse(request, error, message.correlation, now)
            return True
        self._decide(admitted, message.correlation)
        return True

    def _is_counted(self, request: Request, error: DenialError, now: UtcNs) -> bool:
        """Tell whether a refusal is counted and not entered: what is repeated for ever must not fill the ledger.

        That is what is meant for others, what is so old that it was entered and forgotten, and what has an id of
        another request and was entered already.
        """
        is_known = error.reason == "jti-reused" and request.payload_sha256 in self._reused
        return RULES[error.reason].check <= LAST_UNREAD_CHECK or is_forgotten(request.exp, now) or is_known

    def _refuse(self, request: Request, error: DenialError, correlation: bytes | None, now: UtcNs) -> None:
        """Write down a request that verified and was not admitted."""
        verdict = Denial(request, (Reason(error.reason, str(error)),), now)
        with self._store.transaction() as connection:
            if error.reason == "jti-reused":
                self._docket.enter_request(connection, request, now)
                self._docket.enter_refusal(connection, identify(request), verdict.reasons, now)
                stored = None
            else:
                stored = self._docket.add(connection, request, correlation, now)
                self._docket.settle(connection, stored, verdict, self._judge.telling(now), now)
        if stored is None:
            self._reused.append(request.payload_sha256)  # once it is durable: what is counted must have been entered
        log.info("request refused jti=%s reason=%s", request.jti, error.reason)
        if stored is not None:
            self._on_verdict(self._store.read_request(stored.id), verdict)

    def _decide(self, admitted: Admitted, correlation: bytes | None) -> None:
        now, request = admitted.arrived_at, admitted.request
        judgement = self._judge.decide(admitted, now)
        with self._store.transaction() as connection:
            stored = self._docket.add(connection, request, correlation, now)
            number = request.incident.number
            self._store.add_incident(connection, request.iss, number, incident_digest(request.incident))
            for camera, granted_ns in judgement.uses:
                use = QuotaUse(camera, now, granted_ns, request.iss, number)
                self._store.add_quota_use(connection, stored.id, use)
            self._docket.settle(connection, stored, judgement.verdict, self._judge.telling(now), now)
        log.info("request decided jti=%s verdict=%s", request.jti, type(judgement.verdict).__name__.lower())
        self._on_verdict(self._store.read_request(stored.id), judgement.verdict)

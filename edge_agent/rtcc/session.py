"""The RTCC's connection to its own broker: requests and trust bundles out, answers in.

Owns nothing of MQTT (``edge_agent.mqtt.connection`` does) and nothing of storage (``edge_agent.rtcc.answers`` does); it
joins the two, and turns the stream of answers into something a command can wait for.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from edge_agent.errors import ConfigError, UnavailableError
from edge_agent.host.clock import Clock, SystemClock
from edge_agent.mqtt.connection import Broker, BrokerSettings, TopicSubscription, wait_connected
from edge_agent.mqtt.inbound_queue import Incoming
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol.answer import Answer
from edge_agent.rtcc.answer_intake import AnswerIntake
from edge_agent.rtcc.answers import TOPIC_FILTER, Inbox
from edge_agent.rtcc.arrivals import RECEIVE_MAXIMUM
from edge_agent.rtcc.office.home import CLIENT_NAME, RtccHome
from edge_agent.rtcc.office.request import SignedRequest
from edge_agent.rtcc.office.trust import TOPIC as TRUST_TOPIC
from edge_agent.rtcc.state.sent_requests import AREA, read_asked
from edge_agent.units import HOUR_NS, SECOND_NS, UtcNs

WATCH_CLIENT = "rtcc-watch"
"""The one client whose session the broker keeps, so that no answer is lost while nobody watches."""
CONNECT_TIMEOUT_S = 15.0
FIRST_RETRY_S = 1.0
"""A command waits for it; a storm is made of gateways."""
_BACKLOG = 1024
_POLL_S = 0.5
_OVERLAP_NS = 10 * SECOND_NS
"""By so much clocks of workers may differ, and a commit be late."""
_SESSION_EXPIRY_S = 7 * 24 * 3600
_WATCHED_LATELY_NS = 24 * HOUR_NS

log = logging.getLogger(__name__)


class RtccSession:
    """A connection for one command; use it as a context manager.

    Args:
        home: The RTCC's certificate, broker and inbox.
        watch: Take the answers, in the one persistent session. Only one may run; without it, nothing is taken in.
        clock: For the connection's liveness.
        connect_timeout_s: How long to wait for the broker.
    """

    def __init__(
        self,
        home: RtccHome,
        *,
        watch: bool = False,
        clock: Clock | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._home = home
        self._is_shared = home.state.database.is_shared
        # The state's reader has that session: ``watch`` reads the answers that the workers have kept.
        watch = watch and not self._is_shared
        self._began = (clock or SystemClock()).utc()
        self._connect_timeout_s = connect_timeout_s
        self._clock = clock or SystemClock()
        self._inbox = Inbox(home)
        self._intake = AnswerIntake(home, self._keep, self._end) if watch else None
        # The last ones of this session, for later questions; all of them are in the home.
        self._arrived: deque[Answer] = deque(maxlen=_BACKLOG)
        self._count = 0
        self._fault: ConfigError | None = None
        self._changed = threading.Condition()
        self._broker_name = f"{home.settings.broker_host}:{home.settings.rtcc_port}"
        on_message = Incoming.ack if self._intake is None else self._intake.arrivals.put
        self._broker = Broker(broker_settings(home, watch=watch), on_message, self._clock)

    def __enter__(self) -> Self:
        self._broker.start()
        if not wait_connected(self._broker, self._connect_timeout_s):
            self._broker.close(1.0)
            settings = self._home.settings
            raise UnavailableError(f"broker does not answer: host={settings.broker_host} port={settings.rtcc_port}")
        if self._intake is not None:
            self._intake.start()
            self._home.state.readers.note(self._broker_name, self._clock.utc())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._intake is not None:
            self._intake.close()
        self._broker.close()

    def send(self, request: SignedRequest) -> None:
        """Keep a request in the home and publish it to each of its topics, one and the same message.

        Before that, the broker is made to keep answers for a later ``watch``.

        Raises:
            UnavailableError: The broker did not take it on every topic; gateways may act on the ones that it took.
        """
        self._ensure_watched()
        if not self._home.has_request(request.jti):
            self._home.write_request(request.jti, request.raw)
        self.send_raw(request.raw, request.topics, request.jti.encode(), request.expires)

    def send_raw(self, raw: bytes, topics: tuple[str, ...], correlation: bytes, expires: int) -> None:
        """Publish bytes as they are; the broker forgets them when they expire."""
        left_s = max(1, (expires - self._clock.utc()) // SECOND_NS)
        for topic in topics:
            self._broker.publish(topic, raw, correlation=correlation, expiry_s=left_s)

    def publish_trust(self, raw: bytes) -> None:
        """Replace the retained trust bundle that every gateway reads."""
        self._broker.publish(TRUST_TOPIC, raw, retain=True)

    def answers(self, jti: str | None = None, timeout_s: float = 600.0) -> Iterator[Answer]:
        """Yield verified answers of this session in their order, until nothing more can come or the time is over.

        Those that arrived before the call are among them. For one request to one gateway the final answer ends it; for
        an area, or without ``jti``, only the time does.

        Args:
            jti: Only answers to this request; None for all.
            timeout_s: For the whole of it.

        Raises:
            ConfigError: The state can take no more answers in, such as one that was moved; the broker keeps them.
        """
        deadline = time.monotonic() + timeout_s
        for answer in self._kept(jti, deadline) if self._is_shared else self._taken(deadline):
            if jti is None or answer.jti == jti:
                yield answer
                if jti is not None and answer.status.is_final and not self._is_area(jti):
                    return

    def _taken(self, deadline: float) -> Iterator[Answer]:
        """Yield what this connection took in."""
        position = 0
        while True:
            position, answer = self._next(position, deadline)
            if answer is None:
                return
            yield answer

    def _kept(self, jti: str | None, deadline: float) -> Iterator[Answer]:
        """Yield what workers keep; each answer once, though they commit in any order and their clocks differ."""
        seen: dict[tuple[str, str, int], UtcNs] = {}
        since = UtcNs(self._began - _OVERLAP_NS)
        while True:
            newest = since
            for each in self._home.state.exchanges.taken_since(since, jti):
                newest = max(newest, each.taken_at)
                key = (each.jti, each.gateway, each.seq)
                if key not in seen:
                    seen[key] = each.taken_at
                    if (answer := self._inbox.read_again(each.gateway, each.raw)) is not None:
                        yield answer
            since = max(since, UtcNs(newest - _OVERLAP_NS))
            seen = {key: moment for key, moment in seen.items() if moment >= since}
            if time.monotonic() + _POLL_S > deadline:
                return
            time.sleep(_POLL_S)

    def _next(self, position: int, deadline: float) -> tuple[int, Answer | None]:
        """Wait for the answer at a position, or the oldest that is still remembered after it."""
        with self._changed:
            left_s = max(0.0, deadline - time.monotonic())
            self._changed.wait_for(lambda: self._count > position or self._fault is not None, left_s)
            if self._count <= position:
                if self._fault is not None:
                    raise self._fault
                return position, None
            position = max(position, self._count - len(self._arrived))
            return position + 1, self._arrived[position - self._count]

    def _ensure_watched(self) -> None:
        """Open the persistent session once, if it was not opened lately: without it the broker drops the answers.

        If another process watches at this moment, the broker closes its connection and it connects again: nothing
        is lost.
        """
        read_at = self._home.state.readers.read_at(self._broker_name)
        if self._intake is not None or (read_at is not None and self._clock.utc() - read_at < _WATCHED_LATELY_NS):
            return
        if self._is_shared:
            raise UnavailableError(f"nobody reads the answers: broker={self._broker_name}", "start `rtcc intake`")
        with RtccSession(self._home, watch=True, clock=self._clock, connect_timeout_s=self._connect_timeout_s):
            log.debug("answers are kept from now on")

    def _keep(self, answer: Answer) -> None:
        """Take over an answer that is durable, on the thread of the intake."""
        with self._changed:
            self._arrived.append(answer)
            self._count += 1
            self._changed.notify_all()

    def _end(self, error: ConfigError) -> None:
        """Wake the waiting readers, on the thread of the intake: no answer comes any more."""
        with self._changed:
            self._fault = error
            self._changed.notify_all()

    def _is_area(self, jti: str) -> bool:
        return read_asked(self._home.find_request(jti) or b"").audience == AREA


def broker_settings(home: RtccHome, *, watch: bool) -> BrokerSettings:
    """Return the RTCC's connection to its broker: the one persistent session that takes answers, or another."""
    certificate = home.tls_paths(CLIENT_NAME)[0].read_text()
    return BrokerSettings(
        host=home.settings.broker_host,
        port=home.settings.rtcc_port,
        client_id=WATCH_CLIENT if watch else f"{CLIENT_NAME}-{secrets.token_hex(8)}",
        tls=TlsIdentity(home.ca_path.read_text(), certificate, home.load_tls_key(CLIENT_NAME)),
        subscriptions=(TopicSubscription(TOPIC_FILTER),) if watch else (),
        first_retry_s=FIRST_RETRY_S,
        clean_start=not watch,
        session_expiry_s=_SESSION_EXPIRY_S if watch else 0,
        receive_maximum=RECEIVE_MAXIMUM,
    )

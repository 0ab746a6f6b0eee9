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

from edge_agent.errors import ConfigError, ConflictError, CustodyError, EvidenceError, UnavailableError
from edge_agent.host.clock import Clock, SystemClock
from edge_agent.mqtt.connection import Broker, BrokerSettings, TopicSubscription, wait_connected
from edge_agent.mqtt.inbound_queue import Incoming
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, verify_answer
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.answers import TOPIC_FILTER, Inbox
from edge_agent.rtcc.office.enrol import gateway_key
from edge_agent.rtcc.office.home import CLIENT_NAME, RtccHome
from edge_agent.rtcc.office.request import SignedRequest
from edge_agent.rtcc.office.trust import TOPIC as TRUST_TOPIC
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
        self._watch = watch
        self._began = (clock or SystemClock()).utc()
        self._connect_timeout_s = connect_timeout_s
        self._clock = clock or SystemClock()
        self._inbox = Inbox(home)
        # The last ones of this session, for later questions; all of them are in the home.
        self._arrived: deque[Answer] = deque(maxlen=_BACKLOG)
        self._count = 0
        self._fault: ConfigError | CustodyError | None = None
        self._changed = threading.Condition()
        self._broker_name = f"{home.settings.broker_host}:{home.settings.rtcc_port}"
        self._broker = Broker(broker_settings(home, watch=watch), self._take, self._clock)

    def __enter__(self) -> Self:
        self._broker.start()
        if not wait_connected(self._broker, self._connect_timeout_s):
            self._broker.close(1.0)
            settings = self._home.settings
            raise UnavailableError(f"broker does not answer: host={settings.broker_host} port={settings.rtcc_port}")
        if self._watch:
            self._home.state.readers.note(self._broker_name, self._clock.utc())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            CustodyError: A pinned key in it cannot be read.
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
                    yield verify_answer(each.raw, each.gateway, gateway_key(self._home, each.gateway))
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
        """Open the persistent session once, where nobody has lately: without it the broker drops the answers.

        Where somebody watches at this moment, that connection is taken over and made again: nothing is lost.
        """
        read_at = self._home.state.readers.read_at(self._broker_name)
        if self._watch or (read_at is not None and self._clock.utc() - read_at < _WATCHED_LATELY_NS):
            return
        if self._is_shared:
            raise UnavailableError(f"nobody reads the answers: broker={self._broker_name}", "start `rtcc intake`")
        with RtccSession(self._home, watch=True, clock=self._clock, connect_timeout_s=self._connect_timeout_s):
            log.debug("answers are kept from now on")

    def _take(self, message: Incoming) -> None:
        """Take one message in, on the broker's worker thread."""
        try:
            answer = self._inbox.take(message.topic, message.payload)
        except ConflictError as error:
            log.error("answer kept for a person (rtcc watch --conflicts): %s", error)
            answer = None
        except EvidenceError as error:
            # It would be as wrong the next time: acknowledged, said, and not kept.
            log.warning("answer refused: %s", error)
            answer = None
        except (ConfigError, CustodyError) as error:
            # A fault on our side, not the message's: unacknowledged, it comes again to the next program.
            with self._changed:
                self._fault = error
                self._changed.notify_all()
            raise
        # After `take`, which is durable on return: the broker forgets the message now (MQTT 5,
        # section 4.3.2).
        message.ack()
        if answer is not None:
            with self._changed:
                self._arrived.append(answer)
                self._count += 1
                self._changed.notify_all()

    def _is_area(self, jti: str) -> bool:
        payload = jws.parse(self._home.find_request(jti) or b"", TYP).payload
        return isinstance(payload, dict) and "cells" in payload["aud"]


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
    )

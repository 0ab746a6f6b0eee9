"""The one connection to the RTCC's broker: MQTT 5 over mutual TLS (PROTOCOL 2).

Owns paho and the state of the connection. A message is acknowledged only by ``Incoming.ack``, after the commit of its
caller; a message that is not acknowledged comes again. Nothing here judges a message, and nothing here keeps one:
outgoing messages wait in an outbox elsewhere, not in the memory of paho.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.errors import UnavailableError
from edge_agent.host.clock import Clock
from edge_agent.mqtt.attempts import Attempts
from edge_agent.mqtt.inbound_queue import InboundQueue, Incoming
from edge_agent.mqtt.mutual_tls import TlsIdentity, build_client_context, load_identity, watch_socket
from edge_agent.mqtt.network_loop import CONNECT_TIMEOUT_S, FIRST_RETRY_S, LoopCalls, LoopTimes, NetworkLoop
from edge_agent.mqtt.packets import connect_properties, publish_properties, subscribe_options
from edge_agent.units import MonoNs

RECEIVE_MAXIMUM = 64
MAX_PACKET_BYTES = 96 << 10
"""A request has at most 64 KiB (PROTOCOL 4, check 1); a trust bundle as well. The rest is topic and properties."""
SESSION_EXPIRY_S = 7 * 24 * 3600
PUBLISH_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TopicSubscription:
    """A topic of ours, at QoS 1; its retained message is wanted or not."""

    topic: str
    retained: bool = False


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """The broker's address, our name there, and our topics."""

    host: str
    port: int
    client_id: str
    tls: TlsIdentity
    subscriptions: tuple[TopicSubscription, ...]
    state_topic: str = ""
    """Topic of the retained state and of the last will; none if empty."""
    online: bytes = b""
    offline: bytes = b""
    """The last will; also left behind by a clean ``close``."""
    others: tuple[tuple[str, int], ...] = ()
    """Hosts and ports to try after the first, in turn."""
    keepalive_s: int = 30
    first_retry_s: float = FIRST_RETRY_S
    """The longest pause before the first repetition."""
    answer_within_s: float = 10.0
    """How long after its keepalive a silent broker is given up."""
    clean_start: bool = False
    session_expiry_s: int = SESSION_EXPIRY_S
    receive_maximum: int = RECEIVE_MAXIMUM
    """Unacknowledged messages that the broker may have under way to us, and at which we stop reading from it."""


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The connection's part of ``status``."""

    connected: bool
    since: MonoNs
    last_heard: MonoNs
    queued: int
    counts: Mapping[str, int]


class Broker:
    """A connection that keeps itself up until it is closed.

    ``on_message`` is called on the worker thread, one message at a time, in the order of arrival. If it raises, the
    message is not acknowledged, the connection is dropped and made again after the back-off, and the message comes
    again. ``publish`` may be called from any thread but the network thread.
    """

    def __init__(self, settings: BrokerSettings, on_message: Callable[[Incoming], None], clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._stop = threading.Event()
        self._counts: Counter[str] = Counter()
        self._inbox = InboundQueue(
            settings.receive_maximum,
            on_message,
            is_current=lambda generation: generation == self._generation,
            give_up=self._give_up,
            counts=self._counts,
            stop=self._stop,
        )
        # Held while a packet is handed to paho and while connections change, never while anything is waited for.
        self._lock = threading.Lock()
        self._generation = 0
        self._connected = False
        self._unconfirmed: set[int] = set()
        self._since = clock.boot()
        self._state = settings.online
        self._publishing = threading.Lock()
        self._acked: dict[int, ReasonCode] = {}
        self._ack_arrived = threading.Condition()
        self._client = self._build_client()
        self._loop = NetworkLoop(
            self._client,
            calls=LoopCalls(self._connect, self._lost, lambda: self._connected, self._inbox.has_room),
            times=LoopTimes(settings.answer_within_s, settings.first_retry_s),
            clock=clock,
            stop=self._stop,
        )
        self._context = watch_socket(build_client_context(settings.tls), self._loop.heard, MAX_PACKET_BYTES)
        self._client.tls_set_context(self._context)
        self._renewed: TlsIdentity | None = None
        self._attempts = Attempts(((settings.host, settings.port), *settings.others))
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._loop.run, "mqtt-network"), (self._inbox.run, "mqtt-worker"))
        ]

    def start(self) -> None:
        """Start both threads and return at once; the broker need not be there yet."""
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Leave ``offline`` as the retained state, disconnect without the last will, and join the threads."""
        try:
            if self._settings.state_topic:
                self.publish(self._settings.state_topic, self._settings.offline, retain=True, timeout_s=timeout_s / 2)
        except UnavailableError as error:
            log.info("state not left behind: %s", error)
        self._stop.set()
        self._inbox.wake()
        with self._lock:
            if self._connected:
                self._client.disconnect()
        self._join(timeout_s / 2)
        with self._lock:
            self._loop.drop_socket()  # a frozen broker does not take our leave
        self._join(timeout_s / 2)
        self._loop.close()

    def abandon(self) -> None:
        """Break the connection off without a word, as a power cut does: the broker sends the last will."""
        self._stop.set()
        self._inbox.wake()
        with self._lock:
            self._loop.drop_socket()
        self._join(1.0)
        self._loop.close()

    def _join(self, timeout_s: float) -> None:
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)

    def is_connected(self) -> bool:
        """Tell whether the broker accepted us and our subscriptions, and has been heard of within its keepalive.

        A message to us is lost if it is published before the first subscriptions of a session stand.
        """
        return self._connected and not self._unconfirmed and not self._loop.is_silent(self._clock.boot())

    def is_live(self, now: MonoNs) -> bool:
        """Tell whether both threads run and the network loop turns: a watchdog may depend on it.

        True while a broker cannot be reached, as long as the attempts go on: a restart would not mend that. False
        if a thread died, hangs, or believes in a connection on which nothing arrives any more.
        """
        return all(thread.is_alive() for thread in self._threads) and self._loop.is_turning(now)

    def status(self) -> BrokerStatus:
        """Return what the connection is doing."""
        return BrokerStatus(
            self.is_connected(), self._since, self._loop.last_heard, len(self._inbox), dict(self._counts)
        )

    def set_state(self, payload: bytes) -> None:
        """Replace the retained state: published now if connected, and on every connection from now on."""
        with self._lock:
            self._state = payload
            if self._connected and self._settings.state_topic:
                self._client.publish(self._settings.state_topic, payload, qos=1, retain=True)

    def renew(self, identity: TlsIdentity) -> None:
        """Show another certificate from the next connection on, and make that one now. Any thread.

        Raises:
            CustodyError: Certificate and key do not belong together; the one before stays.
        """
        build_client_context(identity)
        with self._lock:
            self._renewed = identity
            self._attempts.spare()
            self._loop.drop_socket()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
        expiry_s: int | None = None,
        timeout_s: float = PUBLISH_TIMEOUT_S,
    ) -> None:
        """Publish at QoS 1 and wait until the broker has taken it.

        One at a time, so that answers stay in order. After an error the message may have arrived or not: publish it
        again.

        Args:
            topic: Without wildcards.
            payload: The bytes, as they are.
            retain: The broker keeps it for later subscribers.
            correlation: Echoed Correlation Data.
            expiry_s: The broker forgets it after so many seconds.
            timeout_s: How long to wait for the acknowledgement.

        Raises:
            UnavailableError: Not connected, no acknowledgement in time, or the broker refuses it.
        """
        properties = publish_properties(correlation, expiry_s)
        with self._publishing:
            with self._lock:
                if not self._connected:
                    raise UnavailableError("broker is not connected")
                with self._ack_arrived:
                    self._acked.clear()
                info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
                generation = self._generation
            if info.rc != paho.MQTT_ERR_SUCCESS:
                raise UnavailableError(f"broker does not take the message: {paho.error_string(info.rc)}")
            with self._ack_arrived:
                self._ack_arrived.wait_for(
                    lambda: info.mid in self._acked or generation != self._generation or self._stop.is_set(), timeout_s
                )
                reason = self._acked.get(info.mid)
        if reason is None:
            raise UnavailableError("broker did not acknowledge the message")
        if reason.is_failure:
            raise UnavailableError(f"broker refuses the message: {reason}")

    # Called by the network loop, on its thread.

    def _connect(self) -> None:
        # The messages that paho still holds are the outbox's business: it would be sent again out of order.
        self._client.drop_out_messages()
        properties = connect_properties(
            self._settings.session_expiry_s, self._settings.receive_maximum, MAX_PACKET_BYTES
        )
        with self._lock:
            renewed = self._renewed
        if renewed is not None:
            load_identity(self._context, renewed)
            with self._lock:  # Only now: what could not be loaded is tried again with the next connection.
                self._renewed = None if self._renewed is renewed else self._renewed
        is_clean = self._settings.clean_start
        if self._attempts.begins_anew():
            is_clean = True
            self._counts["session-given-up"] += 1
            log.warning("broker accepts this client and cuts it off each time: it begins with a new session")
        host, port = self._attempts.address
        self._client.connect(
            host, port, keepalive=self._settings.keepalive_s, clean_start=is_clean, properties=properties
        )

    def _lost(self) -> None:
        self._counts["attempts"] += 1
        self._attempts.lose(self._clock.boot())
        with self._lock:
            was_connected, self._connected = self._connected, False
            self._generation += 1
            self._since = self._clock.boot() if was_connected else self._since
            self._loop.drop_socket()
        with self._ack_arrived:
            self._ack_arrived.notify_all()

    # Called by the inbox, on the worker thread.

    def _give_up(self, generation: int) -> None:
        with self._lock:
            if generation == self._generation:
                self._attempts.spare()
                self._loop.drop_socket()

    # paho's callbacks, all on the network thread.

    def _build_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_queued_messages_set(8)
        if self._settings.state_topic:
            client.will_set(self._settings.state_topic, self._settings.offline, qos=1, retain=True)
        client.on_connect = self._guard(self._on_connect)
        client.on_message = self._guard(self._on_message)
        client.on_publish = self._guard(self._on_publish)
        client.on_subscribe = self._guard(self._on_subscribe)
        client.on_disconnect = self._guard(self._on_disconnect)
        return client

    def _guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                self._counts["callback-failed"] += 1
                log.exception("mqtt callback failed: %s", callback.__name__)

        return guarded

    def _on_connect(self, client: paho.Client, _data: object, flags: Any, reason: ReasonCode, _props: object) -> None:
        if reason.is_failure:
            self._counts["refused"] += 1
            log.warning("broker refuses the connection: %s", reason)
            return
        with self._lock:
            self._attempts.accept(self._clock.boot())
            self._generation += 1
            self._unconfirmed = {
                client.subscribe(subscription.topic, options=subscribe_options(retained=subscription.retained))[1] or 0
                for subscription in self._settings.subscriptions
            }
            self._connected = True
            self._since = self._clock.boot()
            if self._settings.state_topic:
                client.publish(self._settings.state_topic, self._state, qos=1, retain=True)
        self._counts["connected"] += 1
        log.info("broker connected: session-present=%s", flags.session_present)

    def _on_disconnect(self, _client: paho.Client, _data: object, _flags: Any, reason: ReasonCode, _p: object) -> None:
        if not self._stop.is_set():
            log.warning("broker disconnected: %s", reason)
        self._connected = False

    def _on_subscribe(self, _c: paho.Client, _d: object, mid: int, reasons: list[ReasonCode], _p: object) -> None:
        self._unconfirmed.discard(mid)
        # A granted subscription proves nothing: mosquitto grants a forbidden one and filters later.
        for reason in reasons:
            if reason.is_failure:
                self._counts["subscription-refused"] += 1
                log.error("broker refuses a subscription: %s", reason)

    def _on_publish(self, _c: paho.Client, _d: object, mid: int, reason: ReasonCode, _p: object) -> None:
        with self._ack_arrived:
            self._acked[mid] = reason
            self._ack_arrived.notify_all()

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._counts["received"] += 1
        self._attempts.spare()
        if message.qos == 0:
            # QoS 0 knows no acknowledgement and no receive maximum: a flood of it would push out what counts.
            self._counts["dropped-qos0"] += 1
            return
        generation, mid, qos = self._generation, message.mid, message.qos
        incoming = Incoming(
            topic=message.topic,
            payload=bytes(message.payload),
            retained=message.retain,
            correlation=getattr(message.properties, "CorrelationData", None),
            _ack=lambda: self._acknowledge(client, generation, mid, qos),
        )
        self._inbox.put(generation, incoming)

    def _acknowledge(self, client: paho.Client, generation: int, mid: int, qos: int) -> None:
        with self._lock:
            # A packet id means something on its own connection only.
            if generation == self._generation and self._connected:
                client.ack(mid, qos)
                self._counts["acknowledged"] += 1


def wait_connected(broker: Broker, timeout_s: float) -> bool:
    """Wait until the broker accepted us; for commands and tests, which have nothing else to do."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if broker.is_connected():
            return True
        time.sleep(0.02)
    return False

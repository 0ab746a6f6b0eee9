"""Events from the home's own MQTT broker: ring-mqtt, Home Assistant and the like. A child process of the recorder.

Owns the one connection to that broker. It only listens: it never publishes, and never talks to the RTCC's broker. Run
by ``capture.event_listener``: settings come as one line of JSON on standard input, news go out as it wants them.
"""

import errno
import json
import logging
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.capture.event_listener import begin_child, tell_trouble

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
LONGEST_PAUSE_S = 60
SESSION_EXPIRY_S = 120
"""So long the broker keeps events for us; an older one would begin a recording of nothing."""
MAX_PACKET_BYTES = 64 << 10
"""A broker that keeps to MQTT 5 (3.1.2.11.4) leaves out a longer message; no trigger's payload is so long."""
MAX_MEMORY_BYTES = 64 << 20
"""22 MB were measured. paho takes up to 256 MB for one message, from a broker that keeps to nothing."""


@dataclass(frozen=True, slots=True)
class HomeBroker:
    """Where the home's broker is."""

    host: str
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class TopicTrigger:
    """Fires for every message on a topic with just this payload; retained messages are old news and do not count."""

    topic: str
    payload: bytes
    fire: Callable[[], None]


class MqttTriggers:
    """Listens on the home's broker until closed; reconnects for ever, with paho's own growing pauses.

    Args:
        broker: Where to connect.
        client_id: Unique at that broker. Another listener under the same id goes on with what waits there.
        triggers: The topics and payloads to listen for.
        tell: Takes why no events come, for people; an empty text once they can. Each time there is news.

    Raises:
        OSError: ``ca_file`` cannot be read, or holds no certificate.
    """

    def __init__(
        self,
        broker: HomeBroker,
        client_id: str,
        triggers: Sequence[TopicTrigger],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._broker, self._triggers, self._tell = broker, tuple(triggers), tell
        self._topics = sorted({trigger.topic for trigger in self._triggers})
        self._trouble: str | None = None
        self._connected = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.reconnect_delay_set(1, LONGEST_PAUSE_S)
        if broker.username:
            client.username_pw_set(broker.username, broker.password)
        if broker.ca_file:
            client.tls_set(broker.ca_file)
        # An exception in a callback would kill paho's thread while it claims to be connected.
        client.on_connect = self._guard(self._on_connect)
        client.on_connect_fail = self._guard(self._on_connect_fail)
        client.on_subscribe = self._guard(self._on_subscribe)
        client.on_disconnect = self._guard(self._on_disconnect)
        client.on_message = self._guard(self._on_message)
        self._client = client

    @property
    def is_connected(self) -> bool:
        """Tell whether the broker has accepted us."""
        return self._connected.is_set()

    def start(self) -> None:
        """Connect in the background."""
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.MaximumPacketSize = MAX_PACKET_BYTES
        # MQTT 5, 3.1.2.11.2: events that are sent at QoS 1 wait at the broker while the line, or this process, is away.
        wishes.SessionExpiryInterval = SESSION_EXPIRY_S
        self._client.connect_async(
            self._broker.host, self._broker.port, KEEPALIVE_S, clean_start=False, properties=wishes
        )
        self._client.loop_start()

    def close(self) -> None:
        """Disconnect and join the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, _data: object, _flags: Any, reason: Any, _props: object) -> None:
        if reason.is_failure:
            self._say(f"the home's broker refuses us: {reason}")
            return
        self._connected.set()
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._topics])

    def _on_connect_fail(self, *_: object) -> None:
        # paho calls back from where it caught the error, and passes nothing on.
        self._say(f"the home's broker is not reached: {_words_for(sys.exc_info()[1])}")

    def _on_subscribe(self, _client: object, _data: object, _mid: int, reasons: Sequence[Any], _props: object) -> None:
        # MQTT 5, 3.9.3: reason codes from 0x80 on are refusals.
        refused = [
            f"{topic}: {reason}" for topic, reason in zip(self._topics, reasons, strict=False) if reason.value >= 128
        ]
        self._say(f"the home's broker refuses a topic: {'; '.join(refused)}" if refused else "")

    def _on_disconnect(self, _client: object, _data: object, _flags: object, reason: object, _props: object) -> None:
        if self._connected.is_set():
            self._say(f"the home's broker is lost: {reason}")
        self._connected.clear()

    def _say(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("no events host=%s: %s", self._broker.host, trouble)
        else:
            log.info("home broker connected host=%s", self._broker.host)
        self._tell(trouble)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.retain:
            return
        for trigger in self._triggers:
            if trigger.topic == message.topic and trigger.payload == message.payload:
                trigger.fire()

    def _guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                log.exception("home broker callback failed host=%s", self._broker.host)

        return guarded


def _words_for(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused, {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS, {error.reason}"
    code = error.errno if isinstance(error, OSError) else None
    return errno.errorcode.get(code or 0, type(error).__name__)


def main() -> int:
    """Listen until standard input ends: the recorder is gone, or wants no more."""
    begin_child(MAX_MEMORY_BYTES)
    settings = json.loads(sys.stdin.readline())
    lock = threading.Lock()

    def reporting(number: int) -> Callable[[], None]:
        def report() -> None:
            with lock:
                print(number, flush=True)

        return report

    triggers = [
        TopicTrigger(found["topic"], found["payload"].encode(), reporting(number))
        for number, found in enumerate(settings["triggers"])
    ]
    try:
        listener = MqttTriggers(HomeBroker(**settings["broker"]), settings["client_id"], triggers, tell_trouble)
    except OSError as error:
        tell_trouble(f"the ca_file of the home's broker cannot be used: {_words_for(error)}")
        return 1
    listener.start()
    sys.stdin.read()
    listener.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Publishes this gateway's sensors to the home's own MQTT broker. A child process of the recorder.

Owns that connection. Asks both processes for their status at their control sockets, as ``edge-agent status`` does, and
publishes what ``home_sensors`` makes of it; it takes no command. Run by ``capture.event_listener``.
"""

import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import __version__
from edge_agent.capture.event_listener import begin_child, tell_trouble
from edge_agent.capture.home_mqtt_child import CONNECT_TIMEOUT_S, KEEPALIVE_S, LONGEST_PAUSE_S, MAX_MEMORY_BYTES
from edge_agent.capture.home_sensors import PREFIX, availability_topic, encode_state, list_discovery, state_topic
from edge_agent.errors import EdgeAgentError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call

log = logging.getLogger(__name__)

EVERY_S = 30.0


class HomeSensors:
    """The connection, from ``start`` to ``close``; paho connects again by itself.

    Args:
        settings: ``broker`` (host, port, username, password, ca_file), ``client_id``, ``node``, ``cameras`` and
            ``sockets``: the control socket of each process.

    Raises:
        OSError: ``ca_file`` cannot be read, or holds no certificate.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._node, self._cameras, self._sockets = settings["node"], settings["cameras"], settings["sockets"]
        self._broker = settings["broker"]
        self._discovery = dict(list_discovery(self._node, self._cameras, __version__))
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=settings["client_id"], protocol=paho.MQTTv5)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.reconnect_delay_set(1, LONGEST_PAUSE_S)
        client.max_queued_messages_set(64)
        if self._broker.get("username"):
            client.username_pw_set(self._broker["username"], self._broker["password"])
        if self._broker.get("ca_file"):
            client.tls_set(self._broker["ca_file"])
        client.will_set(availability_topic(self._node), b"offline", qos=1, retain=True)
        client.on_connect, client.on_message = self._on_connect, self._on_message
        client.on_connect_fail = self._on_connect_fail
        self._client = client

    def start(self) -> None:
        """Connect in the background."""
        self._client.connect_async(self._broker["host"], self._broker["port"], KEEPALIVE_S)
        self._client.loop_start()

    def close(self) -> None:
        """Say that the sensors are away, and disconnect."""
        self._client.publish(availability_topic(self._node), b"offline", qos=1, retain=True)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self) -> None:
        """Publish the state of now, if there is a connection."""
        if not self._client.is_connected():
            return
        recorder, releaser = (self._ask(name) for name in ("recorder", "releaser"))
        state = encode_state(self._cameras, recorder, releaser, SystemClock().utc())
        self._client.publish(state_topic(self._node), state, qos=0)

    def _ask(self, process: str) -> dict[str, Any] | None:
        try:
            return call(Path(self._sockets[process]), "status")
        except EdgeAgentError:
            return None

    def _on_connect(self, client: paho.Client, _data: object, _flags: Any, reason: Any, _props: object) -> None:
        if reason.is_failure:
            tell_trouble(f"the home's broker refuses us: {reason}")
            return
        tell_trouble("")
        # Its own retained messages, to take away those of cameras that are there no more.
        client.subscribe(f"{PREFIX}/+/{self._node}/+/config", qos=0)
        for topic, payload in self._discovery.items():
            client.publish(topic, payload, qos=1, retain=True)
        client.publish(availability_topic(self._node), b"online", qos=1, retain=True)
        # Not on paho's thread: it asks the processes, and the connection must not wait for them.
        threading.Thread(target=self.publish, daemon=True).start()

    def _on_connect_fail(self, *_: object) -> None:
        tell_trouble("the home's broker is not reached")

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if message.retain and message.payload and message.topic not in self._discovery:
            # An empty retained message deletes the one that the broker keeps (MQTT 5, 3.3.1.3).
            client.publish(message.topic, b"", qos=1, retain=True)


def main() -> int:
    """Publish until standard input ends: the recorder is gone, or wants no more."""
    begin_child(MAX_MEMORY_BYTES)
    settings = json.loads(sys.stdin.readline())
    try:
        sensors = HomeSensors(settings)
    except OSError as error:
        tell_trouble(f"the ca_file of the home's broker cannot be used: {type(error).__name__}")
        return 1
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    sensors.start()
    while not ended.wait(EVERY_S):
        sensors.publish()
    sensors.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

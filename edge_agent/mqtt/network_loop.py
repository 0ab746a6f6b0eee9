"""The thread that keeps a paho client connected: reads, writes, pings, and makes the connection again indefinitely.

Owns the socket's life, the back-off, and the one true account of when the other side was last heard of. It knows
nothing of messages. A loop of our own around paho's ``loop_read`` and ``loop_write``, because in paho's own an
exception in a callback ends the thread while ``is_connected()`` stays true (docs/adr/0002).
"""

import contextlib
import logging
import random
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode

from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS, MonoNs

CONNECT_TIMEOUT_S = 10.0
"""For TCP and TLS; ``is_turning`` allows three of them before it calls the loop hung."""
MAX_BACKOFF_S = 60.0
FIRST_RETRY_S = 30.0
"""2,000 gateways that came back within 10 s made a broker that was away for 2.7 s refuse most of them."""
STABLE_AFTER_S = 60.0
"""A connection that lasted this long starts the back-off anew."""
_TURN_S = 1.0
"""The longest wait of one turn: so late a stop or a silent broker is noticed."""

log = logging.getLogger(__name__)


def backoff_s(attempt: int, fraction: float, first_s: float = FIRST_RETRY_S) -> float:
    """Return the pause before an attempt, with full jitter: anything up to ``first_s``, which doubles to 60 s.

    A broker that was away comes back to all of its clients at once: they must not all come at the same time.

    Args:
        attempt: 0 for the first repetition.
        fraction: A random number in [0, 1).
        first_s: The longest first pause.
    """
    return fraction * min(MAX_BACKOFF_S, first_s * 2.0 ** min(attempt, 16))


@dataclass(frozen=True, slots=True)
class LoopTimes:
    """How long a network loop waits."""

    patience_s: float
    """After its keepalive, until a silent broker is given up."""
    first_retry_s: float
    """At most, before the first repetition."""


@dataclass(frozen=True, slots=True)
class LoopCalls:
    """The connection's side of a network loop."""

    connect: Callable[[], None]
    """Calls ``client.connect``; may raise anything."""
    lost: Callable[[], None]
    """Called after every connection and every failed attempt."""
    is_connected: Callable[[], bool]
    """Tells whether the broker has accepted us."""
    has_room: Callable[[], bool]
    """Tells whether a message that is read now can be kept."""


class NetworkLoop:
    """Turns one paho client until ``stop``.

    Args:
        client: Its writes are left to this loop from now on.
        calls: The connection's side.
        times: How long is waited.
        clock: For liveness.
        stop: Ends ``run``, once the connection was left.
    """

    def __init__(
        self,
        client: paho.Client,
        *,
        calls: LoopCalls,
        times: LoopTimes,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._calls = calls
        self._times = times
        self._clock = clock
        self._stop = stop
        self.last_heard = self._last_turn = clock.boot()
        self._wakened, self._waker = socket.socketpair()
        for end in (self._wakened, self._waker):
            end.setblocking(False)
        # Makes paho leave every write to this thread; without it, ``publish`` writes to the TLS socket from the
        # caller's thread at the same time.
        client.on_socket_register_write = self._wake
        client.connect_timeout = CONNECT_TIMEOUT_S

    def run(self) -> None:
        """Connect, turn, and connect again: the body of the network thread."""
        attempt = 0
        while not self._stop.is_set():
            started = self._clock.boot()
            try:
                self._turn_until_lost()
            except Exception as error:  # nothing may end this thread
                # TLS and DNS errors name the fault without naming a secret; a traceback would add nothing.
                log.warning("broker not reached: %s: %s", type(error).__name__, error)
            self._calls.lost()
            if self._clock.boot() - started > STABLE_AFTER_S * SECOND_NS:
                attempt = 0
            # PROTOCOL 2, M5: also after a connection that was good, for its broker lost all its
            # clients at once.
            self._stop.wait(backoff_s(attempt, random.random(), self._times.first_retry_s))  # noqa: S311  (jitter)
            attempt += 1

    def close(self) -> None:
        """Give the wake-up pair back, after the thread has ended."""
        self._waker.close()
        self._wakened.close()

    def heard(self) -> None:
        """Note that bytes have arrived."""
        self.last_heard = self._clock.boot()

    def is_silent(self, now: MonoNs) -> bool:
        """Tell whether the broker has let its keepalive and our patience pass."""
        return now - self.last_heard > self._limit_ns()

    def is_turning(self, now: MonoNs) -> bool:
        """Tell whether the loop goes round, and notices what it must: a hang of it, or a dead connection kept."""
        turned = now - self._last_turn <= (3 * CONNECT_TIMEOUT_S + MAX_BACKOFF_S) * SECOND_NS
        return turned and (not self._calls.is_connected() or now - self.last_heard <= 2 * self._limit_ns())

    def drop_socket(self) -> None:
        """Cut the connection without a word: the broker publishes our last will and keeps our session. Any thread."""
        connection: Any = self._client.socket()
        if connection is not None:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def _limit_ns(self) -> int:
        return int((self._client.keepalive + self._times.patience_s) * SECOND_NS)

    def _wake(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._waker.send(b"w")

    def _turn_until_lost(self) -> None:
        self._last_turn = self.last_heard = self._clock.boot()
        self._calls.connect()
        while self._calls.is_connected() or not self._stop.is_set():
            code = self._turn()
            now = self._last_turn = self._clock.boot()
            if code != paho.MQTT_ERR_SUCCESS:
                if not self._stop.is_set():
                    log.warning("broker connection lost: %s", paho.error_string(code))
                return
            if self.is_silent(now):
                log.warning("broker is silent: seconds=%d", (now - self.last_heard) // SECOND_NS)
                return

    def _turn(self) -> MQTTErrorCode:
        """Wait for the socket, then read, write and ping once, as paho's documentation has it for loops of one's own.

        Nothing is read while the worker is behind: mosquitto 2.0.11 sends everything that it holds after the first
        acknowledgement, whatever the receive maximum, and TCP is then what makes it wait.
        """
        connection: Any = self._client.socket()
        if connection is None:
            return paho.MQTT_ERR_NO_CONN
        has_room = self._calls.has_room()
        waiting = has_room and connection.pending()
        readers = [connection, self._wakened] if has_room else [self._wakened]
        writers = [connection] if self._client.want_write() else []
        ready, _, _ = select.select(readers, writers, [], 0 if waiting else _TURN_S)
        if self._wakened in ready:
            self._wakened.recv(4096)
        code = self._read(connection) if waiting or connection in ready else paho.MQTT_ERR_SUCCESS
        if code == paho.MQTT_ERR_SUCCESS and self._client.want_write():
            code = self._client.loop_write()
        if not has_room:
            self.heard()  # it was not asked
        elif code == paho.MQTT_ERR_SUCCESS:
            code = self._client.loop_misc()
        return code

    def _read(self, connection: Any) -> MQTTErrorCode:
        code = self._read_packet()
        # OpenSSL may hold more packets than the one that was read; select does not see those.
        while (
            code == paho.MQTT_ERR_SUCCESS and self._client.socket() and connection.pending() and self._calls.has_room()
        ):
            code = self._read_packet()
        return code

    def _read_packet(self) -> MQTTErrorCode:
        code = self._client.loop_read()
        # paho keeps a message of QoS 2 until the broker releases it, 65,535 of them if it never does. Subscriptions
        # are of QoS 1, above which no honest broker sends.
        if self._client._in_messages:
            self._client._in_messages.clear()
            return paho.MQTT_ERR_PROTOCOL
        return code

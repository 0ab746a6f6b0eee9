"""A connection that proves something about a broker: it remembers what arrived, and tells whether it was let in."""

import threading

from edge_agent.errors import UnavailableError
from edge_agent.host.clock import Clock
from edge_agent.mqtt.connection import Broker, BrokerSettings, wait_connected
from edge_agent.mqtt.inbound_queue import Incoming

WAIT_S = 10.0


class ProbeClient:
    """A connection that remembers what arrives, in its order. Use it as a context manager.

    Args:
        settings: Certificate, client id and subscriptions.
        clock: For the connection's liveness.
        acks: Without it no message is acknowledged, and each comes again.
    """

    def __init__(self, settings: BrokerSettings, clock: Clock, *, acks: bool = True) -> None:
        self._acks = acks
        self._seen: list[tuple[str, bytes, bool]] = []
        self._changed = threading.Condition()
        self.broker = Broker(settings, self._take, clock)

    def _take(self, message: Incoming) -> None:
        # Acknowledged or not, it was seen: the probes judge by what arrives.
        if self._acks:
            message.ack()
        with self._changed:
            self._seen.append((message.topic, message.payload, message.retained))
            self._changed.notify_all()

    def has(self, payload: bytes, wait_s: float = 0.0, *, retained: bool | None = None) -> bool:
        """Tell whether a payload came, waiting for it; with or without the mark of a retained one, or either."""

        def came() -> bool:
            return any(each == payload and retained in (None, mark) for _, each, mark in self._seen)

        with self._changed:
            return self._changed.wait_for(came, wait_s)

    def connect(self, wait_s: float = WAIT_S) -> bool:
        """Start; tell whether the broker let us in."""
        self.broker.start()
        return wait_connected(self.broker, wait_s)

    def __enter__(self) -> "ProbeClient":
        if not self.connect():
            self.broker.close(1.0)
            raise UnavailableError("broker does not let a probe in")
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.close(2.0)

"""Carries the outbox to the broker: each message at its moment, in order, until the broker has taken it.

A message leaves the store only after the broker acknowledged it, so that one may arrive twice and none is lost.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from edge_agent.errors import EdgeAgentError, UnavailableError
from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.outbox import OutboxMessage

log = logging.getLogger(__name__)

POLL_S = 0.25
"""A message leaves at most so long after the moment at which it is due."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class Publisher(Protocol):
    """Takes a message on its way to the broker."""

    def is_connected(self) -> bool:
        """Tell whether the broker is connected."""

    def publish(
        self, topic: str, payload: bytes, *, correlation: bytes | None = None, expiry_s: int | None = None
    ) -> None:
        """Publish and wait for the acknowledgement; UnavailableError if there is none."""


class Sender:
    """The thread between outbox and broker.

    Args:
        store: Holds the outbox.
        publisher: The broker.
        clock: Tells which messages are due.
        confirm: Decides once more before a message with age headers leaves, and notes durably that they do; if it
            returns False, they stay, and it has taken the message back unless it has to wait.
        stop: Ends the thread.
    """

    def __init__(
        self,
        store: Database,
        publisher: Publisher,
        clock: Clock,
        confirm: Callable[[OutboxMessage], bool],
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._confirm = confirm
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="sender")

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def join(self, timeout_s: float = 12.0) -> None:
        """Wait until the thread has ended after ``stop``; a message on its way may take ten seconds of it."""
        # Wakes the thread, which waits for messages.
        self._store.outbox.pushed.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            self._store.outbox.pushed.wait(POLL_S)  # a message may also have come to its moment
            self._store.outbox.pushed.clear()
            try:
                self.turn()
                pause_s = _FIRST_PAUSE_S
            except EdgeAgentError as error:
                # Debug: the connection itself logs that the broker is away, once.
                log.debug("message waits: %s", error)
                self._stop.wait(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            except Exception:
                log.exception("outbox failed")
                self._stop.wait(_LONGEST_PAUSE_S)

    def turn(self) -> None:
        """Send what is due, once; the body of the thread. UnavailableError if the broker does not take it."""
        for message in self._due():
            # Asked first: without a connection no age header may count as handed over.
            if not self._publisher.is_connected():
                raise UnavailableError("broker is not connected")
            self._send(message)

    def _due(self) -> Iterator[OutboxMessage]:
        """Yield what is due, page by page: age headers that wait hold up nothing of other requests behind them."""
        message = None
        while page := self._store.outbox.list_due(self._clock.utc(), after=message):
            for message in page:
                yield message

    def _send(self, message: OutboxMessage) -> None:
        # PROTOCOL 9, step 7 (R2): the last decision, in the transaction that notes that the key
        # leaves.
        if message.key_of is not None and not self._confirm(message):
            return
        expiry_s = max(1, (message.expires - self._clock.utc()) // SECOND_NS)
        self._publisher.publish(
            message.topic, message.payload, correlation=message.correlation or None, expiry_s=expiry_s
        )
        # Only after the acknowledgement: a kill in between sends the same bytes again, which A10
        # lets the RTCC ignore.
        self._store.outbox.remove(message)

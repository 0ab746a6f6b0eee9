"""Messages of one connection to a broker, on their way into the state: inserted, committed, acknowledged, in batches.

Owns that order of work. It verifies nothing. A message that was not acknowledged comes again, and is one row all the
same.
"""

import contextlib
import logging
import queue
from collections.abc import Callable, Sequence

from edge_agent.mqtt.inbound_queue import Incoming
from edge_agent.protocol.answer import MAX_ANSWER_BYTES
from edge_agent.rtcc.answers import gateway_of, jti_of
from edge_agent.rtcc.state.inbound import NewMessage

RECEIVE_MAXIMUM = 512
"""Messages under way to a reader, all of which one commit may hold: reading must outpace a gateway that floods, for
others wait behind it in the broker's queue, and a commit takes as long for one message as for hundreds. At most 48 MB.
"""
_GATHER_S, _GATHER_MOST = 0.02, 64
"""So long a batch that has a message waits for the next one, while it has fewer than so many."""

log = logging.getLogger(__name__)


class Arrivals:
    """The messages of one connection. Its worker thread puts, one other thread stores.

    Args:
        store: Inserts messages, durable on return; raises ``UnavailableError`` if the state cannot be reached.
    """

    def __init__(self, store: Callable[[Sequence[NewMessage]], None]) -> None:
        self._store = store
        # Room for two connections: while the state is away, each brings the messages of the one before again.
        self._arrived: queue.Queue[Incoming | None] = queue.Queue(2 * RECEIVE_MAXIMUM)
        self._batch: list[Incoming] = []

    def put(self, incoming: Incoming) -> None:
        """Take over a message from the connection; ``queue.Full`` has it dropped, and the message come again later."""
        self._arrived.put_nowait(incoming)

    def wake(self) -> None:
        """End the wait of ``store``."""
        with contextlib.suppress(queue.Full):
            self._arrived.put_nowait(None)

    def store(self, wait_s: float) -> int:
        """Insert the next messages, commit, acknowledge; return how many there were.

        Args:
            wait_s: For the first of them, in seconds; then a little longer for those close behind it. 0 takes only
                those that are here already.

        Raises:
            UnavailableError: The state cannot be reached; nothing was acknowledged, and the next call tries again.
            ConfigError: The database refuses us; nothing was acknowledged.
        """
        if not self._batch:
            self._gather(wait_s)
        if messages := [new for each in self._batch if (new := _read_message(each)) is not None]:
            self._store(messages)
        for each in self._batch:
            each.ack()
        count, self._batch = len(self._batch), []
        return count

    def _gather(self, wait_s: float) -> None:
        while len(self._batch) < RECEIVE_MAXIMUM:
            try:
                incoming = self._arrived.get(timeout=wait_s) if wait_s else self._arrived.get_nowait()
            except queue.Empty:
                return
            if incoming is None:
                return
            self._batch.append(incoming)
            wait_s = min(wait_s, _GATHER_S) if len(self._batch) < _GATHER_MOST else 0.0


def _read_message(incoming: Incoming) -> NewMessage | None:
    """Read the exchange that a message belongs to; None, with a line in the log, if no worker could judge it."""
    gateway = gateway_of(incoming.topic)
    if gateway is None or len(incoming.payload) > MAX_ANSWER_BYTES:
        log.warning("message refused: topic=%r bytes=%d", incoming.topic[:80], len(incoming.payload))
        return None
    return NewMessage(incoming.topic, incoming.payload, gateway, jti_of(incoming.payload))

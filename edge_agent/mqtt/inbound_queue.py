"""Messages of the broker that were not dealt with yet: a bounded queue, and the worker that hands them on.

Owns the order of arrival and the rule that a message belongs to the connection that brought it: only there can it be
acknowledged, and on the next one it comes again. It knows nothing of paho, and judges no message.
"""

import contextlib
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

_POLL_S = 1.0
"""So late the worker sees that it was stopped, if no message comes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message, of which nothing but the topic filter was checked. MQTT properties are not signed."""

    topic: str
    payload: bytes
    retained: bool
    """Set on a message that the broker had kept: a request with it is refused."""
    correlation: bytes | None
    _ack: Callable[[], None] = field(repr=False)

    def ack(self) -> None:
        """Tell the broker that this message is dealt with: after the commit, from any thread, any number of times.

        Does nothing if the connection that brought the message is gone: it will come again.
        """
        self._ack()


class InboundQueue:
    """The queue and the body of its worker.

    Args:
        most: How many messages there is room for; twice as many are kept.
        handle: Takes one message at a time. If it raises, ``give_up`` is called.
        is_current: Tells whether a connection, by its number, is still the one.
        give_up: Drops that connection, so that its messages come again.
        counts: For ``status``.
        stop: Ends the worker.
    """

    def __init__(
        self,
        most: int,
        handle: Callable[[Incoming], None],
        *,
        is_current: Callable[[int], bool],
        give_up: Callable[[int], None],
        counts: Counter[str],
        stop: threading.Event,
    ) -> None:
        self._most, self._handle, self._is_current, self._give_up = most, handle, is_current, give_up
        self._counts, self._stop = counts, stop
        self._queue: queue.Queue[tuple[int, Incoming] | None] = queue.Queue(2 * most)

    def __len__(self) -> int:
        return self._queue.qsize()

    def has_room(self) -> bool:
        """Tell whether more may be read from the broker."""
        return self._queue.qsize() < self._most

    def put(self, generation: int, incoming: Incoming) -> None:
        """Queue a message of a connection."""
        try:
            self._queue.put_nowait((generation, incoming))
        except queue.Full:
            # Not reached while the network loop reads only if there is space; unacknowledged, it would come again.
            self._counts["dropped-full"] += 1

    def wake(self) -> None:
        """Let the worker see that it was stopped."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)

    def run(self) -> None:
        """Hand messages on until ``stop``: the body of the worker thread."""
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            # A message of an earlier connection cannot be acknowledged any more; it comes again.
            if item is None or not self._is_current(item[0]):
                continue
            generation, incoming = item
            try:
                self._handle(incoming)
            except Exception:
                self._counts["handler-failed"] += 1
                log.exception("message not dealt with, it will come again: topic=%s", incoming.topic)
                # Its connection goes: MQTT 5 redelivers only after a new connection (section 4.4).
                self._give_up(generation)

"""Opens rings at the start of the recorder, one after the other, and waits for none of them for ever.

Owns the bound. A disk that does not answer (a dead drive, a network share that is away) keeps a thread, and with it its
own camera, and holds up no other: a ring that is not open in time opens when the disk answers.
"""

import logging
import threading
from collections.abc import Callable

from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

log = logging.getLogger(__name__)

RING_WITHIN_NS = 10 * SECOND_NS
"""So long one ring is waited for: reading the header pages of the largest takes about a second from a slow card."""
ALL_WITHIN_NS = 45 * SECOND_NS
"""So long all of them are: half of the time that systemd and ``edge-agent run`` give a process until it is ready."""


class FirstOpening:
    """Opens the rings of one start.

    Args:
        clock: Its time since boot is used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = MonoNs(clock.boot() + ALL_WITHIN_NS)

    def open(self, name: str, work: Callable[[], UtcNs | None]) -> UtcNs | None:
        """Return what ``work`` returns, or None if it takes too long: then it goes on by itself.

        An error that ``work`` raises in time is raised here.
        """
        done: list[UtcNs | None] = []
        failed: list[Exception] = []
        is_late = threading.Event()

        def run() -> None:
            try:
                done.append(work())
            except Exception as error:
                failed.append(error)
                if is_late.is_set():
                    log.exception("ring cannot be opened stream=%s", name)

        # A daemon: a disk that does not answer must not keep the process from ending.
        thread = threading.Thread(target=run, name=f"open {name}", daemon=True)
        thread.start()
        # If no time is left, the ring still has its thread: it opens when its disk answers.
        left_ns = max(0, min(RING_WITHIN_NS, self._until - self._clock.boot()))
        thread.join(left_ns / SECOND_NS)
        if thread.is_alive():
            is_late.set()
            log.error("ring's disk does not answer, others go on without it stream=%s", name)
            return None
        if failed:
            raise failed[0]
        return done[0]

"""The moment at which a message is acknowledged: it says nothing about the verdict (PROTOCOL 4, C1a).

A watcher of the wire sees a message arrive and its PUBACK leave. The time between them tells an ask from a denial, as
each writes another number of rows. So the moments at which a message may be acknowledged are fixed as it arrives: every
``STEP_NS`` from then on. It is acknowledged at the first of them that comes after the commit.
"""

from collections.abc import Callable

from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS, MonoNs

STEP_NS = SECOND_NS // 2
"""A commit on a Raspberry Pi's SD card takes 20 to 120 ms; the second step is for a card that stalls."""


class AckPace:
    """Holds the worker until a message may be acknowledged.

    Args:
        clock: Its time since boot, which no step of the wall clock moves.
        wait: Waits so many seconds, and tells whether the process ends meanwhile: ``threading.Event.wait`` of the
            process's stop.
    """

    def __init__(self, clock: Clock, wait: Callable[[float], bool]) -> None:
        self._clock = clock
        self._wait = wait

    def arrive(self) -> MonoNs:
        """Return the moment of arrival, from which the steps are counted: before anything of a message is read."""
        return self._clock.boot()

    def hold(self, arrival: MonoNs) -> bool:
        """Wait for the first step after now; False if the process ends first, and the message must come again."""
        due = find_step(arrival, self._clock.boot())
        while (left_ns := due - self._clock.boot()) > 0:
            if self._wait(left_ns / SECOND_NS):
                return False
        return True


def find_step(arrival: MonoNs, done: MonoNs) -> MonoNs:
    """Return ``arrival + k * STEP_NS``, k the least from 1 on that is not before ``done``."""
    return MonoNs(arrival + max(1, -((arrival - done) // STEP_NS)) * STEP_NS)

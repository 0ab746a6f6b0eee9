"""How long to wait before the next attempt: 1 s, doubling to a minute, with jitter, for ever. Pure but for its dice."""

import random

from edge_agent.units import MINUTE_NS, SECOND_NS

FIRST_NS = SECOND_NS
LONGEST_NS = MINUTE_NS


class Backoff:
    """The waits between failed attempts."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._next_ns = FIRST_NS

    def next_ns(self) -> int:
        """Return the next wait, a quarter more or less than the step, so that cameras do not come back at once."""
        wait_ns = self._next_ns
        self._next_ns = min(LONGEST_NS, 2 * self._next_ns)
        return min(LONGEST_NS, wait_ns * self._dice.randrange(750, 1250) // 1000)

    def reset(self) -> None:
        """Begin again at the shortest wait: there was footage."""
        self._next_ns = FIRST_NS

"""The next connection, by the fate of earlier ones: which broker is tried, whether its session begins anew. Pure."""

from collections.abc import Sequence

from edge_agent.units import SECOND_NS, MonoNs

SHORT_LIVES, SHORT_LIFE_NS = 4, 5 * SECOND_NS
"""A session that a broker accepts and cuts off so often in a row, before any message came, is given up: some brokers
come back from a restart with a session that they cannot serve ("missing packet id"), and would lock this gateway out
indefinitely. Messages that waited in it could not arrive, and a line that breaks lets messages through now and then."""


class Attempts:
    """The attempts of one client.

    Args:
        addresses: Hosts and ports, tried in turn; a Server Reference is never followed (PROTOCOL 2,
        M5).
    """

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = tuple(addresses)
        self._current = 0
        self._accepted_at: MonoNs | None = None
        self._is_fruitful = False
        self._short_lives = 0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the next connection."""
        return self._addresses[self._current]

    def accept(self, now: MonoNs) -> None:
        """Note that the broker let us in."""
        self._accepted_at, self._is_fruitful = now, False

    def spare(self) -> None:
        """Note that a message came, or that we end the connection: its end is no sign of a session that is broken."""
        self._is_fruitful = True

    def lose(self, now: MonoNs) -> None:
        """Note that a connection, or an attempt, has ended."""
        if self._accepted_at is None:
            self._current = (self._current + 1) % len(self._addresses)
        elif self._is_fruitful or now - self._accepted_at >= SHORT_LIFE_NS:
            self._short_lives = 0
        else:
            self._short_lives += 1
        self._accepted_at = None

    def begins_anew(self) -> bool:
        """Tell whether the session is given up; once, until it happened so often again."""
        if self._short_lives < SHORT_LIVES:
            return False
        self._short_lives = 0
        return True

"""One HTTP connection of the page: so many seconds for each request. How many there may be is counted before it.

A browser asks at once. A peer that holds a connection without asking would keep the page from the household: uvicorn
itself bounds the time between two requests only.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_OF_ONE_ADDRESS = 12
"""Browsers open six."""
MAX_IN_ALL = 64
"""Of all addresses: each is a socket, a TLS object and their memory, which the unit bounds."""
ASK_WITHIN_S = 10.0
"""From the connection, or from the answer before, to the last byte of a request."""


class PageConnection(H11Protocol):
    """uvicorn's HTTP/1.1 by h11, with a bound on waiting."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection."""
        super().connection_made(transport)
        self._await_request()

    def handle_events(self) -> None:
        """Read. A request that was begun must be whole in time, body included; its answer need not be."""
        super().handle_events()
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._await_request()
        else:
            self._await_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the waiting."""
        self._await_nothing()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline is None:  # bytes that trickle in do not put it off
            self._deadline = self.loop.call_later(ASK_WITHIN_S, self.transport.abort)

    def _await_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

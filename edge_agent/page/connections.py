"""One HTTP connection of the page: at most so many from one address, and so many seconds for what was begun.

A browser asks at once. What holds a connection without asking would hold the page from the household: uvicorn itself
bounds all connections together, and the time between two requests only.
"""

import asyncio
from collections import Counter

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_OF_ONE_ADDRESS = 12
"""Browsers open six."""
ASK_WITHIN_S = 10.0
_open: Counter[str] = Counter()


class PageConnection(H11Protocol):
    """uvicorn's HTTP/1.1 by h11, with the two bounds."""

    _address = ""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or end it at once."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        _open[self._address] += 1
        if _open[self._address] > MAX_OF_ONE_ADDRESS:
            transport.abort()
            return
        self._await_request()

    def handle_events(self) -> None:
        """Read what came. A request that was begun must be whole in time, body included; its answer need not be."""
        super().handle_events()
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._await_request()
        else:
            self._await_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the address its place back."""
        self._await_nothing()
        _open[self._address] -= 1
        if _open[self._address] <= 0:
            del _open[self._address]
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline is None:  # bytes that trickle in do not put it off
            self._deadline = self.loop.call_later(ASK_WITHIN_S, self.transport.abort)

    def _await_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

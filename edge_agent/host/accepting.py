"""Connections are counted when they are accepted, before a byte of TLS: of one address, and of all together.

A server of HTTP counts a connection only after the handshake, and a client that never begins one costs a socket, a TLS
object and their memory all the same. Knows neither HTTP nor certificates.
"""

import asyncio
import socket
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

HANDSHAKE_TIMEOUT_S = 5.0
"""To begin TLS and to end it; asyncio's own limits are 60 s and 30 s."""


class ConnectionPlaces:
    """How many connections may be open, over all the sockets that share it. One thread.

    Args:
        of_one_address: At most.
        in_all: At most.
    """

    def __init__(self, of_one_address: int, in_all: int) -> None:
        self._of_one_address, self._in_all = of_one_address, in_all
        self._open: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """Give a connection of this address a place; False if there is none."""
        if self._open[address] >= self._of_one_address or self._open.total() >= self._in_all:
            return False
        self._open[address] += 1
        return True

    def give_back(self, address: str) -> None:
        """Free the place of a connection that is closed."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class _Accepted(socket.socket):
    """A connection whose place is freed when it is closed, by whomever and whenever."""

    def __init__(self, plain: socket.socket, on_closed: Callable[[], None]) -> None:
        super().__init__(plain.family, plain.type, plain.proto, plain.detach())
        # A finalizer runs once: closing twice frees one place, and an object that nobody closed frees its own.
        self._closed_once = weakref.finalize(self, on_closed)

    def close(self) -> None:
        super().close()
        self._closed_once()


class CountingListener(socket.socket):
    """A listening socket that accepts what has a place, and closes the rest at once.

    Args:
        plain: The socket that listens; it is taken over.
        places: May be shared with other listeners.
    """

    def __init__(self, plain: socket.socket, places: ConnectionPlaces) -> None:
        super().__init__(plain.family, plain.type, plain.proto, plain.detach())
        self._places = places

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; ConnectionAbortedError, which asyncio passes over, if it has no place."""
        plain, peer = super().accept()
        address = str(peer[0])
        if not self._places.take(address):
            plain.close()
            raise ConnectionAbortedError
        return _Accepted(plain, lambda: self._places.give_back(address)), peer


class QuickHandshakeLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait no longer than ``HANDSHAKE_TIMEOUT_S`` for either end of TLS."""

    async def create_server(self, *args: Any, **options: Any) -> Any:
        """Serve, with the limits."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_TIMEOUT_S)
            options.setdefault("ssl_shutdown_timeout", HANDSHAKE_TIMEOUT_S)
        return await super().create_server(*args, **options)

"""The connections of the upload server: the gateway of each, their number per certificate, and how long one may idle.

Owns the numbers, and everything between the handshake and the first request. A connection that says nothing is closed,
and one certificate cannot take the places of the others, nor one address those of all.
"""

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 16
"""Per certificate; a gateway uses one per upload under way, and one at a time."""
MAX_OF_ONE_ADDRESS = 128
"""Counted before the handshake has shown a certificate. A provider may have many homes behind one address."""
MAX_IN_ALL = 1024
"""Each is an open file, and so is each upload: docs/rtcc.md asks for ``ulimit -n 4096``."""
HEAD_TIMEOUT_S = 10.0
"""From the handshake, or from the first byte of a further request, to the end of the request's head."""

log = logging.getLogger(__name__)


class PeerProtocol(H11Protocol):
    """Puts the client's certificate and its CN into the state of every request, and bounds what one may hold open."""

    _peer = ""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Note whose the connection is; close one too many."""
        super().connection_made(transport)
        subject = (transport.get_extra_info("peercert") or {}).get("subject", ())
        names = [value for part in subject for name, value in part if name == "commonName"]
        # Two common names could be read as two gateways: such a certificate names no gateway.
        self._peer = names[0] if len(names) == 1 else ""
        connection = transport.get_extra_info("ssl_object")
        shown = connection.getpeercert(binary_form=True) if connection is not None else None
        self.app_state = {**self.app_state, "peer": self._peer, "certificate": shown or b""}
        if sum(getattr(each, "_peer", "") == self._peer for each in self.connections) > MAX_CONNECTIONS:
            log.warning("too many connections of one certificate: gateway=%s", self._peer)
            transport.abort()
            return
        self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End every waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; while the head of a request is not whole, it has until the deadline that it began with."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def on_response_complete(self) -> None:
        """Let uvicorn wait for the next request: its own deadline holds until a byte of that one comes."""
        self._stop_waiting()
        super().on_response_complete()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

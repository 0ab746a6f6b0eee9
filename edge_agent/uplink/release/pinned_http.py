"""HTTPS to the RTCC's own servers: our certificate and its authorities, and nothing that the system believes besides.

Owns the adapter of requests, and a call that is small. No redirect, no proxy, no certificate store; every call has a
time-out, and an answer that does not end is cut off.
"""

import ssl
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from edge_agent.errors import DeliveryError
from edge_agent.host.clock import Clock
from edge_agent.mqtt.mutual_tls import watch_reads
from edge_agent.units import SECOND_NS

PIECE_BYTES = 64 << 10
"""Read and sent at once; between two pieces an upload can be stopped."""
_TIMEOUTS_S = (10.0, 30.0)
"""To connect, and between two bytes of an answer."""
_WHOLE_S = 60
"""For a whole call: a server that sends a byte every 29 s would meet neither time-out."""


class PinnedAdapter(HTTPAdapter):
    """Connections with our TLS context alone: requests would add the public authorities to it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool: Any) -> None:
        """Make connections of our context."""
        super().init_poolmanager(connections, maxsize, block, blocksize=PIECE_BYTES, ssl_context=self._context, **pool)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:  # noqa: ARG002
        """Keep connections of another context apart: their certificate may be an older one."""
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the connection as the context has it."""


def post_small(url: str, context: ssl.SSLContext, body: bytes, media_type: str, most_bytes: int, clock: Clock) -> bytes:
    """Send a small body and return a small answer.

    Raises:
        DeliveryError: No answer in time, another status than 200, or more than ``most_bytes``.
    """
    due = clock.boot() + _WHOLE_S * SECOND_NS

    def check() -> None:
        if clock.boot() > due:
            raise TimeoutError("answer does not end")

    watch_reads(context, check)
    adapter = PinnedAdapter(context)
    request: Any = requests.Request("POST", url, {"Content-Type": media_type}, data=body)
    try:
        response = adapter.send(request.prepare(), stream=True, timeout=_TIMEOUTS_S)
        if response.status_code != 200:
            raise DeliveryError(f"server refuses: status={response.status_code}")
        # One byte more than allowed tells a long answer from a full one, and no length header is
        # believed.
        content: bytes = response.raw.read(most_bytes + 1)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise DeliveryError(f"server does not answer: {type(error).__name__}: {error}"[:300]) from error
    finally:
        adapter.close()
    if len(content) > most_bytes:
        raise DeliveryError(f"answer is too long: limit={most_bytes}")
    return content

"""The simulated camera's RTSP server: its clients, and their rights.

Owns RTSP 1.0 (RFC 2326) as far as cameras speak it, over its clients; the faults that a camera's server can have.
"""

import socket
import threading
from collections.abc import Callable, Sequence

from edge_agent.demo.faults import FaultPlan
from edge_agent.demo.rtsp_client import SEND_TIMEOUT_S, Client
from edge_agent.demo.rtsp_login import Account
from edge_agent.demo.rtsp_request import RtspRequest
from edge_agent.demo.source import CodedUnit, Medium
from edge_agent.host.clock import Clock
from edge_agent.units import MonoNs

_OFFERS = {
    "sha256-only": ("SHA-256",),
    "md5-then-sha256": ("MD5", "SHA-256"),
    "sha256-then-md5": ("SHA-256", "MD5"),
}
"""By fault: the algorithms of the Digest challenges, in their order."""


class RtspServer:
    """Accepts clients of one camera and hands them its access units."""

    def __init__(
        self,
        path: str,
        media: Sequence[Medium],
        account: Account,
        plan: FaultPlan,
        clock: Clock,
        request_keyframe: Callable[[], None],
    ) -> None:
        self.path = path
        self.media = tuple(media)
        self.clock = clock
        self._account = account
        self._plan = plan
        self._request_keyframe = request_keyframe
        self._clients: list[Client] = []
        self._lock = threading.Lock()
        self._stale_sessions = 0
        self.requests = 0
        """How many requests were read, of all clients."""
        self.wrong_logins = 0
        """How many of them had a login that was refused."""

    def bind(self, port: int) -> int:
        """Listen on loopback; return the port."""
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.2)
        return int(self._listener.getsockname()[1])

    def serve(self, stop: threading.Event) -> None:
        """Accept clients until ``stop`` is set, then close all of them."""
        while not stop.is_set():
            if self.is_on("reboot"):
                self.drop_clients()
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(None)
            self._welcome(connection)
        self._listener.close()
        self.drop_clients()

    def _welcome(self, connection: socket.socket) -> None:
        if self.is_on("reboot"):
            connection.close()
            return
        # Only sends time out: a client may be silent for as long as it likes.
        seconds = int(SEND_TIMEOUT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds.to_bytes(8, "little") + bytes(8))
        client = Client(connection, self)
        # A call that drops all clients waits for their threads: nobody is on the list whose threads have not been
        # started.
        with self._lock:
            self._clients.append(client)
            client.start()

    def deliver(self, unit: CodedUnit) -> None:
        """Hand one access unit to every client that plays."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.offer(unit)

    def drop_clients(self) -> None:
        """Close every connection without a word, and wait for their threads."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.close()
        for client in clients:
            client.join()

    def forget(self, client: Client) -> None:
        """Take a client off the list; its end without TEARDOWN leaves a stale session."""
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)
                self._stale_sessions += bool(client._transports) and not client.ended_with_teardown

    def has_players(self) -> bool:
        """Tell whether anybody watches."""
        with self._lock:
            return any(client.is_playing for client in self._clients)

    def is_on(self, fault: str) -> bool:
        """Tell whether a fault is on now."""
        return self._plan.is_on(fault, MonoNs(self.clock.boot()))

    def is_busy(self, client: Client) -> bool:
        """Tell whether a SETUP is to be refused with 453."""
        return self.is_on("busy") or (self.is_on("stale-session") and self._stale_sessions > 0 and bool(client))

    def joins_anywhere(self) -> bool:
        """Tell whether a new client starts in the middle of a GOP."""
        return self.is_on("mid-gop") or self.is_on("no-keyframes")

    def wants_keyframe(self) -> None:
        """Ask the source for a keyframe, for a client that has just started to play."""
        if not self.joins_anywhere():
            self._request_keyframe()

    def describe(self) -> bytes:
        """Write the SDP."""
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=camera", "c=IN IP4 0.0.0.0", "t=0 0", "a=control:*"]
        for track, medium in enumerate(self.media):
            payload_type, rtpmap = medium.payload_type, medium.rtpmap
            if medium.kind == "video" and self.is_on("wrong-codec"):
                payload_type, rtpmap = 98, "theora/90000"
            if medium.kind == "video" and self.is_on("unknown-codec"):
                rtpmap = "X-SMART/90000"
            lines += [f"m={medium.kind} 0 RTP/AVP {payload_type}", f"a=rtpmap:{payload_type} {rtpmap}"]
            if medium.kind == "audio" and self.is_on("unknown-sound"):
                lines[-1] = f"a=rtpmap:{payload_type} G726-32/8000"
            is_told = medium.fmtp and not (medium.kind == "video" and self.is_on("no-sets"))
            lines += [f"a=fmtp:{payload_type} {medium.fmtp}"] if is_told else []
            lines.append(f"a=control:track{track}")
        return "\r\n".join(lines).encode() + b"\r\n"

    @property
    def _algorithms(self) -> tuple[str, ...]:
        return next((offered for fault, offered in _OFFERS.items() if self.is_on(fault)), ("",))

    def challenges(self, nonce: str, *, is_stale: bool) -> list[tuple[str, str]]:
        """Return the ``WWW-Authenticate`` headers."""
        return self._account.challenges(nonce, self._algorithms, is_stale=is_stale)

    def admits(self, request: RtspRequest, nonce: str) -> bool:
        """Check a request's credentials."""
        if not self.is_on("unauthorized") and self._account.admits(request, nonce, self._algorithms):
            return True
        self.wrong_logins += "authorization" in request.headers
        return False

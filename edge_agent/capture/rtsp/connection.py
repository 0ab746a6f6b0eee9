"""The sockets of our own RTSP reader: one connection to one camera, its requests, its login, its TLS.

Owns every system call of the reader, and the time that each may take. The certificate is verified before the first
byte is sent. Must never dial another address than the configured one, nor send a password that was refused again.
"""

import contextlib
import errno
import secrets
import select
import socket
import ssl
import threading
import time
from collections import deque
from typing import NamedTuple
from urllib.parse import urlsplit

from edge_agent.capture.camera_tls import RTSPS_PORT, system_trust, verifying_context
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.allowance import ROUND_NS, WORK_BYTES, Allowance
from edge_agent.capture.rtsp.messages import (
    USER_AGENT,
    RtspResponse,
    RtspSyntaxError,
    encode_request,
    parse_response,
)
from edge_agent.capture.rtsp.split import Pieces, Splitter
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.login import LoginOffer, answer, choose, read_offers
from edge_agent.host.clock import Clock
from edge_agent.host.packet_stamp import SO_TIMESTAMPNS, STAMP_BYTES, StampAges
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

RTSP_PORT = 554
_STAMP_SPACE = socket.CMSG_SPACE(STAMP_BYTES)
CHUNK_BYTES = 64 << 10
MOST_AHEAD_BYTES = 1 << 20
"""Of media that come before the last answer of an opening, in memory."""
PLACE_BYTES = 128
"""Of a frame's place in memory, besides what it holds: an empty one takes 4 bytes of a chunk."""
_MOST_MESSAGES = 8
"""Of which the answer that is waited for is looked for; a flood of them is not even parsed."""
_LEAST_S, _STEP_S = 0.01, 0.5
"""Shortest and longest wait for bytes; then it is asked whether anybody still wants them."""
_SEND_S = 2.0
_GOODBYE_NS = SECOND_NS // 2
_REASONS = {401: "unauthorized", 403: "unauthorized", 404: "not-found", 453: "busy", 461: "transport-refused"}


class Received(NamedTuple):
    """A chunk taken apart, and when it came."""

    pieces: Pieces
    utc: UtcNs
    boot: MonoNs


class RtspConnection:
    """One connection. One thread at a time: it is opened and closed in one, and read in another. Close it.

    Args:
        endpoint: With which login, and whose certificate.
        url: Where; of the endpoint's host.
        clock: The gateway's clocks.
        deadline: By the time since boot: until then everything that opens a session has to be done.
        released: Set when nobody wants the session any more.

    Raises:
        CaptureError: No connection, or a certificate that is not the camera's.
    """

    def __init__(self, endpoint: Endpoint, url: str, clock: Clock, deadline: MonoNs, released: threading.Event) -> None:
        self._login, self._clock, self._deadline = (endpoint.username, endpoint.password), clock, deadline
        self._splitter = Splitter()
        self._number = 0
        self._offer: LoginOffer | None = None
        self._uses = 0
        self._messages: deque[tuple[bytes, bytes]] = deque(maxlen=_MOST_MESSAGES)
        self._ahead_bytes = 0
        self.ahead: deque[Received] = deque()
        """Media that came before the session was read."""
        self.session = ""
        self._outbox, self._outbox_until = b"", MonoNs(0)
        self._takes_nothing = False
        """Nothing can be sent any more; what the camera sent before it went is read all the same."""
        self.allowance = Allowance(clock.boot())
        """Of the camera; the work on its packets is to be taken off as well."""
        self.is_drained = False
        """Nothing lay behind the last chunk."""
        self.released = released
        self._ages = StampAges()
        self.is_stamped = False
        """The kernel says when bytes came: over TLS nobody but us knows."""
        self._socket = self._connect(endpoint, url)
        self._timeout_s: float | None = None

    def _connect(self, endpoint: Endpoint, url: str) -> socket.socket:
        parts = urlsplit(url)
        is_tls = parts.scheme == "rtsps"
        address = (parts.hostname or "", parts.port or (RTSPS_PORT if is_tls else RTSP_PORT))
        try:
            plain = socket.create_connection(address, max(_LEAST_S, self._left_s()))
        except TimeoutError:
            raise CaptureError("no-answer") from None
        except OSError as error:
            raise CaptureError("unreachable", errno.errorcode.get(error.errno or 0, type(error).__name__)) from None
        try:
            # Requests are small and waited for: Nagle's algorithm would hold one back until the one before is acked.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if is_tls:
                return self._secure(plain, endpoint, parts.hostname or "")
            with contextlib.suppress(OSError):  # gVisor and qemu-user have no stamps, and record all the same
                plain.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                self.is_stamped = True
            return plain
        except BaseException:
            plain.close()
            raise

    def _secure(self, plain: socket.socket, endpoint: Endpoint, host: str) -> socket.socket:
        plain.settimeout(max(_LEAST_S, self._left_s()))
        try:
            trust = endpoint.trust or system_trust()
            return verifying_context(trust).wrap_socket(plain, server_hostname=trust.verify_host or host)
        except (OSError, ValueError) as error:
            # ``session.diagnosis`` asks for the certificate once more, and tells its fault in words.
            raise CaptureError("unreachable", type(error).__name__) from None

    # Requests

    def ask(self, method: str, url: str, headers: tuple[tuple[str, str], ...] = ()) -> RtspResponse:
        """Send a request and return its answer, whatever its status; log in if that is asked for.

        A login is sent once: again only if the camera says that the nonce has become stale.

        Raises:
            CaptureError: No answer until the deadline, no RTSP, or the connection is closed.
        """
        response = self._exchange(method, url, headers)
        # Twice: the first challenge, and one for a nonce that has gone stale meanwhile.
        for _ in range(2):
            if response.status != 401 or not self.take_offer(response):
                break
            response = self._exchange(method, url, headers)
        return response

    def demand(self, method: str, url: str, headers: tuple[tuple[str, str], ...] = ()) -> RtspResponse:
        """Do as ``ask``; CaptureError if the camera refuses."""
        response = self.ask(method, url, headers)
        if response.status >= 400 or response.status < 200:
            reason = _REASONS.get(response.status, "refused")
            raise CaptureError(reason, f"status={response.status}")
        return response

    def post(self, method: str, url: str) -> None:
        """Send a request as far as that is possible without waiting, the rest whenever ``look`` is called.

        Its answer is not waited for (``take_answers``). If it cannot be sent, or is not taken within a moment, nothing
        more is sent: how the connection ends is told by what is read.
        """
        if self._takes_nothing:
            return
        if not self._outbox:
            self._outbox_until = MonoNs(self._clock.boot() + int(_SEND_S * SECOND_NS))
        self._outbox += self._write(method, url, ())
        self._set_timeout(0)
        self._send_rest()

    def take_answers(self) -> list[RtspResponse]:
        """Return the answers that have come since the last call."""
        return self._parse_answers()

    def take_offer(self, response: RtspResponse) -> bool:
        """Choose a way to log in by a 401; False if there is none, or the camera refused our answer.

        Raises:
            CaptureError: The camera takes Basic alone, and the user's name has a colon.
        """
        offers = read_offers(response.head)
        offer = choose(offers, may_send_password=True)
        if not self._login[0] or offer is None or (self._offer is not None and not offer.is_stale):
            return False
        if offer.scheme == "basic" and ":" in self._login[0]:
            raise CaptureError("login-unusable")
        self._offer, self._uses = offer, 0
        return True

    def _parse_answers(self) -> list[RtspResponse]:
        if not self._messages:
            return []
        parsed = [parse_response(head, body) for head, body in self._messages]
        self._messages.clear()
        return [response for response in parsed if response is not None]

    def _exchange(self, method: str, url: str, headers: tuple[tuple[str, str], ...]) -> RtspResponse:
        self._messages.clear()
        try:
            self._send(method, url, headers)
            while True:
                received = self.receive(self._left_s())
                if self._clock.boot() > self._deadline or self.released.is_set():
                    raise CaptureError("no-answer")
                if received is None:
                    continue
                if received.pieces.frames:
                    self._keep(received)
                # Some cameras leave the number out; an answer to another request is passed over.
                for response in self._parse_answers():
                    if response.number in (self._number, -1):
                        return response
        except OSError:
            raise CaptureError("no-answer") from None
        except RtspSyntaxError as error:
            raise CaptureError("protocol-error", str(error)) from None

    def _keep(self, received: Received) -> None:
        self._ahead_bytes += len(received.pieces.data) + PLACE_BYTES * len(received.pieces.frames)
        if self._ahead_bytes <= MOST_AHEAD_BYTES:
            self.ahead.append(received)

    def _send(self, method: str, url: str, headers: tuple[tuple[str, str], ...]) -> None:
        request, self._outbox = self._outbox + self._write(method, url, headers), b""
        self._set_timeout(_SEND_S)
        self._socket.sendall(request)

    def _write(self, method: str, url: str, headers: tuple[tuple[str, str], ...]) -> bytes:
        self._number += 1
        own = [("CSeq", str(self._number)), ("User-Agent", USER_AGENT)]
        own += [("Session", self.session)] if self.session else []
        if self._offer is not None:
            self._uses += 1
            signed = answer(self._offer, method, url, self._login, secrets.token_hex(8), self._uses)
            own.append(("Authorization", signed))
        try:
            return encode_request(method, url, [*own, *headers])
        except RtspSyntaxError:
            raise CaptureError("protocol-error", "a request cannot be written") from None

    # Bytes

    def _left_s(self) -> float:
        return (self._deadline - self._clock.boot()) / SECOND_NS

    def receive(self, timeout_s: float) -> Received | None:
        """Wait for bytes, a moment at most, and take them apart; None if none came, or the camera has to wait.

        Raises:
            OSError: The connection is closed or broken.
            RtspSyntaxError: The camera is out of step.
        """
        self._splitter.check()
        self.allowance.renew(self._clock.boot())
        if self.allowance.is_spent:
            # Not for ``released``: a connection that is closed is released, and would spin here.
            time.sleep(max(0.0, min(timeout_s, ROUND_NS / SECOND_NS)))
            return None
        self._set_timeout(max(_LEAST_S, min(_STEP_S, timeout_s)))
        try:
            return self._take_apart(*self._receive_chunk())
        except (TimeoutError, ssl.SSLWantReadError):
            # Nothing within this step; the caller knows its own deadline.
            return None

    def look(self) -> Received | None:
        """Take apart what has come, a chunk of it, without waiting; None if nothing has.

        Raises:
            OSError: The connection is closed or broken.
            RtspSyntaxError: The camera is out of step.
        """
        self._splitter.check()
        self._set_timeout(0)
        self._send_rest()
        try:
            return self._take_apart(*self._receive_chunk())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            # Nothing more in this round.
            return None

    def _send_rest(self) -> None:
        if not self._outbox:
            return
        is_broken = False
        try:
            self._outbox = self._outbox[self._socket.send(self._outbox) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            # The camera takes nothing now: the rest goes out at a later look.
            pass
        except OSError:
            is_broken = True
        if is_broken or (self._outbox and self._clock.boot() > self._outbox_until):
            self._outbox, self._takes_nothing = b"", True

    def _take_apart(self, chunk: bytes, late_ns: int) -> Received:
        utc, boot = UtcNs(self._clock.utc() - late_ns), MonoNs(self._clock.boot() - late_ns)
        if not chunk:
            raise ConnectionResetError("closed")
        pieces = self._splitter.feed(chunk)
        # A chunk that is not full was all there was; TLS hands out records, which say nothing of that.
        self.is_drained = len(chunk) < CHUNK_BYTES and not self.is_tls
        if pieces.messages:
            self._messages.extend(each for each in pieces.messages if each[0].startswith(b"RTSP/"))
        self.allowance.spend(1 + len(chunk) // WORK_BYTES + pieces.steps)
        return Received(pieces, utc, boot)

    def _set_timeout(self, timeout_s: float) -> None:
        if timeout_s != self._timeout_s:
            self._socket.settimeout(timeout_s)
            self._timeout_s = timeout_s

    def _receive_chunk(self) -> tuple[bytes, int]:
        """Return bytes, and how long ago the last of them came, as far as the kernel tells."""
        if self.is_tls:
            return self._socket.recv(CHUNK_BYTES), 0
        self._ages.look()
        try:
            chunk, told, _, _ = self._socket.recvmsg(CHUNK_BYTES, _STAMP_SPACE)
        except (TimeoutError, BlockingIOError):
            self._ages.note_empty()
            raise
        return chunk, self._ages.take(told[0][2] if told else b"", is_all=len(chunk) < CHUNK_BYTES)

    @property
    def is_tls(self) -> bool:
        """Tell whether the connection is encrypted."""
        return isinstance(self._socket, ssl.SSLSocket)

    def fileno(self) -> int:
        """Return the socket's number."""
        return self._socket.fileno()

    def wait(self, *, is_hurried: bool) -> None:
        """Wait until the next round, or also for bytes, if they are to be read as they come."""
        if is_hurried:
            poller = select.poll()  # ``select`` takes no descriptor above 1023
            poller.register(self._socket, select.POLLIN)
            poller.poll(_STEP_S * 1000)
        else:
            self.released.wait(ROUND_NS / SECOND_NS)

    def close(self, url: str = "") -> None:
        """Close the connection.

        Args:
            url: Of the stream, if a session is to be torn down first. Then a moment is spent on reading what still
                comes: a connection that is closed with unread bytes is reset, and the camera may lose the TEARDOWN.
        """
        with contextlib.suppress(OSError, CaptureError, RtspSyntaxError), self._socket:
            if not url or not self.session or self._takes_nothing:
                return
            self._send("TEARDOWN", url, ())
            self._messages.clear()
            until = self._clock.boot() + _GOODBYE_NS
            while (left_ns := until - self._clock.boot()) > 0 and not self._messages:
                self.receive(left_ns / SECOND_NS)

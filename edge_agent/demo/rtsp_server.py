"""The simulated camera's RTSP server: sessions, authentication, transports.

Owns RTSP 1.0 (RFC 2326) as far as cameras speak it, with Digest and Basic (RFC 2617). One thread reads a client's
requests, another sends to it; a client that does not keep up loses access units, never the camera's time.
"""

import base64
import contextlib
import hashlib
import logging
import queue
import random
import re
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from edge_agent.clock import Clock
from edge_agent.demo import rtp
from edge_agent.demo.faults import FaultPlan
from edge_agent.demo.source import CodedUnit, Medium
from edge_agent.units import SECOND_NS, MonoNs

log = logging.getLogger(__name__)

_MAX_REQUEST_BYTES = 16 * 1024
_QUEUE_UNITS = 256
_SEND_TIMEOUT_S = 5.0
_REPORT_EVERY_NS = 2 * SECOND_NS
_REALM = "camera"
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
            453: "Not Enough Bandwidth", 454: "Session Not Found", 455: "Method Not Valid",
            461: "Unsupported Transport"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Account:
    """Who may watch; without a user name everybody may."""

    username: str = ""
    password: str = field(default="", repr=False)
    basic: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One RTSP request."""

    method: str
    url: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The URL's path without the track."""
        return re.sub(r"^rtsps?://[^/]*", "", self.url).split("?")[0].split("/track")[0].rstrip("/") or "/"


@dataclass(slots=True)
class _Transport:
    """Where one track of one client goes, and its counters."""

    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    sequence: int = field(default_factory=lambda: random.getrandbits(16))
    channel: int = -1
    sockets: tuple[socket.socket, socket.socket] | None = None
    address: tuple[str, int] = ("", 0)
    packets: int = 0
    octets: int = 0
    next_report_boot: int = 0


class Client:
    """One connection: its session, its transports and its two threads."""

    def __init__(self, connection: socket.socket, server: "RtspServer") -> None:
        self._connection = connection
        self._server = server
        self._session = ""
        self._nonce = secrets.token_hex(8)
        self._transports: dict[int, _Transport] = {}
        self._units: queue.Queue[CodedUnit | None] = queue.Queue(_QUEUE_UNITS)
        self._write_lock = threading.Lock()
        self._waits_for_keyframe = True
        self.is_playing = False
        self.ended_with_teardown = False
        self._threads = [
            threading.Thread(target=self._read, name="demo-rtsp-read", daemon=True),
            threading.Thread(target=self._send, name="demo-rtsp-send", daemon=True),
        ]

    def start(self) -> None:
        """Start to serve."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Drop the connection without a word."""
        self.is_playing = False
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(queue.Full):
            self._units.put_nowait(None)

    def join(self) -> None:
        """Wait for both threads."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(2 * _SEND_TIMEOUT_S)

    def offer(self, unit: CodedUnit) -> None:
        """Queue one access unit; a full queue drops it and everything up to the next keyframe."""
        if not self.is_playing or unit.medium not in self._transports:
            return
        opens = unit.is_keyframe and unit.medium == 0
        if self._waits_for_keyframe and not opens and not self._server.joins_anywhere():
            return
        self._waits_for_keyframe = False
        try:
            self._units.put_nowait(unit)
        except queue.Full:
            self._waits_for_keyframe = True

    # Requests

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            stream = self._connection.makefile("rb")
            while (request := _read_request(stream)) is not None:
                self._server.requests += 1
                if self._server.is_on("mute") or (request.method == "TEARDOWN" and self._server.is_on("no-teardown")):
                    continue
                self._answer(request)
                if request.method == "TEARDOWN":
                    self.ended_with_teardown = True
                    break
        self.close()
        self._server.forget(self)
        for transport in self._transports.values():
            for udp in transport.sockets or ():
                udp.close()
        self._connection.close()

    def _answer(self, request: Request) -> None:
        status, headers, body = self._handle(request)
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {request.headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        with self._write_lock:
            self._connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if request.method == "PLAY" and status == 200:
            self._server.wants_keyframe()
            self.is_playing = True

    def _handle(self, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
        server = self._server
        if request.method == "OPTIONS":
            return 200, [("Public", "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN")], b""
        if not server.admits(request, self._nonce):
            return 401, server.challenges(self._nonce), b""
        if request.path != server.path or server.is_on("not-found"):
            return 404, [], b""
        if request.method == "DESCRIBE":
            base = request.url.split("?")[0].rstrip("/") + "/"
            return 200, [("Content-Type", "application/sdp"), ("Content-Base", base)], server.describe()
        if request.method == "SETUP":
            return self._set_up(request)
        if request.headers.get("session", "").split(";")[0] != self._session or not self._session:
            return 454, [], b""
        return 200, [("Session", self._session)], b""

    def _set_up(self, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
        server = self._server
        if server.is_busy(self):
            return 453, [], b""
        if server.is_on("not-now"):
            return 455, [], b""
        track = int(request.url.rpartition("/track")[2] or 0)
        wanted = request.headers.get("transport", "")
        interleaved = re.search(r"interleaved=(\d+)-", wanted)
        if server.is_on("no-tcp" if interleaved else "no-udp"):
            return 461, [], b""
        transport = _Transport()
        if interleaved:
            transport.channel = int(interleaved[1])
            answer = f"RTP/AVP/TCP;unicast;interleaved={transport.channel}-{transport.channel + 1}"
        else:
            ports = re.search(r"client_port=(\d+)", wanted)
            if ports is None:
                return 461, [], b""
            transport.sockets = _bind_pair()
            transport.address = (self._connection.getpeername()[0], int(ports[1]))
            server_port = transport.sockets[0].getsockname()[1]
            answer = f"RTP/AVP;unicast;client_port={ports[1]}-{int(ports[1]) + 1}"
            answer += f";server_port={server_port}-{server_port + 1}"
        answer += f";ssrc={transport.ssrc:08X}"
        self._transports[track] = transport
        self._session = self._session or secrets.token_hex(4)
        return 200, [("Transport", answer), ("Session", f"{self._session};timeout=60")], b""

    # Media

    def _send(self) -> None:
        try:
            while (unit := self._units.get()) is not None:
                self._send_unit(unit)
        except OSError:
            self.close()

    def _send_unit(self, unit: CodedUnit) -> None:
        server, transport = self._server, self._transports[unit.medium]
        medium = server.media[unit.medium]
        stream = bytearray()
        for number, payload in enumerate(unit.payloads):
            transport.sequence += 1
            transport.packets += 1  # sender reports count what is lost on the way as well
            transport.octets += len(payload)
            if server.is_on("loss") and transport.sequence % 20 == 0:
                continue
            if server.is_on("garbage") and transport.sequence % 10 == 0:
                payload = random.randbytes(len(payload))  # noqa: S311, PLW2901
            packet = rtp.encode_rtp(
                payload,
                marker=number == len(unit.payloads) - 1,
                payload_type=medium.payload_type,
                sequence=transport.sequence,
                ticks=unit.ticks,
                ssrc=transport.ssrc,
            )
            self._put(stream, transport, packet, 0)
        now = server.clock.boot()
        if now >= transport.next_report_boot and not server.is_on("no-reports"):
            transport.next_report_boot = now + _REPORT_EVERY_NS
            counts = (transport.packets, transport.octets)
            report = rtp.encode_sender_report(transport.ssrc, unit.camera_utc, unit.ticks, *counts)
            self._put(stream, transport, report, 1)
        if stream:
            with self._write_lock:
                self._connection.sendall(stream)

    def _put(self, stream: bytearray, transport: _Transport, packet: bytes, offset: int) -> None:
        if transport.sockets is None:
            stream += b"$" + bytes((transport.channel + offset,)) + len(packet).to_bytes(2, "big") + packet
            return
        host, port = transport.address
        transport.sockets[offset].sendto(packet, (host, port + offset))


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
        seconds = int(_SEND_TIMEOUT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds.to_bytes(8, "little") + bytes(8))
        client = Client(connection, self)
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
        return self.is_on("mid-gop")

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
            lines += [f"m={medium.kind} 0 RTP/AVP {payload_type}", f"a=rtpmap:{payload_type} {rtpmap}"]
            lines += [f"a=fmtp:{payload_type} {medium.fmtp}"] if medium.fmtp else []
            lines.append(f"a=control:track{track}")
        return "\r\n".join(lines).encode() + b"\r\n"

    def challenges(self, nonce: str) -> list[tuple[str, str]]:
        """Return the ``WWW-Authenticate`` headers."""
        if self._account.basic:
            return [("WWW-Authenticate", f'Basic realm="{_REALM}"')]
        algorithm = ", algorithm=SHA-256" if self.is_on("sha256-only") else ""
        return [("WWW-Authenticate", f'Digest realm="{_REALM}", nonce="{nonce}"{algorithm}')]

    def admits(self, request: Request, nonce: str) -> bool:
        """Check a request's credentials."""
        if self.is_on("unauthorized"):
            return False
        if not self._account.username:
            return True
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if self._account.basic:
            wanted = base64.b64encode(f"{self._account.username}:{self._account.password}".encode()).decode()
            return scheme == "Basic" and secrets.compare_digest(rest.strip(), wanted)
        if scheme != "Digest" or self.is_on("sha256-only"):
            return False
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', rest))
        first = _md5(f"{self._account.username}:{_REALM}:{self._account.password}")
        second = _md5(f"{request.method}:{given.get('uri', '')}")
        good = secrets.compare_digest(given.get("response", ""), _md5(f"{first}:{nonce}:{second}"))
        return good and given.get("username") == self._account.username and given.get("nonce") == nonce


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _bind_pair() -> tuple[socket.socket, socket.socket]:
    """Bind an even UDP port for RTP and the next one for RTCP."""
    while True:
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if port % 2 == 0:
                second.bind(("127.0.0.1", port + 1))
                return first, second
        except OSError:
            pass
        first.close()
        second.close()


def _read_request(stream: BinaryIO) -> Request | None:
    """Read one request, stepping over interleaved packets that a client sends; None at the end."""
    while True:
        first = stream.read(1)
        if not first:
            return None
        if first != b"$":
            break
        header = stream.read(3)
        stream.read(int.from_bytes(header[1:], "big"))
    lines: list[str] = []
    total = 0
    while line := first + stream.readline(_MAX_REQUEST_BYTES):
        first, text, total = b"", line.rstrip(b"\r\n").decode("utf-8", "replace"), total + len(line)
        if total > _MAX_REQUEST_BYTES:
            raise ValueError("request too long")
        if not text:
            break
        lines.append(text)
    if not lines:
        return None
    method, _, rest = lines[0].partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (text.partition(":") for text in lines[1:])}
    stream.read(int(headers.get("content-length", "0")))
    return Request(method, rest.split(" ")[0], headers)

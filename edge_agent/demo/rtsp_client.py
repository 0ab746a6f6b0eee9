"""One connection to the simulated camera: its session, its transports, its two threads.

Owns the answers to requests and the way of each access unit to its client. One thread reads, another sends; a client
that does not keep up loses access units, never the camera's time.
"""

import contextlib
import queue
import random
import re
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_agent.demo import rtp
from edge_agent.demo.rtsp_request import RtspRequest, read_request
from edge_agent.demo.source import CodedUnit
from edge_agent.demo.unit_faults import is_sps
from edge_agent.units import SECOND_NS

if TYPE_CHECKING:
    from edge_agent.demo.rtsp_server import RtspServer

SEND_TIMEOUT_S = 5.0
_QUEUE_UNITS = 256
_HESITATION_STEP_S = 0.02
_SLOW_NS = 12 * SECOND_NS
_REPORT_EVERY_NS = 2 * SECOND_NS
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
            453: "Not Enough Bandwidth", 454: "Session Not Found", 455: "Method Not Valid",
            461: "Unsupported Transport"}  # fmt: skip


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
        self._nonce, self._was_stale = secrets.token_hex(8), False
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
                thread.join(2 * SEND_TIMEOUT_S)

    def offer(self, unit: CodedUnit) -> None:
        """Queue one access unit; a full queue drops it and everything up to the next keyframe."""
        # Never waits: the thread of the source must keep the camera's time, whatever a client does.
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
            while (request := read_request(stream)) is not None:
                self._server.requests += 1
                if self._server.is_on("mute") or (request.method == "TEARDOWN" and self._server.is_on("no-teardown")):
                    continue
                # Heard, even by a camera whose answer reaches nobody any more.
                self.ended_with_teardown = request.method == "TEARDOWN"
                self._answer(request)
                if self.ended_with_teardown:
                    break
        self.close()
        self._server.forget(self)
        for transport in self._transports.values():
            for udp in transport.sockets or ():
                udp.close()
        self._connection.close()

    def _answer(self, request: RtspRequest) -> None:
        status, headers, body = self._handle(request)
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {request.headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        with self._write_lock:
            self._connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        # After the answer has left: media before it would reach a client that does not expect any.
        if request.method == "PLAY" and status == 200:
            self._server.wants_keyframe()
            self.is_playing = True

    def _is_stale(self, request: RtspRequest) -> bool:
        is_due = request.method == "SETUP" and not self._was_stale and "authorization" in request.headers
        return is_due and self._server.is_on("stale-nonce")

    def _handle(self, request: RtspRequest) -> tuple[int, list[tuple[str, str]], bytes]:
        server = self._server
        # As cameras do: OPTIONS is answered without a login.
        if request.method == "OPTIONS":
            return 200, [("Public", "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN")], b""
        if is_stale := self._is_stale(request):
            self._was_stale, self._nonce = True, secrets.token_hex(8)
        if is_stale or not server.admits(request, self._nonce):
            return 401, server.challenges(self._nonce, is_stale=is_stale), b""
        if request.path != server.path or server.is_on("not-found"):
            return 404, [], b""
        if request.method == "DESCRIBE":
            began = server.clock.boot()
            while server.is_on("slow-open") and server.clock.boot() - began < _SLOW_NS:
                time.sleep(_HESITATION_STEP_S)
            base = request.url.split("?")[0].rstrip("/") + "/"
            return 200, [("Content-Type", "application/sdp"), ("Content-Base", base)], server.describe()
        if request.method == "SETUP":
            return self._set_up(request)
        if request.headers.get("session", "").split(";")[0] != self._session or not self._session:
            return 454, [], b""
        return 200, [("Session", self._session)], b""

    def _set_up(self, request: RtspRequest) -> tuple[int, list[tuple[str, str]], bytes]:
        server = self._server
        if server.is_busy(self):
            return 453, [], b""
        if server.is_on("not-now"):
            return 455, [], b""
        track = int(request.url.rpartition("/track")[2] or 0)
        wanted = request.headers.get("transport", "")
        interleaved = re.search(r"interleaved=([0-9]+)-", wanted)
        if server.is_on("no-tcp" if interleaved else "no-udp"):
            return 461, [], b""
        transport = _Transport()
        if interleaved:
            transport.channel = int(interleaved[1])
            answer = f"RTP/AVP/TCP;unicast;interleaved={transport.channel}-{transport.channel + 1}"
        else:
            ports = re.search(r"client_port=([0-9]+)", wanted)
            if ports is None:
                return 461, [], b""
            transport.sockets = _bind_pair()
            transport.address = (self._connection.getpeername()[0], int(ports[1]))
            server_port = transport.sockets[0].getsockname()[1]
            answer = f"RTP/AVP;unicast;client_port={ports[1]}-{int(ports[1]) + 1}"
            answer += f";server_port={server_port}-{server_port + 1}"
        if server.is_on("other-transport"):
            answer = "RTP/AVP;unicast;client_port=5000-5001" if interleaved else "RTP/AVP/TCP;unicast;interleaved=0-1"
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
        if server.is_on("new-ssrc") and unit.medium == 0 and unit.is_keyframe:
            transport.ssrc, transport.sequence = random.getrandbits(32), random.getrandbits(16)
        for number, payload in enumerate(unit.payloads):
            transport.sequence += 1
            transport.packets += 1  # sender reports count what is lost on the way as well
            transport.octets += len(payload)
            if server.is_on("lost-sps") and is_sps(medium.codec, payload):
                continue
            if server.is_on("loss") and transport.sequence % 20 == 0:
                continue
            if server.is_on("garbage") and transport.sequence % 10 == 0:
                payload = random.randbytes(len(payload))  # noqa: S311, PLW2901
            packet = rtp.encode_rtp(
                payload,
                marker=number == len(unit.payloads) - 1,
                # The fault changes the lowest bit: another type than the description announces.
                payload_type=medium.payload_type ^ server.is_on("wrong-payload"),
                sequence=transport.sequence,
                ticks=unit.ticks,
                ssrc=transport.ssrc,
            )
            self._put(stream, transport, packet, 0)
        now = server.clock.boot()
        if now >= transport.next_report_boot and not server.is_on("no-reports"):
            transport.next_report_boot = now + _REPORT_EVERY_NS
            counts = (transport.packets, transport.octets)
            report = rtp.encode_sender_report(transport.ssrc, self._reported_utc(unit), unit.ticks, *counts)
            self._put(stream, transport, report, 1)
        if stream:
            # One lock for media and answers: a response in the middle of a frame would break the stream.
            with self._write_lock:
                middle = len(stream) // 2
                self._connection.sendall(stream[:middle])
                while server.is_on("hesitate") and self.is_playing:
                    time.sleep(_HESITATION_STEP_S)
                self._connection.sendall(stream[middle:])

    def _reported_utc(self, unit: CodedUnit) -> int:
        if self._server.is_on("zero-ntp"):
            return rtp.NTP_ZERO_NS
        is_foreign = self._server.is_on("foreign-reports")
        return unit.camera_utc + (random.randrange(-4, 5) * SECOND_NS if is_foreign else 0)  # noqa: S311

    def _put(self, stream: bytearray, transport: _Transport, packet: bytes, offset: int) -> None:
        if transport.sockets is None:
            stream += b"$" + bytes((transport.channel + offset,)) + len(packet).to_bytes(2, "big") + packet
            return
        host, port = transport.address
        transport.sockets[offset].sendto(packet, (host, port + offset))


def _bind_pair() -> tuple[socket.socket, socket.socket]:
    """Bind an even UDP port for RTP and the next one for RTCP."""
    # RFC 3550, 11: RTP has an even port, RTCP the next one.
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
            # RTCP needs the next port (RFC 3550, 11), and another has it.
            pass
        first.close()
        second.close()

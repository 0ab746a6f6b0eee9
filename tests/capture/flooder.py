"""A camera that floods whoever plays it: ``python -m tests.capture.flooder KIND MBIT_S``; prints its port.

Listens on loopback. What it sends is made beforehand, and sent as fast as is asked and as TCP takes it.
"""

import socket
import socketserver
import struct
import sys
import time
from collections.abc import Iterator

SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    b"a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\na=control:t\r\n"
)
_BLOCKS_S = 100
_TURN = 1 << 16
"""Packets after which the numbers are the same again."""


def frame(number: int, payload: bytes) -> bytes:
    head = struct.pack(">BBHII", 0x80, 96, number & 0xFFFF, 0, 7)
    return b"$\0" + struct.pack(">H", len(head) + len(payload)) + head + payload


def fragments(number: int) -> bytes:
    """Return a byte of a slice that never ends."""
    return frame(number, bytes((0x7C, 0x85 if number % _TURN == 0 else 0x05, 0x80)))


def aggregates(number: int) -> bytes:
    """Return as many tiny units as go into a packet of usual size."""
    return frame(number, b"\x78" + b"\0\1\x06" * 460)


def slices(number: int) -> bytes:
    """Return as many pictures of two bytes as go into a packet of usual size."""
    return frame(number, b"\x78" + b"\0\2\x41\x80" * 350)


def pictures(number: int) -> bytes:
    """Return a whole keyframe of two bytes."""
    return frame(number, b"\x65\x80")


KINDS = {
    "fragments of a byte": fragments,
    "aggregates of units of a byte": aggregates,
    "aggregates of pictures of two bytes": slices,
    "keyframes of two bytes": pictures,
    "empty frames": lambda _: b"$\7\0\0",
    "blank lines": lambda _: b"\r\n" * 20,
    "answers": lambda _: b"RTSP/1.0 200 OK\r\n\r\n",
}


def make_blocks(kind: str, bytes_s: int) -> list[bytes]:
    """Return a turn of packets, in pieces of a hundredth of a second each."""
    turn = b"".join(map(KINDS[kind], range(_TURN if kind.startswith(("frag", "key")) else 1 << 10)))
    size = bytes_s // _BLOCKS_S
    return [turn[at : at + size] for at in range(0, len(turn), size)]


class Handler(socketserver.StreamRequestHandler):
    """One connection: the dialogue, then the flood."""

    blocks: list[bytes]

    def handle(self) -> None:
        for method, number in self._requests():
            lines = [b"RTSP/1.0 200 OK", b"CSeq: " + number, b"Session: 1"]
            body = SDP if method == b"DESCRIBE" else b""
            lines += [b"Transport: RTP/AVP/TCP;interleaved=0-1"] if method == b"SETUP" else []
            lines += [b"Content-Length: %d" % len(body)]
            self.wfile.write(b"\r\n".join([*lines, b"", body]))
            if method == b"PLAY":
                self._flood()

    def _requests(self) -> Iterator[tuple[bytes, bytes]]:
        method = number = b""
        for line in self.rfile:
            if not line.strip():
                yield method, number
                method = number = b""
            elif not method:
                method = line.split()[0]
            elif line.lower().startswith(b"cseq:"):
                number = line.partition(b":")[2].strip()

    def _flood(self) -> None:
        due = time.monotonic()
        try:
            while True:
                for block in self.blocks:
                    self.connection.sendall(block)
                    due = max(due + 1 / _BLOCKS_S, time.monotonic() - 1)
                    time.sleep(max(0.0, due - time.monotonic()))
        except OSError:
            pass


class Server(socketserver.ThreadingTCPServer):
    """On a free port."""

    allow_reuse_address = daemon_threads = True
    address_family = socket.AF_INET


def main() -> None:
    """Serve until killed."""
    Handler.blocks = make_blocks(sys.argv[1], int(float(sys.argv[2]) * 1e6 / 8))
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

"""An HTTPS server that takes PUT and tus uploads over mutual TLS and writes them to a file, for both contenders."""

import socketserver
import ssl
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

_CHUNK = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """Keeps the bytes of the last upload in one file."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as any real server; else the first answer waits 40 ms behind the TLS tickets
    target: Path
    length = "0"

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Tus_Resumable": "1.0.0", "Content_Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _take(self, mode: str) -> None:
        with self.target.open(mode) as file:
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    file.write(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            else:
                left = int(self.headers["Content-Length"])
                while left:
                    left -= file.write(self.rfile.read(min(left, _CHUNK)))

    def do_PUT(self) -> None:
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        self._take("wb")
        self._answer(201)

    def do_POST(self) -> None:
        self.target.write_bytes(b"")
        Handler.length = self.headers["Upload-Length"]
        self._answer(201, Location="/files/one")

    def do_HEAD(self) -> None:
        self._answer(200, Upload_Offset=str(self.target.stat().st_size), Upload_Length=self.length)

    def do_PATCH(self) -> None:
        self._take("ab")
        self._answer(204, Upload_Offset=str(self.target.stat().st_size))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingTCPServer):
    """Each connection in a thread of its own."""

    allow_reuse_address = daemon_threads = True


def main() -> None:
    """Serve, and print the port: ``sink TARGET CA CERTIFICATE KEY PORT``."""
    target, authority, certificate, key, port = sys.argv[1:]
    Handler.target = Path(target)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    with Server(("127.0.0.1", int(port)), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

"""An HTTPS server that takes PUT and tus uploads over mutual TLS and writes them to a file, for both contenders."""

import socketserver
import ssl
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """Keeps the bytes of the last upload in one file, written over the one before: whose pages it finds in memory."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as any real server; else the first answer waits 40 ms behind the TLS tickets
    target: BinaryIO
    length = offset = 0

    def _answer(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in {"Tus_Resumable": "1.0.0", "Content_Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def _write(self, size: int) -> None:
        while size:
            taken = Handler.target.write(self.rfile.read(min(size, _CHUNK)))
            Handler.offset += taken
            size -= taken

    def _begin(self) -> None:
        Handler.target.seek(0)
        Handler.offset = 0

    def _end(self) -> None:
        Handler.target.truncate(Handler.offset)
        Handler.target.flush()

    def do_PUT(self) -> None:
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        self._begin()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            self._write(size)
            self.rfile.readline()
        self.rfile.readline()
        self._end()
        self._answer(201)

    def do_POST(self) -> None:
        self._begin()
        Handler.length = int(self.headers["Upload-Length"])
        self._answer(201, Location="/files/one")

    def do_HEAD(self) -> None:
        self._answer(200, Upload_Offset=Handler.offset, Upload_Length=Handler.length)

    def do_PATCH(self) -> None:
        self._write(int(self.headers["Content-Length"]))
        if Handler.offset == Handler.length:
            self._end()
        self._answer(204, Upload_Offset=Handler.offset)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingTCPServer):
    """Each connection in a thread of its own."""

    allow_reuse_address = daemon_threads = True


def main() -> None:
    """Serve, and print the port: ``sink TARGET CA CERTIFICATE KEY PORT``."""
    target, authority, certificate, key, port = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    with Path(target).open("w+b") as file, Server(("127.0.0.1", int(port)), Handler) as server:
        Handler.target = file
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

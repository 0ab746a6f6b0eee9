"""The owner's phone: a notice service, on loopback if no address is named, as Apprise's ``json://`` reaches one."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Phone:
    """Keeps every message: title and body."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.got: list[tuple[str, str]] = []
        phone = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                phone.got.append((message["title"], message["message"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.url = f"json://{host}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_code(self, after: int = 0, limit_s: float = 40.0) -> tuple[str, str]:
        """Return sentence and code of the first message with one behind the first ``after`` messages."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            for title, body in self.got[after:]:
                if title.startswith("Code "):
                    sentence, _, code = body.splitlines()[0].rpartition(": ")
                    return sentence, code
            time.sleep(0.05)
        raise AssertionError(f"no code came: {self.got}")

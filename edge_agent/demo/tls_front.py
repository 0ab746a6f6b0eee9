"""TLS before the simulated camera: takes ``rtsps`` and passes plain RTSP on.

Owns the connections' bytes, nothing of their meaning. One thread a connection, so that no TLS object is used by two.
"""

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path

_POLL_S = 0.2
_PIECE_BYTES = 64 * 1024


class TlsFront:
    """Listens with a certificate and connects every client to a plain port of this machine."""

    def __init__(self, certificate: Path, backend_port: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._backend_port = backend_port
        self._threads: list[threading.Thread] = []

    def bind(self, port: int) -> int:
        """Listen on loopback; return the port."""
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(_POLL_S)
        return int(self._listener.getsockname()[1])

    def serve(self, stop: threading.Event) -> None:
        """Accept until ``stop`` is set, then wait for every connection to end."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                plain, _ = self._listener.accept()
                thread = threading.Thread(target=self._carry, args=(plain, stop), name="demo-tls")
                self._threads.append(thread)
                thread.start()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _carry(self, plain: socket.socket, stop: threading.Event) -> None:
        try:
            plain.settimeout(5)
            client = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            plain.close()
            return
        with client, contextlib.suppress(OSError):
            backend = socket.create_connection(("127.0.0.1", self._backend_port), 5)
            with backend:
                while not stop.is_set() and _carry_once(client, backend):
                    pass


def _carry_once(client: ssl.SSLSocket, backend: socket.socket) -> bool:
    """Pass on the bytes that are there in either direction; False at the end of either."""
    # Bytes that TLS has decrypted already make no socket readable: `pending` tells of them.
    ready, _, _ = select.select([client, backend], [], [], 0 if client.pending() else _POLL_S)
    if client in ready or client.pending():
        data = client.recv(_PIECE_BYTES)
        if not data:
            return False
        backend.sendall(data)
    if backend in ready:
        data = backend.recv(_PIECE_BYTES)
        if not data:
            return False
        client.sendall(data)
    return True

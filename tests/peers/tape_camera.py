"""A camera that plays a tape: what another one said and sent (``edge_agent.capture.rtsp.tape``)."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader

from edge_agent.capture.rtsp.tape import read_tape


def serve_in_turn(server: socket.socket, talk: Callable[[socket.socket, BufferedReader], None]) -> None:
    """Talk to one client after the other, until the socket is closed; one that leaves early is none less."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
            talk(connection, lines)


class TapeCamera:
    """Serves one client after the other; each gets the tape from its beginning.

    Args:
        tape: The file.
        pause_s: So long it waits before everything that it says or sends.
    """

    def __init__(self, tape: bytes, pause_s: float = 0) -> None:
        self._steps, self._pause_s = list(read_tape(tape)), pause_s
        self.asked: list[str] = []
        self.url = ""

    def serve(self, server: socket.socket) -> None:
        serve_in_turn(server, self._play)

    def _play(self, connection: socket.socket, lines: Iterator[bytes]) -> None:
        """Answer each request as that of the tape was, until it plays; then send the rest."""
        requests = self._read_requests(lines)
        has_played, number = False, ""
        for kind, data in self._steps:
            if kind == "came":
                time.sleep(self._pause_s)
                connection.sendall(re.sub(rb"(?i)^(cseq: *)[0-9]+", rb"\g<1>" + number.encode(), data, flags=re.M))
            elif not has_played:
                number = next(requests, "")
                has_played = data == b"PLAY"
        for _ in requests:  # until the client goes
            pass

    def _read_requests(self, lines: Iterator[bytes]) -> Iterator[str]:
        head = b""
        for line in lines:
            head += line
            if line == b"\r\n" and head.strip():
                text, head = head.decode(), b""
                self.asked.append(text)
                found = re.search(r"CSeq: (\d+)", text)
                yield found[1] if found else ""


@contextmanager
def tape_camera(tape: bytes, pause_s: float = 0) -> Iterator[TapeCamera]:
    """Serve a tape on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        camera = TapeCamera(tape, pause_s)
        camera.url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"
        thread = threading.Thread(target=camera.serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield camera
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join(10)

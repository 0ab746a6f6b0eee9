"""One plain RTSP question to a camera, beside FFmpeg: DESCRIBE, and the head of its answer.

Judges no certificate: that is done on another connection (``tls.find_fault``), so nothing secret may be sent over
``rtsps`` here.
"""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from edge_agent.capture.camera_tls import RTSPS_PORT

TIMEOUT_S = 3.0
_MAX_ANSWER_BYTES = 16 * 1024
_STATUS = re.compile(r"RTSP/1\.[01] ([0-9]{3})")


@contextmanager
def connect(url: str) -> Iterator[socket.socket]:
    """Connect to a camera for the time of the block; OSError where it is not there."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "rtsps"
    with socket.create_connection(
        (parts.hostname or "", parts.port or (RTSPS_PORT if is_tls else 554)), TIMEOUT_S
    ) as plain:
        plain.settimeout(TIMEOUT_S)
        if not is_tls:
            yield plain
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as connection:
            yield connection


def describe(connection: socket.socket, url: str, number: int = 1, authorization: str = "") -> tuple[int, list[str]]:
    """Ask for a stream's description; return the status and the lines of the answer's head.

    Raises:
        OSError: No answer in time, or no RTSP.
    """
    lines = [f"DESCRIBE {url} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp", "User-Agent: edge-agent"]
    lines += [f"Authorization: {authorization}"] if authorization else []
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MAX_ANSWER_BYTES:
        more = connection.recv(4096)
        answer += more
        if not more or not b"RTSP/".startswith(answer[:5]):
            break
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    status = _STATUS.match(head[0])
    if status is None:
        raise OSError("the answer is not RTSP")
    return int(status[1]), head

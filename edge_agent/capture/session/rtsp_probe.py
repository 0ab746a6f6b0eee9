"""One plain RTSP question to a camera, beside FFmpeg: DESCRIBE, and the head of its answer.

Judges no certificate: that is done on another connection (``tls.find_fault``), so nothing secret may be sent over
``rtsps`` here.
"""

import errno
import re
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from edge_agent.capture.camera_tls import RTSPS_PORT
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.login import LoginOffer, answer, choose, read_offers

TIMEOUT_S = 3.0
KNOCK_TIMEOUT_S = 1.0
_MAX_ANSWER_BYTES = 16 * 1024
_MAX_BODY_BYTES = 64 * 1024
_STATUS = re.compile(r"RTSP/1\.[01] ([0-9]{3})")


@contextmanager
def connect(url: str, timeout_s: float = TIMEOUT_S) -> Iterator[socket.socket]:
    """Connect to a camera for the time of the block; OSError where it is not there."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "rtsps"
    with socket.create_connection(
        (parts.hostname or "", parts.port or (RTSPS_PORT if is_tls else 554)), timeout_s
    ) as plain:
        plain.settimeout(timeout_s)
        if not is_tls:
            yield plain
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as connection:
            yield connection


def knock(url: str) -> None:
    """Ask a camera for a sign of life: any answer in RTSP will do.

    Raises:
        CaptureError: ``unreachable`` or ``no-answer``, after about ``KNOCK_TIMEOUT_S`` each for connection and answer.
    """
    try:
        with connect(url, KNOCK_TIMEOUT_S) as connection:
            try:
                connection.sendall(f"OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: edge-agent\r\n\r\n".encode())
                is_there = connection.recv(16).startswith(b"RTSP/")
            except OSError:
                is_there = False
            if not is_there:
                raise CaptureError("no-answer")
    except (OSError, ValueError) as error:
        code = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
        raise CaptureError("unreachable", code) from None


def describe(connection: socket.socket, url: str, number: int = 1, authorization: str = "") -> tuple[int, list[str]]:
    """Ask for a stream's description; return the status and the lines of the answer's head.

    Raises:
        OSError: No answer in time, or no RTSP.
    """
    lines = [f"DESCRIBE {url} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp", "User-Agent: edge-agent"]
    lines += [f"Authorization: {authorization}"] if authorization else []
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    received = b""
    while b"\r\n\r\n" not in received and len(received) < _MAX_ANSWER_BYTES:
        more = connection.recv(4096)
        received += more
        if not more or not b"RTSP/".startswith(received[:5]):
            break
    text, _, body = received.partition(b"\r\n\r\n")
    head = text.decode("latin-1").split("\r\n")
    status = _STATUS.match(head[0])
    if status is None:
        raise OSError("the answer is not RTSP")
    length = next((line[15:].strip() for line in head if line.lower().startswith("content-length:")), "0")
    wanted = min(_MAX_BODY_BYTES, int(length)) if length.isdecimal() else 0
    while len(body) < wanted and (more := connection.recv(4096)):
        body += more
    return int(status[1]), head


def ask_description(
    url: str, login: tuple[str, str], is_tried: Callable[[Sequence[LoginOffer]], bool] = lambda _: True
) -> tuple[int, list[LoginOffer]]:
    """Ask for a stream's description, with a Digest answer if one is wanted; a stale nonce is answered once more.

    Args:
        url: Without credentials.
        login: User name and password; an empty name for none.
        is_tried: Tells whether the login is to be used, given what the camera offers; a wrong one counts there.

    Returns:
        The status, and the ways to log in that the camera offered at first.

    Raises:
        OSError: No connection, no answer in time, or no RTSP.
    """
    with connect(url) as connection:
        status, head = describe(connection, url)
        offers = offered = read_offers(head) if status == 401 else []
        if not login[0] or not offers or not is_tried(offers):
            return status, offers
        for number in (2, 3):
            offer = choose(offered, may_send_password=False)
            if offer is None or (number > 2 and not offer.is_stale):
                break
            signed = answer(offer, "DESCRIBE", url, login, secrets.token_hex(8))
            status, head = describe(connection, url, number, signed)
            if status != 401:
                break
            offered = read_offers(head)
        return status, offers

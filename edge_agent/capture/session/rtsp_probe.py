"""One plain RTSP question to a camera, beside FFmpeg: DESCRIBE, and the head of its answer.

Judges no certificate: that is done on another connection (``camera_tls.find_fault``), so nothing secret may be sent
over ``rtsps`` here.
"""

import errno
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from edge_agent.capture.camera_tls import RTSPS_PORT
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.messages import RtspResponse, RtspSyntaxError, parse_response
from edge_agent.capture.rtsp.split import Splitter
from edge_agent.capture.session.login import LoginOffer, answer, choose, read_offers

TIMEOUT_S = 3.0
"""For a connection, and for the next bytes of an answer."""
LONGEST_S = 10.0
"""For all of a question, however its answer drips: a slow camera takes two seconds for each of three answers."""
KNOCK_TIMEOUT_S = 1.0
_CHUNK_BYTES = 4096


@contextmanager
def connect(url: str, timeout_s: float = TIMEOUT_S) -> Iterator[socket.socket]:
    """Connect to a camera for the time of the block; OSError if it is not there."""
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


def receive_by(connection: socket.socket, until: float) -> bytes:
    """Wait for bytes; empty if the other side has closed.

    Args:
        connection: Its time-out is changed.
        until: The latest ``time.monotonic``; ``TIMEOUT_S`` is the longest wait before that.

    Raises:
        OSError: The connection is broken, or none came in time.
    """
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(min(TIMEOUT_S, left_s))
    return connection.recv(_CHUNK_BYTES)


def describe(
    connection: socket.socket, url: str, until: float, number: int = 1, authorization: str = ""
) -> RtspResponse:
    """Ask for a stream's description, and return the answer.

    Args:
        connection: To the camera.
        url: Of the stream.
        until: The latest ``time.monotonic``.
        number: Of the request on its connection.
        authorization: Of the login; empty for none.

    Raises:
        OSError: No answer in time, or no RTSP.
    """
    lines = [f"DESCRIBE {url} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp", "User-Agent: edge-agent"]
    lines += [f"Authorization: {authorization}"] if authorization else []
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    splitter = Splitter()
    while chunk := receive_by(connection, until):
        try:
            messages = splitter.feed(chunk).messages
        except RtspSyntaxError:
            break
        for head, body in messages:
            if (response := parse_response(head, body)) is not None:
                return response
    raise OSError("the answer is not RTSP")


def ask_description(
    url: str,
    login: tuple[str, str],
    is_tried: Callable[[Sequence[LoginOffer]], bool] = lambda _: True,
    longest_s: float = LONGEST_S,
) -> tuple[int, list[LoginOffer]]:
    """Ask for a stream's description, with a Digest answer if one is wanted; a stale nonce is answered once more.

    Args:
        url: Without credentials.
        login: User name and password; an empty name for none.
        is_tried: Tells whether the login is to be used, given what the camera offers; a wrong one counts there.
        longest_s: For all of it.

    Returns:
        The status, and the ways to log in that the camera offered at first.

    Raises:
        OSError: No connection, no answer in time, or no RTSP.
    """
    until = time.monotonic() + longest_s
    with connect(url, min(TIMEOUT_S, longest_s)) as connection:
        answered = describe(connection, url, until)
        offers = offered = read_offers(answered.head) if answered.status == 401 else []
        if not login[0] or not offers or not is_tried(offers):
            return answered.status, offers
        # A third request only if the nonce went stale: a password that was refused is not sent again.
        for number in (2, 3):
            # Never Basic: the password would be readable, also over TLS that nobody has verified here.
            offer = choose(offered, may_send_password=False)
            if offer is None or (number > 2 and not offer.is_stale):
                break
            signed = answer(offer, "DESCRIBE", url, login, secrets.token_hex(8))
            answered = describe(connection, url, until, number, signed)
            if answered.status != 401:
                break
            offered = read_offers(answered.head)
        return answered.status, offers

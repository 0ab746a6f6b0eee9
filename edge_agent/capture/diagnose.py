"""Why a camera refuses: one plain RTSP question, where FFmpeg's answer is too coarse.

Owns the telling apart of what FFmpeg reports alike: a wrong password and a Digest challenge whose algorithm it does
not know (some Hikvision-made firmware offers SHA-256 only); no connection and a certificate that is refused. Sends no
credentials.
"""

import contextlib
import re
import socket
import ssl
from urllib.parse import urlsplit

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp import Endpoint
from edge_agent.capture.tls import RTSPS_PORT, find_fault, system_trust

TIMEOUT_S = 3.0
_MAX_ANSWER_BYTES = 16 * 1024
_CHALLENGE = re.compile(rb"^www-authenticate:\s*(\w+)(.*)$", re.IGNORECASE | re.MULTILINE)
_ALGORITHM = re.compile(rb'algorithm="?([\w-]+)', re.IGNORECASE)


def refine(error: CaptureError, endpoint: Endpoint) -> CaptureError:
    """Return a more exact reason than FFmpeg's, if one can be had within a few seconds; otherwise the same."""
    if error.reason == "unreachable" and endpoint.url.startswith("rtsps://"):
        return find_fault(endpoint.url, endpoint.trust or system_trust()) or error
    if error.reason != "unauthorized":
        return error
    with contextlib.suppress(OSError, ValueError):
        if _offers_nothing_known(_ask(endpoint.url)):
            return CaptureError("digest-sha256-only")
    return error


def _offers_nothing_known(answer: bytes) -> bool:
    offers = _CHALLENGE.findall(answer)
    known = [
        scheme.lower() == b"basic" or not (named := _ALGORITHM.search(rest)) or named[1].upper() == b"MD5"
        for scheme, rest in offers
    ]
    return bool(known) and not any(known)


def _ask(url: str) -> bytes:
    """Send DESCRIBE without credentials; return the answer's head."""
    parts = urlsplit(url)
    port = parts.port or (RTSPS_PORT if parts.scheme == "rtsps" else 554)
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode()
    with socket.create_connection((parts.hostname or "", port), TIMEOUT_S) as plain:
        plain.settimeout(TIMEOUT_S)
        connection = plain
        if parts.scheme == "rtsps":
            # FFmpeg has just verified the peer; nothing secret is sent here.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(plain)
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < _MAX_ANSWER_BYTES:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
        return answer.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n")

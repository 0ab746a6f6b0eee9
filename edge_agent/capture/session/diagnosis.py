"""Why a camera refuses: one plain RTSP question, where FFmpeg's answer is too coarse.

Owns the telling apart of what FFmpeg reports alike: a wrong password and a Digest challenge whose algorithm it does
not know (some Hikvision-made firmware offers SHA-256 only); no connection and a certificate that is refused; a session
without pictures and one whose pictures nobody can decode. Sends no password but as a Digest answer.
"""

import contextlib
import re

from edge_agent.capture.camera_tls import find_fault, system_trust
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.rtsp import Endpoint
from edge_agent.capture.session.rtsp_probe import connect, describe
from edge_agent.capture.session.sample import find_codec, find_obstacle

_CHALLENGE = re.compile(r"www-authenticate:[ \t]*([A-Za-z0-9_]+)(.*)", re.IGNORECASE)
_ALGORITHM = re.compile(r'algorithm="?([A-Za-z0-9_-]+)', re.IGNORECASE)


def refine(error: CaptureError, endpoint: Endpoint) -> CaptureError:
    """Return a more exact reason than FFmpeg's, if one can be had within a few seconds; otherwise the same."""
    if error.reason == "unreachable" and endpoint.url.startswith("rtsps://"):
        return find_fault(endpoint.url, endpoint.trust or system_trust()) or error
    if error.reason == "unsupported-codec" and not endpoint.url.startswith("rtsps://"):
        named = find_codec(endpoint.url, (endpoint.username, endpoint.password))
        return CaptureError(error.reason, f"codec={named}") if named else error
    if error.reason != "unauthorized":
        return error
    with contextlib.suppress(OSError, ValueError):
        if _offers_nothing_known(_ask(endpoint.url)):
            return CaptureError("digest-sha256-only")
    return error


def explain_silence(endpoint: Endpoint) -> CaptureError | None:
    """Return why a session that was up gave no keyframe; None if a sample of what is sent does not tell."""
    if endpoint.url.startswith("rtsps://"):  # our own questions verify no certificate
        return None
    return find_obstacle(endpoint.url, (endpoint.username, endpoint.password))


def _offers_nothing_known(head: list[str]) -> bool:
    offers = [offer for line in head if (offer := _CHALLENGE.match(line))]
    known = [
        offer[1].lower() == "basic" or not (named := _ALGORITHM.search(offer[2])) or named[1].upper() == "MD5"
        for offer in offers
    ]
    return bool(known) and not any(known)


def _ask(url: str) -> list[str]:
    """Send DESCRIBE without credentials; return the answer's head."""
    with connect(url) as connection:
        return describe(connection, url)[1]

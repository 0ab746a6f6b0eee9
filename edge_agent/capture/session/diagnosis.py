"""Why a camera refuses: one plain RTSP question, where FFmpeg's answer is too coarse.

Owns the telling apart of what FFmpeg reports alike: a wrong password and a Digest challenge whose algorithm it does
not know (some Hikvision-made firmware offers SHA-256, alone or last); no connection and a certificate that is refused;
a session without pictures and one whose pictures nobody can decode. Sends no password but as a Digest answer.
"""

import contextlib

from edge_agent.capture.camera_tls import find_fault, system_trust
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.login import choose, is_answered_by_ffmpeg
from edge_agent.capture.session.rtsp_probe import ask_description
from edge_agent.capture.session.sample import find_codec, find_obstacle


def refine(error: CaptureError, endpoint: Endpoint) -> CaptureError:
    """Return a more exact reason than FFmpeg's, if one can be had within a few seconds; otherwise the same."""
    if error.reason == "unreachable" and endpoint.url.startswith("rtsps://"):
        return find_fault(endpoint.url, endpoint.trust or system_trust()) or error
    if error.reason == "unsupported-codec" and not endpoint.url.startswith("rtsps://"):
        named = find_codec(endpoint.url, (endpoint.username, endpoint.password))
        return CaptureError(error.reason, f"codec={named}") if named else error
    if error.reason == "unauthorized":
        return _explain_login(endpoint) or error
    return error


def explain_silence(endpoint: Endpoint) -> CaptureError | None:
    """Return why a session that was up gave no keyframe; None if a sample of what is sent does not tell."""
    if endpoint.url.startswith("rtsps://"):  # our own questions verify no certificate
        return None
    return find_obstacle(endpoint.url, (endpoint.username, endpoint.password))


def _explain_login(endpoint: Endpoint) -> CaptureError | None:
    """Tell a login that FFmpeg cannot answer from one that is wrong.

    The password is tried only if FFmpeg has not: some cameras lock the user after a few wrong ones.
    """
    login = (endpoint.username, endpoint.password)
    is_plain = not endpoint.url.startswith("rtsps://")
    with contextlib.suppress(OSError, ValueError):
        status, offers = ask_description(
            endpoint.url, login, lambda offered: is_plain and not is_answered_by_ffmpeg(offered)
        )
        is_wrong = status in (401, 403) and choose(offers, may_send_password=False) is not None
        if offers and not is_answered_by_ffmpeg(offers) and not (is_plain and is_wrong):
            return CaptureError("digest-sha256-only")
    return None

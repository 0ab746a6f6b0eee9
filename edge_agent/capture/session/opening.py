"""Which reader opens an endpoint: the one place that knows them all."""

import threading

from edge_agent.capture.camera_tls import find_fault, system_trust
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.session import open_own_session
from edge_agent.capture.session import ffmpeg_process
from edge_agent.capture.session.diagnosis import refine
from edge_agent.capture.session.interface import SILENCE_S, Endpoint, Session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.host.clock import Clock


def open_session(
    endpoint: Endpoint,
    clock: Clock,
    loss: PacketLoss,
    silence_s: float = SILENCE_S,
    released: threading.Event | None = None,
) -> Session:
    """Open a session with the endpoint's reader; takes at most about as long as the endpoint says.

    Args:
        endpoint: Where, how, and by which reader.
        clock: The gateway's clocks.
        loss: Told of packets that are lost, and of those that the camera sent.
        silence_s: How long the session may send nothing before it is over.
        released: Set when nobody wants the session any more: opening and reading end at once.

    Raises:
        CaptureError: The reason in words; nothing secret in it.
    """
    released = released or threading.Event()
    if endpoint.reader == "own":
        try:
            return open_own_session(endpoint, clock, loss, silence_s, released)
        except CaptureError as error:
            raise _explain_tls(error, endpoint) from None
    # Of FFmpeg, gaps are seen over UDP alone (``packet_loss``).
    loss.begin(is_counted=endpoint.carrier == "udp")
    try:
        return ffmpeg_process.open_session(endpoint, clock, loss, silence_s, released)
    except CaptureError as error:
        raise refine(error, endpoint) from None


def _explain_tls(error: CaptureError, endpoint: Endpoint) -> CaptureError:
    """Return what is wrong with a camera's certificate, if that is why there is no connection."""
    if error.reason == "unreachable" and endpoint.url.startswith("rtsps://"):
        return find_fault(endpoint.url, endpoint.trust or system_trust()) or error
    return error

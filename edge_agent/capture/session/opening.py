"""Which reader opens an endpoint: the one place that knows them all."""

import threading

from edge_agent.capture.session import ffmpeg_process
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
    loss.begin(is_counted=endpoint.carrier == "udp")
    return ffmpeg_process.open_session(endpoint, clock, loss, silence_s, released or threading.Event())

"""Which reader opens an endpoint: the one place that knows them all."""

from edge_agent.capture.session import rtsp
from edge_agent.capture.session.interface import SILENCE_S, Endpoint, Session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.host.clock import Clock


def open_session(endpoint: Endpoint, clock: Clock, loss: PacketLoss, silence_s: float = SILENCE_S) -> Session:
    """Open a session with the endpoint's reader; takes at most about as long as the endpoint says.

    Args:
        endpoint: Where, how, and by which reader.
        clock: The gateway's clocks.
        loss: Told of packets that are lost, and of those that the camera sent.
        silence_s: How long the session may send nothing before it is over.

    Raises:
        CaptureError: The reason in words; nothing secret in it.
    """
    return rtsp.open_session(endpoint, clock, loss, silence_s)

"""The streams that are recorded now, and how they end.

Part of the recorder process.
"""

import logging
import threading
from collections.abc import Mapping

from edge_agent.capture.camera import CameraThread
from edge_agent.host.clock import Clock
from edge_agent.recording.ring_sink import RingSink
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)

_JOIN_S = 1.2
_CLOSE_S = 0.6
RELOAD_CLOSE_S = 10.0
"""So long a reload waits for all rings that it lets go of: less than systemd's watchdog."""


class RunningStream:
    """One camera in one quality: its thread, its ring, and the event that ends both."""

    def __init__(self, thread: CameraThread, sink: RingSink, stop: threading.Event) -> None:
        self.thread, self.sink, self.stop = thread, sink, stop


def close_streams(streams: Mapping[str, RunningStream], clock: Clock, patience_s: float = 0) -> None:
    """End threads and let go of rings; a ring that takes longer is let go of when its disk answers.

    Args:
        streams: By name; they share the time in which threads may end.
        clock: Measures it.
        patience_s: So long all rings together are waited for; without it each has a moment of its own.
    """
    for stream in streams.values():
        stream.stop.set()
    deadline = clock.boot() + int(_JOIN_S * SECOND_NS)
    for name, stream in streams.items():
        left_ns = max(0, deadline - clock.boot())
        if not stream.thread.join(left_ns / SECOND_NS):
            # It waits for its camera: connecting, TEARDOWN, or FFmpeg's child. What it holds has not come whole.
            log.warning("camera did not stop in time stream=%s", name)
    deadline = clock.boot() + int(patience_s * SECOND_NS)
    for name, stream in streams.items():
        if not stream.sink.close(max(_CLOSE_S, (deadline - clock.boot()) / SECOND_NS)):
            log.error("ring did not close in time stream=%s", name)

"""A few small pictures out of footage, for the owner's eyes: the subject of a request, the place for a mask.

Runs inside the clip child alone. Decodes keyframes only, one in each equal part of the window.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol, cast

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from edge_agent.media.packets import TrackTemplate
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.mp4 import Placed

MAX_WIDTH = 640


class Pictures(Protocol):
    """Makes pictures of the units that pass."""

    def add(self, video: TrackTemplate, placed: Placed) -> None:
        """Look at the next picture."""

    def close(self) -> None:
        """No more pictures come."""


class Stills:
    """Takes the first keyframe of each of ``job.stills`` equal parts of the first window.

    Args:
        job: Window and number.
        tell: Gets a ``wire.Still`` for each.
    """

    def __init__(self, job: wire.Job, tell: Callable[[wire.Still], None]) -> None:
        window = job.windows[0]
        self._window, self._tell = window, tell
        self._due = [window.start + window.duration_ns * part // job.stills for part in range(job.stills)]

    def add(self, video: TrackTemplate, placed: Placed) -> None:
        """Look at the next picture."""
        if not self._due or not placed.packet.is_keyframe or not self._due[0] <= placed.utc_ns < self._window.end:
            return
        # One picture for all parts that it is too late for: keyframes may be rarer than parts.
        self._due = [due for due in self._due if due > placed.utc_ns]
        for frame in decode_keyframe(video, placed.packet.data):
            self._tell(wire.Still(placed.utc_ns, encode_jpeg(frame)))

    def close(self) -> None:
        """No more pictures come."""


def decode_keyframe(video: TrackTemplate, data: bytes) -> list[VideoFrame]:
    """Return the picture, or nothing if it cannot be decoded."""
    decoder = cast(VideoCodecContext, av.CodecContext.create(video.codec, "r"))
    decoder.extradata = video.extradata or None
    try:
        return [*decoder.decode(Packet(data)), *decoder.decode(None)][:1]
    except av.FFmpegError:
        # A preview shows what can be shown; the clip tells what is damaged.
        return []


def encode_jpeg(frame: VideoFrame) -> bytes:
    """Return a picture as JPEG, at most ``MAX_WIDTH`` wide."""
    # Even: each sample of chroma covers two by two pixels.
    width = min(frame.width, MAX_WIDTH) & ~1
    height = max(2, frame.height * width // frame.width & ~1)
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    small = frame.reformat(width=width, height=height, format="yuvj420p")
    small.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])

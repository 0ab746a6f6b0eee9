"""Zones that the owner masked: decoded, painted black, coded anew. The result is a derivative, never the master.

Runs inside the clip child alone. The master is muxed as well, but only its digest is kept: so that the manifest names
what the derivative was made from, and the owner can show it one day.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container.output import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from edge_agent.uplink.clip.mp4 import ClipSink, Mp4Run, Placed
from edge_agent.uplink.clip.nut_reader import StoredTrack

_BLACK_Y, _NO_COLOUR = 16, 128
"""ITU-R BT.601 and BT.709, limited range: black, and no difference of colour."""
_KEYFRAME_EVERY_S = 2
# About the quality of the camera's own picture; B-pictures would only cost time on a small computer.
_X264 = {"preset": "veryfast", "crf": "21", "bf": "0"}

Polygon = Sequence[tuple[int, int]]
"""Corners in thousandths of width and height."""


class _Digest:
    """Takes an MP4 and keeps its digest."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return len(data)


class MaskedRun(Mp4Run):
    """Muxes one run with its zones painted black. Access units are not told as delivered: none of them is."""

    def __init__(
        self,
        sink: ClipSink,
        video: StoredTrack,
        audio: StoredTrack | None,
        parameters: bytes = b"",
        *,
        masks: Sequence[Polygon],
    ) -> None:
        super().__init__(sink, video, audio, parameters)
        self._master_digest = _Digest()
        self._master = Mp4Run(self._master_digest, video, audio, parameters)
        self._masks = masks
        self._decoder = cast(VideoCodecContext, av.CodecContext.create(video.codec, "r"))
        self._decoder.extradata = parameters or video.extradata
        self._encoder: VideoStream | None = None

    @property
    def master_sha256(self) -> bytes:
        """SHA-256 of the MP4 as it would be without masks; after ``close``."""
        return self._master_digest.sha256.digest()

    def take_delivered(self) -> bytes:
        """Return nothing: no access unit of the camera is in the MP4, and no salt of one shall leave."""
        return b""

    def add(self, placed: Placed) -> None:
        """Add the next access unit to both."""
        self._master.add(placed)
        super().add(placed)

    def close(self) -> None:
        """Write what waits, and the end of both."""
        self._master.close()
        super().close()

    def _add_picture_track(self, container: OutputContainer) -> None:
        rate = max(1, round(1 / (self._step_ticks * self.video.time_base)))
        self._encoder = container.add_stream("libx264", rate=rate, options=_X264)
        # 4:2:0 has one colour sample for two by two pixels: both lengths must be even.
        self._encoder.width, self._encoder.height = self.video.width & ~1, self.video.height & ~1
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.codec_context.time_base = self.video.time_base
        self._encoder.codec_context.gop_size = rate * _KEYFRAME_EVERY_S

    def _mux_picture(self, container: OutputContainer, placed: Placed, pts: int, dts: int) -> None:
        packet: Packet[Any] = Packet(placed.packet.data)
        packet.pts, packet.dts, packet.time_base = pts, dts, self.video.time_base
        self._encode(container, self._decoder.decode(packet))

    def _flush_pictures(self, container: OutputContainer) -> None:
        self._encode(container, self._decoder.decode(None))
        if self._encoder is not None:
            container.mux(self._encoder.encode(None))

    def _encode(self, container: OutputContainer, frames: Sequence[VideoFrame]) -> None:
        assert self._encoder is not None
        for frame in frames:
            masked = paint_black(frame, self._masks, self._encoder.width, self._encoder.height)
            masked.pts, masked.time_base = frame.pts, self.video.time_base
            container.mux(self._encoder.encode(masked))


def paint_black(frame: VideoFrame, masks: Sequence[Polygon], width: int, height: int) -> VideoFrame:
    """Return a picture of even size with the polygons black, in brightness and in colour."""
    planes = frame.reformat(width=width, height=height, format="yuv420p").to_ndarray()
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    for polygon in masks:
        _fill(luma, polygon, width, height, _BLACK_Y)
        for plane in chroma:
            _fill(plane, polygon, width // 2, height // 2, _NO_COLOUR)
    return VideoFrame.from_ndarray(planes, format="yuv420p")


def _fill(plane: Any, polygon: Polygon, width: int, height: int, value: int) -> None:
    corners = [(x * width // 1000, y * height // 1000) for x, y in polygon]
    cv2.fillPoly(plane, [np.array(corners, np.int32)], (value,))

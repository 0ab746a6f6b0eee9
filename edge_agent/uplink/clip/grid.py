"""A picture with a grid on it, to choose the points of a mask by; the masks of now are outlined.

Runs inside the clip child alone. Owns the drawing; decodes one keyframe, the last.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame

from edge_agent.media.packets import TrackTemplate
from edge_agent.uplink.clip import messages as wire
from edge_agent.uplink.clip.mp4 import Placed
from edge_agent.uplink.clip.stills import decode_keyframe

MAX_WIDTH = 1280
_STEP = 100
_LABEL, _LINE, _MASK, _SHADE = (255, 255, 255), (200, 200, 200), (0, 0, 255), (0, 0, 0)
"""Blue, green, red."""
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4

GridPicture = np.ndarray[Any, np.dtype[np.uint8]]


class GridStill:
    """Keeps the last keyframe of the first window, and draws when all was seen.

    Args:
        job: Window and masks.
        tell: Gets one ``wire.Still``, or none.
    """

    def __init__(self, job: wire.Job, tell: Callable[[wire.Still], None]) -> None:
        self._window, self._masks, self._tell = job.windows[0], job.masks, tell
        self._last: tuple[TrackTemplate, Placed] | None = None

    def add(self, video: TrackTemplate, placed: Placed) -> None:
        """Look at the next picture."""
        if placed.packet.is_keyframe and self._window.start <= placed.utc_ns < self._window.end:
            self._last = video, placed

    def close(self) -> None:
        """Draw on the last keyframe."""
        if self._last is not None:
            video, placed = self._last
            for frame in decode_keyframe(video, placed.packet.data):
                self._tell(wire.Still(placed.utc_ns, draw_grid(frame, self._masks)))


def draw_grid(frame: VideoFrame, masks: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    """Return a picture as PNG, at most ``MAX_WIDTH`` wide, with lines at every hundred thousandths and the masks."""
    width = min(frame.width, MAX_WIDTH)
    height = max(1, frame.height * width // frame.width)
    picture: GridPicture = np.ascontiguousarray(frame.reformat(width=width, height=height, format="bgr24").to_ndarray())
    for mask in masks:
        _cover(picture, mask)
    for part in range(_STEP, 1000, _STEP):
        x, y = part * width // 1000, part * height // 1000
        cv2.line(picture, (x, 0), (x, height), _LINE, 1)
        cv2.line(picture, (0, y), (width, y), _LINE, 1)
    for part in range(0, 1000, _STEP):
        _write(picture, str(part), (part * width // 1000 + 2, 12))
        if part:
            _write(picture, str(part), (2, part * height // 1000 + 12))
    for x, y in (point for mask in masks for point in mask):
        _write(picture, f"{x} {y}", (min(x * width // 1000, width - 60), min(max(24, y * height // 1000), height - 6)))
    _, encoded = cv2.imencode(".png", picture)
    return encoded.tobytes()


def _cover(picture: GridPicture, mask: Sequence[tuple[int, int]]) -> None:
    """Show what a mask will cover: its outline, and the area half as bright."""
    height, width = picture.shape[:2]
    corners = np.array([(x * width // 1000, y * height // 1000) for x, y in mask], np.int32)
    shade = np.zeros((height, width), np.uint8)
    cv2.fillPoly(shade, [corners], (255,))
    picture[shade > 0] //= 2
    cv2.polylines(picture, [corners], True, _MASK, 2)


def _write(picture: GridPicture, text: str, at: tuple[int, int]) -> None:
    cv2.putText(picture, text, at, _FONT, _FONT_SCALE, _SHADE, 3, cv2.LINE_AA)
    cv2.putText(picture, text, at, _FONT, _FONT_SCALE, _LABEL, 1, cv2.LINE_AA)

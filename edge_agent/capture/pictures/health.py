"""Facts of a picture: whether the camera still sees what it used to see, and how much of it moves.

Owns the comparison of small grey pictures (``WIDTH`` wide) with those that were learnt; loaded by
``capture.pictures.analyser_child`` alone. Reported, never acted on, except that motion may open an event-only camera.

Health, first match counts; each must hold for ``IN_A_ROW`` pictures before it is said, and so must its end:

1. black: nineteen of twenty pixels are darker than ``BLACK``.
2. covered: nine of ten tiles have next to no contrast (a hand, paint, a spider's web at night).
3. frozen: no pixel has changed since the picture before. Sensors are never that quiet. The upper and lower eighth do
   not count, because cameras write the time there.
4. out-of-focus: sharpness (variance of the Laplacian) fell below a third of the sharpness learnt for this light.
5. moved: the edges lie elsewhere than the learnt ones (phase correlation), or share no features with them (ORB).

The reference for 4 and 5 is learnt slowly, apart for day and night: by halves over about ``LEARN_PICTURES`` good
pictures. It cannot know the camera's view before the recorder was started. A new view counts as usual after
``ACCEPT_PICTURES``.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

WIDTH = 320
IN_A_ROW = 3
BLACK = 24
_TILE = 16
_FLAT_DEVIATION = 4.0
_FLAT_SHARE = 0.9
_NIGHT = 60
"""Mean brightness that tells night from day: two lights, two references."""
_SHARP_SHARE = 1 / 3
_SHIFT_SHARE = 0.04
_MIN_RESPONSE = 0.08
_MIN_FEATURES = 40
_MATCH_SHARE = 0.08
_MATCH_DISTANCE = 48
LEARN_PICTURES = 180
"""At one picture in ten seconds: half an hour."""
_FEW = 6
"""So many good pictures, and there is something to compare with."""
ACCEPT_PICTURES = 8640
"""At one picture in ten seconds: a day."""


def shrink(picture: Picture) -> Picture:
    """Return a grey picture ``WIDTH`` wide; the mean of the area under each pixel."""
    height = max(_TILE, round(picture.shape[0] * WIDTH / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(slots=True)
class _Reference:
    """The usual view in one light."""

    edges: NDArray[np.float32]
    sharpness: float
    latest: Picture
    """The last one that was good: its features are looked for only if edges alone do not tell."""
    pictures: int = 1


class HealthJudge:
    """Judges the pictures of one stream, one after the other."""

    def __init__(self) -> None:
        self._orb = cv2.ORB_create(nfeatures=300)  # type: ignore[attr-defined]
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        self._references: dict[bool, _Reference] = {}
        self._previous: Picture | None = None
        self._said, self._seen, self._times = "ok", "ok", 0

    def judge(self, picture: Picture) -> str:
        """Return a code of ``capture.pictures.analyser.HEALTH`` for a picture as ``shrink`` makes them."""
        # Another shape: the camera was set anew, and nothing that was learnt can be compared.
        if self._previous is not None and self._previous.shape != picture.shape:
            self._references.clear()
            self._previous = None
        seen = self._look(picture)
        self._previous = picture
        self._times = self._times + 1 if seen == self._seen else 1
        self._seen = seen
        if self._times >= IN_A_ROW:
            self._said = seen
        return self._said

    def _look(self, picture: Picture) -> str:
        if float(np.percentile(picture, 95)) < BLACK:
            return "black"
        if _flat_share(picture) >= _FLAT_SHARE:
            return "covered"
        if self._previous is not None and np.array_equal(_inner(self._previous), _inner(picture)):
            return "frozen"
        return self._compare(picture)

    def _compare(self, picture: Picture) -> str:
        light = bool(picture.mean() < _NIGHT)
        edges, sharpness = _edges(picture), _sharpness(picture)
        usual = self._references.get(light)
        if usual is None or (self._times > ACCEPT_PICTURES and self._seen in ("out-of-focus", "moved")):
            self._references[light] = _Reference(edges, sharpness, picture)
            return "ok"
        if usual.pictures >= _FEW:
            if sharpness < usual.sharpness * _SHARP_SHARE:
                return "out-of-focus"
            if self._is_elsewhere(usual, edges, picture):
                return "moved"
        # A running mean until so many are in, then an exponential one.
        usual.pictures = min(LEARN_PICTURES, usual.pictures + 1)
        rate = 1 / usual.pictures
        usual.edges = np.asarray(cv2.addWeighted(usual.edges, 1 - rate, edges, rate, 0), np.float32)
        usual.sharpness += (sharpness - usual.sharpness) * rate
        usual.latest = picture
        return "ok"

    def _is_elsewhere(self, usual: _Reference, edges: NDArray[np.float32], picture: Picture) -> bool:
        window = cv2.createHanningWindow((edges.shape[1], edges.shape[0]), cv2.CV_32F)
        (right, down), response = cv2.phaseCorrelate(usual.edges, edges, window)
        if response >= _MIN_RESPONSE:
            return bool(np.hypot(right, down) > _SHIFT_SHARE * WIDTH)
        before, now = (self._orb.detectAndCompute(each, None)[1] for each in (usual.latest, picture))
        if before is None or now is None or min(len(before), len(now)) < _MIN_FEATURES:
            return False
        near = sum(match.distance <= _MATCH_DISTANCE for match in self._matcher.match(before, now))
        return bool(near < _MATCH_SHARE * min(len(before), len(now)))


class MotionMeter:
    """Measures how much of a stream's picture moves, against a background that follows within a few pictures."""

    _RATE = 0.3
    _STEP = 22
    """Grey levels; noise of a night picture stays below after the blur."""

    def __init__(self) -> None:
        self._background: NDArray[np.float32] | None = None

    def measure(self, picture: Picture) -> float:
        """Return the moved part of a picture, as ``shrink`` makes them, in percent; light that changes is no motion."""
        soft = np.asarray(cv2.GaussianBlur(picture, (9, 9), 0), np.float32)
        if self._background is None or self._background.shape != soft.shape:
            self._background = soft
            return 0.0
        difference = soft - self._background
        difference -= np.median(difference)
        _, moved = cv2.threshold(np.abs(difference), self._STEP, 255, cv2.THRESH_BINARY)
        moved = cv2.morphologyEx(moved, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        cv2.accumulateWeighted(soft, self._background, self._RATE)
        return round(100 * cv2.countNonZero(moved) / moved.size, 2)


def _inner(picture: Picture) -> Picture:
    margin = picture.shape[0] // 8
    return picture[margin:-margin]


def _flat_share(picture: Picture) -> float:
    height, width = (side // _TILE * _TILE for side in picture.shape)
    tiles = picture[:height, :width].reshape(height // _TILE, _TILE, width // _TILE, _TILE)
    return float((tiles.std(axis=(1, 3)) < _FLAT_DEVIATION).mean())


def _sharpness(picture: Picture) -> float:
    return float(cv2.Laplacian(picture, cv2.CV_32F).var())


def _edges(picture: Picture) -> NDArray[np.float32]:
    """Return where the picture's edges are, whatever its brightness."""
    across = cv2.Sobel(picture, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(picture, cv2.CV_32F, 0, 1)
    edges = cv2.magnitude(across, down)
    return np.asarray(edges / (float(edges.mean()) + 1.0), np.float32)

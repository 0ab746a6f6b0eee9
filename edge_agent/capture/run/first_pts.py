"""The one PTS that FFmpeg does not tell: that of the picture which a session begins with.

Owns how it is found from the pictures that follow. Pure: holds arrivals back and changes no bytes.
"""

from collections.abc import Sequence
from itertools import pairwise, takewhile

from edge_agent.capture.session.interface import Arrival
from edge_agent.media.commitments import CodecKind, split_annexb

_LOOK_AHEAD = 8
"""Pictures that follow where the order is another than that of showing: the first shown is among them, pyramids too."""
_MOST_HELD = 256
"""Arrivals that are held back, in any case; then the first goes on as it came, and nothing tells when it was taken."""
_FEWEST = 2
"""Pictures that follow in any case: the distance between two is the camera's own, a rate is what its encoder claims."""


class FirstPicture:
    """Holds back the beginning of a session until the PTS of its first picture can be told; then lets all through.

    FFmpeg's parser loses the time of the first access unit of a stream that has no byte positions, as RTP has none.
    What follows tells: the picture lies one step before the earliest that is shown after it (H.265, 8.1.3: leading
    pictures, which are shown before it, say so in their type). An H.264 keyframe that is no IDR picture may have
    leading ones that say nothing: if pictures are reordered it is dropped, and the next keyframe has its time.

    Args:
        kind: Of the video, track 0.
        reorders: Whether pictures are shown in another order than they are decoded in (B-frames).
    """

    def __init__(self, kind: CodecKind, reorders: bool) -> None:
        self._kind, self._reorders = kind, reorders
        self._held: list[Arrival] = []
        self.is_past = False
        """All goes through from now on."""

    @property
    def is_held(self) -> bool:
        """Tell whether pictures wait here."""
        return bool(self._held)

    def take(self, arrival: Arrival) -> Sequence[Arrival]:
        """Take in the next arrival; return what may go on, in order."""
        if self.is_past:
            return (arrival,)
        if self._held:
            self._held.append(arrival)
            return self._release()
        if arrival.pts is not None:
            self.is_past = arrival.track == 0
            return (arrival,)
        if arrival.track == 0 and arrival.is_keyframe and self._is_tellable(arrival):
            self._held.append(arrival)
        return ()

    def _release(self) -> Sequence[Arrival]:
        video = [each for each in self._held if each.track == 0]
        timed = [each for each in video if each.pts is not None]
        if len(timed) < (_LOOK_AHEAD if self._reorders else _FEWEST) and len(self._held) < _MOST_HELD:
            return ()
        first, *others = self._held
        self._held, self.is_past = [], True
        if len(timed) < _FEWEST:
            return (first, *others)
        return (first._replace(pts=self._tell(timed, len(video) - len(timed))), *others)

    def _is_tellable(self, keyframe: Arrival) -> bool:
        if not self._reorders or self._kind is not CodecKind.H264:
            return True
        # NAL unit type 5: an IDR picture, which no picture after it is shown before.
        return any(nal[0] & 0x1F == 5 for nal in split_annexb(keyframe.data))

    def _tell(self, timed: Sequence[Arrival], unknown: int) -> int:
        """Return the PTS of the first of ``unknown`` pictures, given what followed them."""
        shown = sorted(each.pts or 0 for each in timed)
        steps = sorted(after - before for before, after in pairwise(shown))
        step_ticks = steps[len(steps) // 2]
        # Pictures that lead the next keyframe come after this one.
        own = takewhile(lambda each: not each.is_keyframe, timed)
        leading = {each.pts or 0 for each in own if self._leads(each)}
        trailing = [pts for pts in shown if pts not in leading]
        if not trailing:
            return max(leading) + step_ticks
        # Leading pictures are shown before it: its PTS lies behind all of theirs.
        return max([trailing[0] - unknown * step_ticks, *(pts + 1 for pts in leading)])

    def _leads(self, picture: Arrival) -> bool:
        # H.265, table 7-1: RADL_N, RADL_R, RASL_N, RASL_R.
        return self._kind is CodecKind.H265 and any(6 <= nal[0] >> 1 & 0x3F <= 9 for nal in split_annexb(picture.data))

"""At which pictures decoding may begin, and from which on it is right again after a loss.

Owns the rule for recovery points (H.264 D.2.8). An IDR or IRAP picture, and a recovery point whose
``recovery_frame_cnt`` is 0, can be decoded by themselves. A recovery point with a larger count begins a gradual
refresh: the pictures are right only so many frames later. It is a keyframe if all before it is there, as FFmpeg has it,
because such a camera may send no other. After a loss it ends nothing by itself: the next recovery point does, once the
refresh that began at an earlier one is over. Pure.
"""

from edge_agent.media.bit_reader import BitReader, add_up_bytes

_RECOVERY_POINT = 6
_RECOVERY_TYPE = bytes((_RECOVERY_POINT,))
_MOST_FRAMES = 1 << 16
"""``recovery_frame_cnt`` is below MaxFrameNum (H.264 7.4.2.1.1)."""
# A recovery point begins with its count as ue(v): below ``_MOST_FRAMES`` that takes 33 bits at most.
_MOST_MESSAGES, _MOST_HEAD_BYTES = 64, 8
_PICTURES_A_FRAME = 4
"""The count is of reference frames. A frame is two pictures at most, and up to three that nothing refers to follow."""


class KeyframeRule:
    """The knowledge of one track, picture by picture; it begins with none."""

    def __init__(self) -> None:
        self.is_waiting = True
        """Nothing that comes can be decoded for certain until the next keyframe."""
        self._left: int | None = None

    def lose(self) -> None:
        """Take in that something is missing here."""
        self.is_waiting, self._left = True, None

    def take(self, recovery_frames: int | None) -> bool:
        """Take in a picture of which nothing is missing; tell whether it is a keyframe.

        Args:
            recovery_frames: So many frames after it, pictures are right if decoding begins at it; None if it is no
                place to begin at.
        """
        if recovery_frames == 0:
            self.is_waiting, self._left = False, None
            return True
        if not self.is_waiting:
            return recovery_frames is not None
        if self._left is not None:
            self._left = max(0, self._left - 1)
        if recovery_frames is not None and self._left == 0:
            self.is_waiting, self._left = False, None
            return True
        if recovery_frames is not None and self._left is None:
            self._left = recovery_frames * _PICTURES_A_FRAME
        return False


def find_recovery_frames(nal: bytes | memoryview) -> int | None:
    """Return ``recovery_frame_cnt`` of an H.264 SEI unit (7.3.2.3, D.1.8); None if it has no recovery point."""
    # Emulation prevention (7.4.1): 00 00 03 stands for 00 00.
    data = bytes(nal[1:]).replace(b"\0\0\3", b"\0\0")
    if _RECOVERY_TYPE not in data:
        return None
    at = 0
    try:
        for _ in range(_MOST_MESSAGES):
            kind, at = add_up_bytes(data, at)
            length, at = add_up_bytes(data, at)
            if kind == _RECOVERY_POINT:
                frames = BitReader(data[at : at + min(length, _MOST_HEAD_BYTES)]).exp_golomb()
                return frames if frames < _MOST_FRAMES else None
            at += length
    # The unit ends within a message: it tells of no recovery point.
    except IndexError:
        pass
    return None

"""Which NAL units make one picture: the borders of access units, and whether anything of one is missing.

Owns the rule for borders. Cameras set the marker on parameter sets and SEI, on every slice, or never; some change the
RTP time within a picture, others never change it. So no sign is believed alone, and a unit is held until the next
picture begins (H.264 7.4.1.2.3, H.265 7.4.2.4.4):

1. A slice that begins a picture ends the unit before it, if that has a slice. What stands between the two (parameter
   sets, SEI, delimiters) belongs to the picture that follows, whatever its RTP time is.
2. A slice that goes on with a picture belongs to the unit, if its RTP time is the same or the unit has no marker yet.
   With both signs against it, the beginning of its own picture is missing.
3. Where packets are missing, the unit is whole only if its last packet before the hole had the marker. Nothing that
   follows can be decoded for certain until the next keyframe: it is damaged.

Pure. Holds 4 MiB of a unit at most; what is longer is damaged.
"""

from enum import IntEnum
from typing import NamedTuple

from edge_agent.units import MonoNs, UtcNs

MAX_UNIT_BYTES = 4 << 20
START_CODE = b"\0\0\0\1"
_MOST_PARTS = 1024
"""A part holds 190 bytes of its own, and keeps the chunk alive that it is of."""


class NalRole(IntEnum):
    """What a NAL unit is to the borders of pictures."""

    FIRST = 0
    """The first slice of a picture."""
    MORE = 1
    """A slice, or a part of one, that goes on with a picture."""
    PREFIX = 2
    """It stands before the slices of its picture."""
    SUFFIX = 3
    """It stands behind them."""


class Stamp(NamedTuple):
    """When a chunk was received, by both clocks."""

    utc: UtcNs
    boot: MonoNs


class CodedUnitBytes(NamedTuple):
    """One access unit in Annex B form, each NAL unit behind a start code of four bytes."""

    ticks: int
    """RTP timestamp, 32 bits."""
    is_keyframe: bool
    is_damaged: bool
    """Something of it, or of the pictures since the last keyframe, is missing; then ``data`` is empty."""
    data: bytes
    stamp: Stamp
    """Of its last packet."""


class Parts:
    """A bounded number of bytes in pieces, joined once."""

    __slots__ = ("_done", "_parts", "size")

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._done: list[bytes] = []
        self.size = 0

    @property
    def is_too_long(self) -> bool:
        """Tell whether more came than is kept; then nothing is kept."""
        return self.size > MAX_UNIT_BYTES

    def add(self, part: bytes | memoryview) -> None:
        """Append a piece."""
        self.size += len(part)
        self._parts.append(part)
        if len(self._parts) >= _MOST_PARTS or self.size > MAX_UNIT_BYTES:
            self.settle()

    def settle(self) -> None:
        """Copy what is views of chunks, so that these can go."""
        if self.size > MAX_UNIT_BYTES:
            self._parts, self._done = [], []
        elif self._parts:
            self._done.append(b"".join(self._parts))
            self._parts = []
            if len(self._done) >= _MOST_PARTS:
                self._done = [b"".join(self._done)]

    def take(self) -> bytes:
        """Return everything, and begin anew."""
        whole = b"".join([*self._done, *self._parts]) if self._done else b"".join(self._parts)
        self._parts, self._done, self.size = [], [], 0
        return whole

    def move_to(self, other: "Parts") -> None:
        """Append everything to another, and begin anew."""
        for part in [*self._done, *self._parts]:
            other.add(part)
        self._parts, self._done, self.size = [], [], 0


class AccessUnits:
    """Collects the NAL units of one track; ``ready`` holds the access units that are complete."""

    def __init__(self) -> None:
        self.ready: list[CodedUnitBytes] = []
        self._unit, self._prefix = Parts(), Parts()
        self._ticks = 0
        self._stamp = Stamp(UtcNs(0), MonoNs(0))
        self._has_slice = self._is_marked = self._is_keyframe = self._is_damaged = False
        self._prefix_is_key = False
        self._waits_for_keyframe = False
        self._is_open = False
        self._has_begun = False
        self.nals = 0
        """How many NAL units were taken in."""

    def begin(self, role: NalRole, header: bytes, payload: memoryview, ticks: int, *, is_key: bool) -> None:
        """Take in a NAL unit, or the first part of one.

        Args:
            role: What it is.
            header: Its header, if ``payload`` does not have it.
            payload: The rest, as far as it is there.
            ticks: RTP timestamp.
            is_key: It makes a keyframe of its picture.
        """
        self.nals += 1
        if role is NalRole.FIRST:
            if self._has_slice:
                self._finish()
            self._open_picture(ticks)
        elif role is NalRole.MORE:
            if not self._has_slice or (self._is_marked and ticks != self._ticks):
                self._finish()
                self._open_picture(ticks)
                self._is_damaged = True
            self._take_prefix()
        elif role is NalRole.SUFFIX and not self._has_slice:
            return  # of a picture that is not here
        into = self._prefix if role is NalRole.PREFIX else self._unit
        into.add(START_CODE + header)
        into.add(payload)
        if role is NalRole.PREFIX:
            self._prefix_is_key = self._prefix_is_key or is_key
        else:
            self._is_keyframe = self._is_keyframe or is_key
            self._is_open = True

    def more(self, part: memoryview) -> None:
        """Take in a further part of the slice that was begun last."""
        self._unit.add(part)
        self._is_open = True

    def arrive(self, stamp: Stamp, *, is_marked: bool) -> None:
        """Note the packet that brought the NAL units since the last call."""
        if self._has_slice and self._is_open:
            self._stamp = stamp
            self._is_marked = self._is_marked or is_marked
            self._is_open = False

    def lose(self, *, numbers_anew: bool = False) -> None:
        """Take in that packets are missing before the next NAL unit.

        Args:
            numbers_anew: The camera began to number anew: nothing says that any is missing.
        """
        if numbers_anew:
            return
        if self._has_slice and not self._is_marked:
            self._is_damaged = True
        if self._has_slice:
            self._finish()
        self._prefix.take()
        self._prefix_is_key = False
        self._miss()

    def break_off(self) -> None:
        """Take in that the slice that was begun last has no end."""
        self._is_damaged = True

    def damage(self, ticks: int) -> None:
        """Take in that a part of the picture of that RTP time is missing, though no packet is."""
        if self._is_marked and ticks != self._ticks:
            self._finish()
        self._is_damaged = self._has_slice
        self._miss()

    def _miss(self) -> None:
        """Tell, once, that something is missing here, though the next picture may be a whole keyframe."""
        if self._has_begun and not self._waits_for_keyframe and not self._has_slice:
            self.ready.append(CodedUnitBytes(self._ticks, False, True, b"", self._stamp))
        self._waits_for_keyframe = True

    def settle(self) -> None:
        """Copy what is views of chunks; call after some of them."""
        self._unit.settle()
        self._prefix.settle()

    def flush(self) -> None:
        """End the last unit, if its marker says that it is whole: nothing more will come."""
        if self._has_slice and self._is_marked:
            self._finish()

    def _open_picture(self, ticks: int) -> None:
        self._ticks, self._has_slice = ticks, True
        self._take_prefix()

    def _take_prefix(self) -> None:
        self._prefix.move_to(self._unit)
        self._is_keyframe, self._prefix_is_key = self._is_keyframe or self._prefix_is_key, False

    def _finish(self) -> None:
        """End the unit; a damaged one, and all that may refer to it, is told without its bytes."""
        if not self._has_slice:
            return
        is_own = self._is_damaged or self._unit.is_too_long
        is_keyframe = self._is_keyframe and not is_own
        self._waits_for_keyframe = not is_keyframe and (is_own or self._waits_for_keyframe)
        self._has_begun = self._has_begun or is_keyframe
        is_damaged = self._waits_for_keyframe and self._has_begun
        data = self._unit.take()
        whole = b"" if is_own or is_damaged else data
        self.ready.append(CodedUnitBytes(self._ticks, is_keyframe, is_damaged, whole, self._stamp))
        self._has_slice = self._is_marked = self._is_keyframe = self._is_damaged = self._is_open = False

"""Which NAL units make one picture: the borders of access units, and whether anything of one is missing.

Owns the rule for borders. Cameras set the marker on parameter sets and SEI, on every slice, or never; some change the
RTP time within a picture, others never change it. So no sign is believed alone, and a unit is held until the next
picture begins (H.264 7.4.1.2.3, H.265 7.4.2.4.4):

1. A slice that begins a picture ends the unit before it, if that has a slice. What stands between the two (parameter
   sets, SEI, delimiters) belongs to the picture that follows, whatever its RTP time is.
2. A slice that goes on with a picture belongs to the unit, if its RTP time is the same or the unit has no marker yet.
   With both signs against it, the beginning of its own picture is missing.
3. If packets are missing, the unit is whole only if its last packet before the hole had the marker, and the markers
   of this camera are believed: they stood at the end of a picture before, and never inside of one. Nothing that follows
   can be decoded for certain until the next keyframe (``keyframes``): it is damaged.

Pure. Holds 4 MiB of a unit at most; what is longer is damaged.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from edge_agent.capture.rtsp.keyframes import KeyframeRule
from edge_agent.capture.rtsp.shredding import is_shredded
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
    FILLER = 4
    """It says nothing, and is dropped: bytes that keep a bit rate, or a type that means nothing here."""


_FIRST, _PREFIX = NalRole.FIRST, NalRole.PREFIX
"""Looked up once: an enumeration's members are slow to find (0.4 µs)."""


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


class MarkerTrust:
    """Whether the markers of a track stand at the end of pictures, and there alone: learnt from its pictures."""

    def __init__(self) -> None:
        self._stood_at_end = self._stood_inside = False

    @property
    def is_earned(self) -> bool:
        """Tell whether a marker says that a picture is whole."""
        return self._stood_at_end and not self._stood_inside

    def note_end(self) -> None:
        """Take in that another picture followed a marker, and no packet was missing between."""
        self._stood_at_end = True

    def note_inside(self) -> None:
        """Take in that the picture went on behind a marker."""
        self._stood_inside = True


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

    def extend(self, parts: Sequence[bytes | memoryview]) -> None:
        """Append some pieces: no more than lie in a chunk."""
        self.size += sum(map(len, parts))
        self._parts += parts
        if len(self._parts) >= _MOST_PARTS or self.size > MAX_UNIT_BYTES:
            self.settle()

    def has(self, text: bytes) -> bool:
        """Tell whether the kept pieces hold some bytes; call seldom."""
        self.settle()
        self._done = [b"".join(self._done)]
        return text in self._done[0]

    def settle(self) -> None:
        """Copy the pieces that are views of chunks, so that the chunks can go."""
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
        """Append everything to another, and begin anew; if too much came here, too much came there."""
        if self.is_too_long:
            other.size += self.size
        other.extend([*self._done, *self._parts])
        self._parts, self._done, self.size = [], [], 0


class AccessUnits:
    """Collects the NAL units of one track; ``ready`` holds the access units that are complete."""

    def __init__(self) -> None:
        self.ready: list[CodedUnitBytes] = []
        self._unit, self._prefix = Parts(), Parts()
        self._ticks = 0
        self._stamp = Stamp(UtcNs(0), MonoNs(0))
        self._has_slice = self._is_marked = self._is_damaged = False
        self._recovery: int | None = None
        self._prefix_recovery: int | None = None
        self._keyframes, self._markers = KeyframeRule(), MarkerTrust()
        self._is_open = False
        self._has_begun = False
        self._is_told = False
        """Since the last whole picture somebody was told that something is missing."""
        self.nals = 0
        """How many NAL units were taken in."""

    def begin(self, role: NalRole, header: bytes, payload: memoryview, ticks: int, recovery: int | None) -> None:
        """Take in a NAL unit, or the first part of one.

        Args:
            role: What it is.
            header: Its header, if ``payload`` does not have it.
            payload: The rest, as far as it is there.
            ticks: RTP timestamp.
            recovery: So many frames after it, pictures are right if decoding begins at it (``KeyframeRule.take``).
        """
        self.nals += 1
        if role is _PREFIX:
            self._prefix.extend((START_CODE + header, payload))
            self._prefix_recovery = _sooner(self._prefix_recovery, recovery)
            return
        if role is NalRole.FILLER:
            self.skip()
            return
        # Rule 1.
        if role is _FIRST:
            if self._is_marked:
                self._markers.note_end()
            self._finish()
            self._open_picture(ticks)
        # Rule 2.
        elif role is NalRole.MORE:
            if not self._has_slice or (self._is_marked and ticks != self._ticks):
                self._finish()
                self._open_picture(ticks)
                self._is_damaged = True
            elif self._is_marked:
                self._markers.note_inside()
            self._take_prefix()
        elif role is NalRole.SUFFIX and not self._has_slice:
            return  # of a picture that is not here
        self._unit.extend((START_CODE + header, payload))
        self._recovery = _sooner(self._recovery, recovery)
        self._is_open = True

    def more_of(self, parts: Sequence[memoryview], stamp: Stamp, *, is_marked: bool) -> None:
        """Take in further parts of the slice that was begun last, each from a packet of its own.

        Args:
            parts: In order.
            stamp: Of the packets.
            is_marked: Whether the last packet had the marker; the others had none.
        """
        if self._is_marked:
            self._markers.note_inside()
        self._unit.extend(parts)
        self._is_open = True
        self.arrive(stamp, is_marked=is_marked)

    def more(self, part: memoryview) -> None:
        """Take in a further part of the slice that was begun last."""
        if self._is_marked:
            self._markers.note_inside()
        self._unit.add(part)
        self._is_open = True

    def skip(self) -> None:
        """Take in that what came is dropped; its packet's marker counts all the same."""
        self._is_open = self._has_slice

    def arrive(self, stamp: Stamp, *, is_marked: bool) -> None:
        """Note the packet that brought the NAL units since the last call."""
        if self._has_slice and self._is_open:
            self._stamp = stamp
            self._is_marked = self._is_marked or is_marked
            self._is_open = False

    def lose(self, *, is_new_source: bool = False) -> None:
        """Take in that packets are missing before the next NAL unit.

        Args:
            is_new_source: Or that another source begins. Nothing says that any is missing; only a keyframe shows it.
        """
        # Rule 3.
        if self._has_slice and not self._is_known_to_be_whole:
            self._is_damaged = True
        self._finish()
        # Its own packets may be among the missing ones.
        self._prefix.take()
        self._prefix_recovery = None
        if is_new_source:
            self._keyframes.lose()
        else:
            self._miss()

    @property
    def _is_known_to_be_whole(self) -> bool:
        return self._is_marked and self._markers.is_earned

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
        # After another source a keyframe is waited for, and nobody was told yet: it may have been all that came.
        if self._has_begun and not self._is_told and not self._has_slice:
            self.ready.append(CodedUnitBytes(self._ticks, False, True, b"", self._stamp))
            self._is_told = True
        self._keyframes.lose()

    def settle(self) -> None:
        """Copy the pieces that are views of chunks; call after some chunks."""
        self._unit.settle()
        self._prefix.settle()

    def flush(self) -> None:
        """End the last unit, if its marker says that it is whole: nothing more will come."""
        if self._is_known_to_be_whole:
            self._finish()

    def _open_picture(self, ticks: int) -> None:
        self._ticks, self._has_slice = ticks, True
        self._take_prefix()

    def _take_prefix(self) -> None:
        if not self._prefix.size:
            return
        self._prefix.move_to(self._unit)
        self._recovery, self._prefix_recovery = _sooner(self._recovery, self._prefix_recovery), None

    def _finish(self) -> None:
        """End the unit; a damaged one, and all that may refer to it, is told without its bytes."""
        if not self._has_slice:
            return
        is_too_long, data = self._unit.is_too_long, self._unit.take()
        is_own = self._is_damaged or is_too_long or is_shredded(data)
        if is_own:
            self._keyframes.lose()
        is_keyframe = not is_own and self._keyframes.take(self._recovery)
        self._has_begun = self._has_begun or is_keyframe
        is_damaged = self._keyframes.is_waiting and self._has_begun
        whole = b"" if is_own or is_damaged else data
        self.ready.append(CodedUnitBytes(self._ticks, is_keyframe, is_damaged, whole, self._stamp))
        self._is_told = is_damaged
        self._has_slice = self._is_marked = self._is_damaged = self._is_open = False
        self._recovery = None


def _sooner(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else min(first, second)

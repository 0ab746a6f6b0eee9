"""RTP and RTCP packets of one track: which of them count, and what is missing between them (RFC 3550).

Owns the order of sequence numbers and the rule for strangers: other payload types, other sources, doubles. Pure.
"""

from collections import Counter
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

# RFC 3550 5.1, fixed header: 12 bytes, big-endian.
#    0   1  version, padding, extension, CSRC count          4   4  timestamp
#    1   1  marker, payload type     2   2  sequence         8   4  ssrc
_HEAD = Struct(">BBHII").unpack_from
HEAD_BYTES = 12
# RFC 3550 6.4.1, sender report: header 8, then NTP 8, RTP time 4, packets 4, octets 4.
_REPORT = Struct(">BBHIQIII").unpack_from
_REPORT_BYTES = 28
_SENDER_REPORT = 200
PLAIN = 0x80
"""Version 2 without padding, extension and contributing sources: nearly every packet of nearly every camera."""
_MAX_MISORDER = 100
"""Numbers that are set back by no more are doubles, or late (RFC 3550 A.1)."""
_DOUBLE_TICKS = 900_000
"""Of one that is set back: if its RTP time is older than what came, by no more than this (10 s of video), it came
before. A camera that numbers anew goes on in time, or begins at any time. In the very picture nothing tells a double
from numbers that were set back, and two in a row are a loss: better one too many than a damaged picture for whole."""
_SSRC_PROOF = 3
"""Packets in a row of another source, in the middle of a picture, until it is believed."""
# Not 0: a caller that asks ``if lost`` takes a new source for a loss as well.
NEW_SOURCE = -1


class RtpPacket(NamedTuple):
    """One packet that counts: where its payload lies, and what its header says."""

    begin: int
    end: int
    ticks: int
    """RTP timestamp, 32 bits."""
    is_marked: bool
    lost: int
    """Packets that are missing before it; ``NEW_SOURCE`` if another source begins, whose numbers tell nothing."""


@dataclass(frozen=True, slots=True)
class RtcpReport:
    """What a sender report says (RFC 3550 6.4.1)."""

    ntp: int
    """32.32 bits since 1900."""
    rtp: int
    packets: int


class RtpOrder:
    """The packets of one track, in the order of their arrival; TCP keeps it.

    Args:
        payload_types: Those that the description announces; others are strangers.
    """

    def __init__(self, payload_types: frozenset[int]) -> None:
        self._types = payload_types
        self._ssrc: int | None = None
        self._next = 0
        self._newest = 0
        """RTP timestamp, the latest of all: those of B pictures are set back."""
        self._was_marked = True
        self._stranger, self._strangers = 0, 0
        self._next_refused: int | None = None
        self.seen_types: Counter[int] = Counter()
        """How many packets came of each payload type that is not announced."""

    def take(self, data: bytes, begin: int, end: int) -> RtpPacket | None:
        """Return a packet that counts, or None: a stranger, a double, or no RTP at all."""
        if end - begin < HEAD_BYTES:
            return None
        first, second, number, ticks, ssrc = _HEAD(data, begin)
        if second & 0x7F not in self._types:
            if first >> 6 == 2:
                self.seen_types[second & 0x7F] += 1
            return None
        at = begin + HEAD_BYTES
        if first != PLAIN:
            at, end = skip_extras(data, begin, end, first)
            if at > end:
                return None
        lost = 0
        if ssrc != self._ssrc or number != self._next:
            step = self._find_step(ssrc, number, ticks)
            if step is None:
                return None
            lost = step
        # RTP time is modulo 2**32: differences of the smaller half lie ahead. After a loss any time is believed.
        if lost or (ticks - self._newest) & 0xFFFFFFFF < 0x80000000:
            self._newest = ticks
        self._strangers, self._next_refused = 0, None
        self._next = (number + 1) & 0xFFFF
        self._was_marked = is_marked = second > 0x7F
        return RtpPacket(at, end, ticks, is_marked, lost)

    @property
    def next(self) -> tuple[int, bytes]:
        """The number of the packet that follows, and the source of the one before, as four bytes."""
        return self._next, (self._ssrc or 0).to_bytes(4, "big")

    def skip_next(self, count: int, *, is_marked: bool = False) -> None:
        """Take in that so many packets of this track were taken, all of them of ``next``; the last may be marked."""
        self._strangers, self._next_refused = 0, None
        self._next, self._was_marked = (self._next + count) & 0xFFFF, is_marked

    def _find_step(self, ssrc: int, number: int, ticks: int) -> int | None:
        """Return what is missing before a packet that is not the next one; None if it does not count."""
        if ssrc != self._ssrc:
            lost = self._find_source(ssrc, number)
            self._newest = self._newest if lost is None else ticks
            return lost
        step = (number - self._next) & 0xFFFF
        if step < 0x10000 - _MAX_MISORDER:
            # So long a step may be a camera that numbers anew. Nothing tells, and what it sent meanwhile is not here.
            return step
        if 0 < (self._newest - ticks) & 0xFFFFFFFF < _DOUBLE_TICKS:
            return None  # a double, which says nothing of the one behind it
        if number != self._next_refused:
            self._next_refused = (number + 1) & 0xFFFF
            return None
        return 1  # RFC 3550 A.1: two in order at another number are believed; the first of them was refused

    def _find_source(self, ssrc: int, number: int) -> int | None:
        """Return what is missing before a packet of another source; None if that is not believed yet."""
        if self._ssrc is None:
            self._ssrc = ssrc
            return 0
        self._strangers = self._strangers + 1 if ssrc == self._stranger else 1
        self._stranger = ssrc
        # Behind a marked packet no picture is open: a new source damages none there, and is believed at once.
        if not self._was_marked and number != self._next and self._strangers < _SSRC_PROOF:
            return None
        refused, self._ssrc = self._strangers - 1, ssrc
        if number == self._next and not refused:
            return 0  # the same camera: it numbers on
        return refused or NEW_SOURCE


def skip_extras(data: bytes, begin: int, end: int, first: int) -> tuple[int, int]:
    """Return where the payload begins and ends; a begin behind the end if the header is no good.

    Args:
        data: With a packet of at least ``HEAD_BYTES``.
        begin: Of the packet.
        end: Of the packet.
        first: Its first byte.
    """
    nothing = end + 1, end
    if first >> 6 != 2:
        return nothing
    # RFC 3550, 5.1: contributing sources.
    at = begin + HEAD_BYTES + 4 * (first & 0x0F)
    # RFC 3550, 5.3.1: an extension, whose length counts words behind its first.
    if first & 0x10:
        if at + 4 > end:
            return nothing
        at += 4 + 4 * (data[at + 2] << 8 | data[at + 3])
    # RFC 3550, 5.1: padding, whose last byte says how much there is.
    if first & 0x20:
        end -= data[end - 1]
    return (at, end) if at <= end else (end + 1, end)


def parse_report(data: bytes, begin: int, end: int) -> RtcpReport | None:
    """Return the sender report that a compound RTCP packet begins with, or None."""
    if end - begin < _REPORT_BYTES:
        return None
    first, kind, _, _, ntp, rtp, packets, _ = _REPORT(data, begin)
    if first >> 6 != 2 or kind != _SENDER_REPORT:
        return None
    return RtcpReport(ntp, rtp, packets)

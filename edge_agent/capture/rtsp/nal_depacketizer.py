"""NAL units out of RTP payloads: fragments, losses, Annex B inside; the part that H.264 and H.265 share. Pure.

A subclass knows the payload forms of its standard and the roles of its NAL units.
"""

from collections.abc import Sequence
from itertools import islice
from struct import Struct

from edge_agent.capture.rtsp.access_units import AccessUnits, NalRole, Parts, Stamp
from edge_agent.capture.rtsp.rtp import HEAD_BYTES, NEW_SOURCE, PLAIN, RtpOrder, RtpPacket
from edge_agent.media.commitments import split_annexb

Frame = tuple[int, int, int]
"""Channel, begin and end of a packet in a chunk."""
_LAST_SLICE = NalRole.MORE
"""Looked up once: an enumeration's members are slow to find (0.4 µs)."""
_START, _END = 0x80, 0x40
"""Flags of a fragment (RFC 6184 5.8, RFC 7798 4.4.3)."""
_EITHER_END = _START | _END
_START_CODE = b"\0\0\1"
_MOST_NALS = 256
"""In one packet, or in one unit that holds start codes: a whole picture with its parameter sets, SEI and slices."""
_MOST_PREFIX_BYTES = 64 << 10
"""Of a unit that is no slice and holds no start code. Each is looked into as a whole; parameter sets and SEI have some
hundred bytes."""


class NalDepacketizer:
    """Turns the packets of one track into access units. Feed it in order; take them out of ``units.ready``."""

    head_bytes = 1
    """Of a NAL unit."""
    _read_fragment = Struct(">2sH4x6s").unpack_from
    # RFC 3550 5.1 and RFC 6184 5.8: version to payload type, number; source, FU indicator, FU header.
    fragment_mask, fragment_kind = 0x1F, 28
    """Of the first byte of a payload: its type, and that of fragments."""

    def __init__(self) -> None:
        self.units = AccessUnits()
        self._fragment: Parts | None = None
        """A fragmented unit that is no slice: looked into when it is whole."""
        self._is_in_slice = False

    def take(self, data: bytes, view: memoryview, packet: RtpPacket, stamp: Stamp) -> None:
        """Take in one packet.

        Args:
            data: The chunk.
            view: Of the chunk.
            packet: Where its payload lies.
            stamp: When the chunk was received.
        """
        begin, end, ticks, is_marked, lost = packet
        if lost:
            self._end_fragment(is_whole=False, ticks=ticks)
            self.units.lose(is_new_source=lost == NEW_SOURCE)
        if end - begin > self.head_bytes:
            self._take_payload(data, view, (begin, end), ticks)
            self.units.arrive(stamp, is_marked=is_marked)

    def take_inner(
        self, data: bytes, view: memoryview, frames: Sequence[Frame], at: int, order: RtpOrder, stamp: Stamp
    ) -> int:
        """Take in packets in a row that go on with a slice and are as the one before: nearly all that come.

        What it does is what ``RtpOrder.take`` and ``take`` do with each of them, in a tenth of the time: these packets
        differ in nothing but their number, the last one in its marker and its end flag as well. Whatever else differs
        is left to those two.

        Args:
            data: The chunk.
            view: Of the chunk.
            frames: Channel, begin and end of each packet.
            at: The first that may be one; the one before was taken, and is of this track.
            order: Of this track.
            stamp: When the chunk was received.

        Returns:
            The place of the first packet that was not taken.
        """
        channel, begin, end = frames[at - 1]
        read, size = self._read_fragment, HEAD_BYTES + self.head_bytes + 1
        if not self._is_in_slice or end - begin < size or data[begin] != PLAIN:
            return at
        number, source = order.next
        kind = data[begin + HEAD_BYTES : begin + size - 1]
        if kind[0] & self.fragment_mask != self.fragment_kind:
            return at
        first = data[begin + size - 1] & ~_EITHER_END
        plain = bytes((PLAIN, data[begin + 1] & 0x7F))
        same, last = source + kind + bytes((first,)), source + kind + bytes((first | _END,))
        marked = bytes((PLAIN, plain[1] | 0x80))
        parts: list[memoryview] = []
        is_last = False
        for its_channel, begin, end in islice(frames, at, None):
            if its_channel != channel or end - begin < size:
                break
            its_head, its_number, its_rest = read(data, begin)
            if its_number != number:
                break
            if its_head != plain or its_rest != same:
                is_last = its_rest == last and its_head in (plain, marked)
                if is_last:
                    parts.append(view[begin + size : end])
                break
            parts.append(view[begin + size : end])
            number = (number + 1) & 0xFFFF
        if parts:
            is_marked = is_last and its_head == marked
            order.skip_next(len(parts), is_marked=is_marked)
            self.units.more_of(parts, stamp, is_marked=is_marked)
            self._is_in_slice = not is_last
        return at + len(parts)

    def settle(self) -> None:
        """Copy the pieces that are views of chunks; call after some chunks."""
        if self._fragment is not None:
            self._fragment.settle()
        self.units.settle()

    def _take_payload(self, data: bytes, view: memoryview, place: tuple[int, int], ticks: int) -> None:
        raise NotImplementedError

    def _judge(self, nal: bytes | memoryview) -> tuple[NalRole, int | None]:
        """Return the role of a NAL unit, at least ``head_bytes`` long, and where decoding may begin by it
        (``KeyframeRule.take``)."""
        raise NotImplementedError

    def _take_fragment(self, flags: int, header: bytes, part: memoryview, ticks: int) -> None:
        """Take in a fragment; ``header`` is that of the unit, and counts if the fragment is the first one."""
        if flags & _START:
            self._end_fragment(is_whole=False, ticks=ticks)
            role, recovery = self._judge(header + part[:1])
            if role <= _LAST_SLICE:
                self._is_in_slice = True
                self.units.begin(role, header, part, ticks, recovery)
            elif role is NalRole.FILLER:
                self.units.skip()
            else:
                self._fragment = Parts()
                self._fragment.add(header)
                self._fragment.add(part)
        elif self._is_in_slice:
            self.units.more(part)
        elif self._fragment is not None:
            self._grow_fragment(self._fragment, part, ticks)
        elif self._judge(header)[0] is NalRole.FILLER:  # of whatever size
            self.units.skip()
        else:  # its beginning is missing
            self.units.damage(ticks)
        if flags & _END:
            self._end_fragment(is_whole=True, ticks=ticks)

    def _end_fragment(self, *, is_whole: bool, ticks: int) -> None:
        fragment, self._fragment = self._fragment, None
        if self._is_in_slice and not is_whole:
            self.units.break_off()
        self._is_in_slice = False
        if fragment is None:
            return
        if is_whole and not fragment.is_too_long:
            self._take_nal(memoryview(fragment.take()), ticks)
        else:
            self.units.damage(ticks)

    def _grow_fragment(self, fragment: Parts, part: memoryview, ticks: int) -> None:
        was_short = fragment.size <= _MOST_PREFIX_BYTES
        fragment.add(part)
        if was_short and fragment.size > _MOST_PREFIX_BYTES and not fragment.has(_START_CODE):
            self._fragment = None
            self.units.damage(ticks)

    def _take_aggregate(
        self, data: bytes, view: memoryview, place: tuple[int, int], ticks: int, order_bytes: int = 0
    ) -> None:
        """Take in the units of an aggregation packet, each behind its length in two bytes.

        Args:
            data: The chunk.
            view: Of the chunk.
            place: Where the first length lies, and where the packet ends.
            ticks: RTP timestamp.
            order_bytes: Decoding order between a unit and the next length.
        """
        at, end = place
        count = 0
        while at + 2 < end and count < _MOST_NALS:
            begin = at + 2
            until = begin + (data[at] << 8 | data[at + 1])
            if until > end:
                break
            if until - begin >= self.head_bytes:
                self._take_nal(view[begin:until], ticks)
            at, count = until + order_bytes, count + 1
        if any(data[at:end]):  # a part of a unit, or more of them than a picture has; zeros are padding
            self.units.damage(ticks)

    def _take_nal(self, nal: memoryview, ticks: int) -> None:
        role, recovery = self._judge(nal)
        # Some cameras put a whole access unit, start codes and all, into one unit that begins as a parameter set.
        if role > _LAST_SLICE and _START_CODE in (text := bytes(nal)):
            self._take_annexb(text, ticks)
        else:
            self.units.begin(role, b"", nal, ticks, recovery)

    def _take_annexb(self, text: bytes, ticks: int) -> None:
        if text.count(_START_CODE) > _MOST_NALS:
            self.units.damage(ticks)
            return
        whole = text if text.startswith((b"\0\0\1", b"\0\0\0\1")) else _START_CODE + text
        for inner in split_annexb(whole):
            if len(inner) >= self.head_bytes:
                role, recovery = self._judge(inner)
                self.units.begin(role, b"", inner, ticks, recovery)

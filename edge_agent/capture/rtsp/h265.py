"""H.265 out of RTP payloads (RFC 7798): single NAL units, AP, FU, PACI, with and without DONL. Pure."""

from struct import Struct

from edge_agent.capture.rtsp.access_units import NalRole
from edge_agent.capture.rtsp.nal_depacketizer import NalDepacketizer

# RFC 7798 4.4.
_AP, _FU, _PACI = 48, 49, 50
# H.265 table 7-1.
_IRAP = range(16, 24)
_FIRST_NON_SLICE = 32
_FILLER = 38
_SUFFIXES = frozenset({36, 37, 40, 45, 46, 47, *range(56, 64)})


class H265Depacketizer(NalDepacketizer):
    """Packets of one H.265 track.

    Args:
        has_donl: Decoding order numbers are sent (``sprop-max-don-diff`` above 0). They are skipped: units come in
            decoding order unless the camera interleaves them, and a recorder's reader asks for no such thing.
    """

    head_bytes = 2
    _read_fragment = Struct(">2sH4x7s").unpack_from
    fragment_mask, fragment_kind = 0x7E, 2 * _FU

    def __init__(self, *, has_donl: bool = False) -> None:
        super().__init__()
        self._has_donl = has_donl

    def _take_payload(self, data: bytes, view: memoryview, place: tuple[int, int], ticks: int) -> None:
        begin, end = place
        kind = data[begin] >> 1 & 0x3F
        if kind == _FU:
            self._take_fu(data, view, place, ticks)
            return
        self._end_fragment(is_whole=False, ticks=ticks)
        if kind == _AP:
            first = begin + 2 + 2 * self._has_donl
            self._take_aggregate(data, view, (first, end), ticks, int(self._has_donl))
        elif kind == _PACI:
            self._take_paci(data, place, ticks)
        elif kind > _PACI:
            self.units.damage(ticks)
        elif not self._has_donl:
            self._take_nal(view[begin:end], ticks)
        elif end - begin > 4:
            self._take_nal(memoryview(data[begin : begin + 2] + data[begin + 4 : end]), ticks)

    def _take_fu(self, data: bytes, view: memoryview, place: tuple[int, int], ticks: int) -> None:
        """Take in a fragment (RFC 7798 4.4.3): payload header, FU header, in the first one DONL, a part of the unit."""
        begin, end = place
        flags = data[begin + 2]
        at = begin + 3 + (2 if self._has_donl and flags & 0x80 else 0)
        header = bytes((data[begin] & 0x81 | (flags & 0x3F) << 1, data[begin + 1]))
        self._take_fragment(flags, header, view[at:end], ticks)

    def _take_paci(self, data: bytes, place: tuple[int, int], ticks: int) -> None:
        """Take in a packet with extensions (RFC 7798 4.4.4): A 1, cType 6, PHSsize 5, F0..2 and Y 4 bits."""
        begin, end = place
        fields = data[begin + 2] << 8 | data[begin + 3] if end - begin > 4 else 0
        kind, at = fields >> 9 & 0x3F, begin + 4 + (fields >> 4 & 0x1F)
        if end - begin <= 4 or at >= end or kind == _PACI:
            self.units.damage(ticks)
            return
        inner = bytes((fields >> 15 << 7 | kind << 1 | data[begin] & 1, data[begin + 1])) + data[at:end]
        self._take_payload(inner, memoryview(inner), (0, len(inner)), ticks)

    def _judge(self, nal: bytes | memoryview) -> tuple[NalRole, int | None]:
        kind, layer = nal[0] >> 1 & 0x3F, (nal[0] & 1) << 5 | nal[1] >> 3
        if kind < _FIRST_NON_SLICE:
            # H.265 7.3.6.1: first_slice_segment_in_pic_flag. Pictures of other layers belong to the base layer's.
            is_first = len(nal) > 2 and bool(nal[2] & 0x80) and not layer
            return (NalRole.FIRST if is_first else NalRole.MORE), 0 if kind in _IRAP and not layer else None
        if kind == _FILLER:
            return NalRole.FILLER, None
        return (NalRole.SUFFIX if kind in _SUFFIXES else NalRole.PREFIX), None

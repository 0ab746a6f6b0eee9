"""H.264 out of RTP payloads (RFC 6184): single NAL units, STAP-A, FU-A. Pure."""

from edge_agent.capture.rtsp.access_units import NalRole
from edge_agent.capture.rtsp.nal_depacketizer import NalDepacketizer

# RFC 6184 5.2, table 1.
_STAP_A, _FU_A = 24, 28
# H.264 table 7-1. Slices (1, 2, 5) begin a picture or go on with one.
_SLICES = frozenset({1, 2, 5})
_IDR, _SEI = 5, 6
_ROLES = {
    **dict.fromkeys((3, 4, 19, 20, 21), NalRole.MORE),
    **dict.fromkeys((10, 11, 12), NalRole.SUFFIX),
}
_RECOVERY_POINT = 6


class H264Depacketizer(NalDepacketizer):
    """Packets of one H.264 track, packetization modes 0 and 1."""

    def _take_payload(self, data: bytes, view: memoryview, place: tuple[int, int], ticks: int) -> None:
        begin, end = place
        kind = data[begin] & 0x1F
        if kind == _FU_A:
            flags = data[begin + 1]
            self._take_fragment(flags, bytes((data[begin] & 0xE0 | flags & 0x1F,)), view[begin + 2 : end], ticks)
            return
        self._end_fragment(is_whole=False, ticks=ticks)
        if kind == _STAP_A:
            for nal in self._split_aggregate(data, view, (begin + 1, end), 0):
                self._take_nal(nal, ticks)
        elif kind < _STAP_A:
            self._take_nal(view[begin:end], ticks)
        else:  # FU-B, STAP-B, MTAP: packetization mode 2, for which nobody asked
            self.units.damage(ticks)

    def _judge(self, nal: bytes | memoryview) -> tuple[NalRole, bool]:
        kind = nal[0] & 0x1F
        if kind in _SLICES:
            # H.264 7.3.3 and 9.1: first_mb_in_slice is ue(v), whose first bit is 1 for 0 alone.
            return (NalRole.FIRST if len(nal) > 1 and nal[1] & 0x80 else NalRole.MORE), kind == _IDR
        if kind == _SEI:
            return NalRole.PREFIX, has_recovery_point(nal)
        return _ROLES.get(kind, NalRole.PREFIX), False


def has_recovery_point(nal: bytes | memoryview) -> bool:
    """Tell whether an SEI unit has a recovery point (H.264 7.3.2.3, D.1.8): decoding may begin at its picture."""
    at = 1
    try:
        while at + 1 < len(nal):
            kind, at = _read_number(nal, at)
            length, at = _read_number(nal, at)
            if kind == _RECOVERY_POINT:
                return True
            at += length
    except IndexError:
        pass
    return False


def _read_number(nal: bytes | memoryview, at: int) -> tuple[int, int]:
    value = 0
    while nal[at] == 0xFF:
        value, at = value + 255, at + 1
    return value + nal[at], at + 1

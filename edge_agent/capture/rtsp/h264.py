"""H.264 out of RTP payloads (RFC 6184): single NAL units, STAP-A, FU-A. Pure."""

from edge_agent.capture.rtsp.access_units import NalRole
from edge_agent.capture.rtsp.keyframes import find_recovery_frames
from edge_agent.capture.rtsp.nal_depacketizer import NalDepacketizer

# RFC 6184 5.2, table 1.
_STAP_A, _FU_A = 24, 28
# H.264 table 7-1. Slices (1, 2, 5) begin a picture or go on with one.
_SLICES = frozenset({1, 2, 5})
_IDR, _SEI = 5, 6
_RESERVED = (30, 31)
"""Of NAL units in RTP (RFC 6184 5.2): ignored, as a receiver must."""
_FIRST, _MORE, _PREFIX = NalRole.FIRST, NalRole.MORE, NalRole.PREFIX
# Of table 7-1: partitions B and C, auxiliary slices and slices of extensions; the ends of a sequence and of the stream;
# filler data.
_ROLES = {
    **dict.fromkeys((3, 4, 19, 20, 21), NalRole.MORE),
    **dict.fromkeys((10, 11), NalRole.SUFFIX),
    **dict.fromkeys((12, *_RESERVED), NalRole.FILLER),
}


class H264Depacketizer(NalDepacketizer):
    """Packets of one H.264 track, packetization modes 0 and 1."""

    def _take_payload(self, data: bytes, view: memoryview, place: tuple[int, int], ticks: int) -> None:
        begin, end = place
        kind = data[begin] & 0x1F
        if kind == _FU_A:
            # It is there: ``take`` drops payloads of a single byte. The unit's header is F and NRI of the first byte,
            # and the type in the second (RFC 6184 5.8).
            flags = data[begin + 1]
            self._take_fragment(flags, bytes((data[begin] & 0xE0 | flags & 0x1F,)), view[begin + 2 : end], ticks)
            return
        if kind in _RESERVED:
            self.units.skip()
            return
        self._end_fragment(is_whole=False, ticks=ticks)
        if kind == _STAP_A:
            self._take_aggregate(data, view, (begin + 1, end), ticks)
        elif kind < _STAP_A:
            self._take_nal(view[begin:end], ticks)
        else:  # FU-B, STAP-B, MTAP: packetization mode 2, for which nobody asked
            self.units.damage(ticks)

    def _judge(self, nal: bytes | memoryview) -> tuple[NalRole, int | None]:
        kind = nal[0] & 0x1F
        if kind in _SLICES:
            # H.264 7.3.3 and 9.1: first_mb_in_slice is ue(v), whose first bit is 1 for 0 alone.
            return (_FIRST if len(nal) > 1 and nal[1] & 0x80 else _MORE), 0 if kind == _IDR else None
        if kind == _SEI:
            return _PREFIX, find_recovery_frames(nal)
        return _ROLES.get(kind, _PREFIX), None

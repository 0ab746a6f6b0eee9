"""The packets of a camera without their pictures: what a tape keeps of RTP and RTCP.

Owns the rule: what our reader looks at stays (headers, the first bytes of each NAL unit, parameter sets, start codes,
sizes), and every other byte is overwritten. No picture can be made of it, and none can be guessed. Pure.
"""

import re

from edge_agent.capture.rtsp.rtp import HEAD_BYTES, skip_extras

FILL = 0x55
_HEAD = 12
"""Of a slice: its NAL unit's header and its own."""
_REPORT = 28
"""Of RTCP: the sender report. Behind it stands the camera's name."""
_SENDER_REPORT, _REPORT_WORDS = 200, 6
_MOST_SET = 512
_START_CODE = re.compile(rb"\x00\x00\x01")
# RFC 6184, table 1, and RFC 7798, 4.4: packets that hold several NAL units, a part of one, or one with extras.
_STAP_A, _FU_A = 24, 28
_AP, _FU, _PACI = 48, 49, 50
_H265_HEAD, _DONL, _PACI_HEAD = 2, 2, 4
_H264_SETS, _H265_SETS = frozenset({7, 8}), frozenset({32, 33, 34})
_H264_SLICES, _H265_SLICES = frozenset({1, 2, 3, 4, 5, 19, 20, 21}), frozenset(range(32))
_H264_SEI, _RECOVERY_POINT = 6, 6


def is_report(data: bytes) -> bool:
    """Tell whether it is RTCP, whatever channel it came on (RFC 5761 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


def mask_report(data: bytes) -> bytes:
    """Return an RTCP packet with nothing of it but the sender report that it begins with, if it does (RFC 3550 6.4.1).

    Receiver reports and source descriptions have the camera's name within as many bytes.
    """
    is_sent = len(data) >= _REPORT and data[0] >> 6 == 2 and data[1] == _SENDER_REPORT
    is_sent = is_sent and (data[2] << 8 | data[3]) >= _REPORT_WORDS
    return data[:_REPORT] + bytes(len(data) - _REPORT) if is_sent else bytes(len(data))


def mask_packet(codec: str, data: bytes, *, has_donl: bool = False) -> bytes:
    """Return an RTP packet of the same size without coded media, extensions, contributing sources and padding.

    Args:
        codec: ``H264`` or ``H265``; of any other nothing but the header is kept.
        data: From the RTP header on.
        has_donl: Its H.265 has decoding order numbers.
    """
    out = bytearray((FILL,)) * len(data)
    if len(data) < HEAD_BYTES or data[0] >> 6 != 2:
        return bytes(out)
    out[:HEAD_BYTES] = data[:HEAD_BYTES]
    begin, end = skip_extras(data, 0, len(data), data[0])
    if begin > end:
        return bytes(out)
    if data[0] & 0x10:  # how long the extension is (RFC 3550 5.3.1), not what it says
        length = HEAD_BYTES + 4 * (data[0] & 0x0F) + 2
        out[length : length + 2] = data[length : length + 2]
    if data[0] & 0x20:  # how much padding there is
        out[-1] = data[-1]
    masked = _Masked(data[begin:end], is_h264=codec == "H264")
    if codec == "H264":
        _mask_h264(masked)
    elif codec == "H265":
        _mask_h265(masked, has_donl=has_donl)
    out[begin:end] = masked.out
    return bytes(out)


class _Masked:
    """A payload, and the part of it that a tape keeps."""

    def __init__(self, payload: bytes, *, is_h264: bool) -> None:
        self.payload, self._is_h264 = payload, is_h264
        self.out = bytearray((FILL,)) * len(payload)

    def keep(self, begin: int, count: int) -> None:
        self.out[begin : begin + count] = self.payload[begin : begin + count]

    def keep_nal(self, begin: int, end: int) -> None:
        """Keep the head of a unit, of a parameter set all, and the heads of those that stand in it (Annex B)."""
        self.keep(begin, min(self._count_head(self._kind(begin), begin + 1, most_set=_MOST_SET), end - begin))
        self.keep_inner(begin, end)

    def keep_inner(self, begin: int, end: int) -> None:
        """Keep start codes, and the heads of what stands behind them."""
        for found in _START_CODE.finditer(self.payload, begin, end):
            at = found.end()
            head = self._count_head(self._kind(at), at + 1, most_set=_HEAD) if at < end else 0
            self.keep(found.start(), min(3 + head, end - found.start()))

    def keep_fragment(self, head: int) -> None:
        """Keep the headers; of a unit's first fragment, whose top bit is set, its beginning as well."""
        size = len(self.payload)
        self.keep(0, head)
        if size >= head and self.payload[head - 1] & 0x80:
            kind = self.payload[head - 1] & (0x1F if self._is_h264 else 0x3F)
            self.keep(head, min(self._count_head(kind, head, most_set=_HEAD), size - head))
        self.keep_inner(head, size)

    def keep_aggregate(self, at: int, order_bytes: int = 0) -> None:
        """Keep lengths and heads of units; between a unit and the next length lies its decoding order."""
        size = len(self.payload)
        while at + 2 < size:
            end = at + 2 + (self.payload[at] << 8 | self.payload[at + 1])
            self.keep(at, 2)
            self.keep_nal(at + 2, min(end, size))
            at = end + order_bytes

    def _kind(self, at: int) -> int:
        return self.payload[at] & 0x1F if self._is_h264 else self.payload[at] >> 1 & 0x3F

    def _count_head(self, kind: int, behind: int, *, most_set: int) -> int:
        """Return how many bytes of a unit are kept.

        Args:
            kind: Of the unit.
            behind: Where its first byte lies behind a header of one byte.
            most_set: So many of a parameter set, which ends at a start code.
        """
        sets, slices = (_H264_SETS, _H264_SLICES) if self._is_h264 else (_H265_SETS, _H265_SLICES)
        if kind in slices:
            return _HEAD
        if kind in sets:
            following = _START_CODE.search(self.payload, behind)
            return min(most_set, following.start() - behind + 1) if following else most_set
        if self._is_h264 and kind == _H264_SEI and self.payload[behind : behind + 1] == bytes((_RECOVERY_POINT,)):
            # Type and size, and of what it says only its first byte: how many frames until pictures are right.
            return 4
        return 1 if self._is_h264 else 2


def _mask_h264(masked: _Masked) -> None:
    payload = masked.payload
    if not payload:
        return
    kind = payload[0] & 0x1F
    if kind == _STAP_A:
        masked.keep(0, 1)
        masked.keep_aggregate(1)
    elif kind == _FU_A:
        masked.keep_fragment(2)
    else:
        masked.keep_nal(0, len(payload))


def _mask_h265(masked: _Masked, *, has_donl: bool) -> None:
    payload = masked.payload
    if len(payload) < _H265_HEAD:
        return
    kind = payload[0] >> 1 & 0x3F
    if kind == _AP:
        head = _H265_HEAD + (_DONL if has_donl else 0)
        masked.keep(0, head)
        masked.keep_aggregate(head, int(has_donl))
    elif kind == _FU:
        masked.keep_fragment(_H265_HEAD + 1)
    elif kind == _PACI:
        _mask_paci(masked, has_donl=has_donl)
    else:
        masked.keep_nal(0, len(payload))


def _mask_paci(masked: _Masked, *, has_donl: bool) -> None:
    """Keep how long the extension is, and of what it is put before as much as without it (RFC 7798 4.4.4)."""
    payload = masked.payload
    fields = payload[2] << 8 | payload[3] if len(payload) > _PACI_HEAD else 0
    kind, at = fields >> 9 & 0x3F, _PACI_HEAD + (fields >> 4 & 0x1F)
    masked.keep(0, _PACI_HEAD)
    if kind != _PACI and at < len(payload) > _PACI_HEAD:
        inner = _Masked(bytes((kind << 1, payload[1])) + payload[at:], is_h264=False)
        _mask_h265(inner, has_donl=has_donl)
        masked.out[at:] = inner.out[_H265_HEAD:]

"""The packets of a camera without their pictures: what a tape keeps of RTP and RTCP.

Owns the rule: what our reader looks at stays (headers, the first bytes of each NAL unit, parameter sets, start codes,
sizes), and every other byte is overwritten. No picture can be made of it, and none can be guessed. Pure.
"""

import re
from collections.abc import Callable

from edge_agent.capture.rtsp.rtp import HEAD_BYTES, skip_extras

FILL = 0x55
_HEAD = 12
"""Of a NAL unit: its header, and that of the slice or of the first SEI message."""
_REPORT = 28
"""Of RTCP: the sender report. Behind it stands the camera's name."""
_MOST_SET = 512
_START_CODE = re.compile(rb"\x00\x00\x01")
_STAP_A, _FU_A = 24, 28
_AP, _FU = 48, 49
_H264_SETS, _H265_SETS = frozenset({7, 8}), frozenset({32, 33, 34})


def is_report(data: bytes) -> bool:
    """Tell whether it is RTCP, whatever channel it came on (RFC 5761 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


def mask_report(data: bytes) -> bytes:
    """Return an RTCP packet with nothing of it but a sender report."""
    return data[:_REPORT] + bytes(len(data) - len(data[:_REPORT]))


def mask_packet(codec: str, data: bytes) -> bytes:
    """Return an RTP packet of the same size without coded media.

    Args:
        codec: ``H264`` or ``H265``; of any other nothing but the header is kept.
        data: From the RTP header on.
    """
    begin, end = skip_extras(data, 0, len(data), data[0]) if len(data) >= HEAD_BYTES else (1, 0)
    if begin > end:
        return data[:HEAD_BYTES] + bytes((FILL,)) * (len(data) - len(data[:HEAD_BYTES]))
    payload = data[begin:end]
    masked = _Masked(payload)
    if codec == "H264":
        _mask_h264(masked)
    elif codec == "H265":
        _mask_h265(masked)
    return data[:begin] + bytes(masked.out) + data[end:]


class _Masked:
    """A payload, and what is kept of it."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.out = bytearray((FILL,)) * len(payload)

    def keep(self, begin: int, count: int) -> None:
        self.out[begin : begin + count] = self.payload[begin : begin + count]

    def keep_nal(self, begin: int, end: int, *, is_set: bool) -> None:
        self.keep(begin, min(_MOST_SET if is_set else _HEAD, end - begin))
        for found in _START_CODE.finditer(self.payload, begin, end):
            self.keep(found.start(), min(3 + _HEAD, end - found.start()))

    def keep_aggregate(self, at: int, order_bytes: int, is_set: Callable[[int], bool]) -> None:
        size = len(self.payload)
        while at + 2 < size:
            end = at + 2 + (self.payload[at] << 8 | self.payload[at + 1])
            self.keep(at, 2)
            self.keep_nal(at + 2, min(end, size), is_set=is_set(self.payload[at + 2]))
            self.keep(end, order_bytes)
            at = end + order_bytes


def _mask_h264(masked: _Masked) -> None:
    payload, size = masked.payload, len(masked.payload)
    kind = payload[0] & 0x1F if size else 0
    if kind == _STAP_A:
        masked.keep(0, 1)
        masked.keep_aggregate(1, 0, lambda head: head & 0x1F in _H264_SETS)
    elif kind == _FU_A:
        _keep_fragment(masked, 2)
    else:
        masked.keep_nal(0, size, is_set=kind in _H264_SETS)


def _mask_h265(masked: _Masked) -> None:
    payload, size = masked.payload, len(masked.payload)
    kind = payload[0] >> 1 & 0x3F if size else 0
    if kind == _AP:
        # With decoding order numbers (DONL) the lengths lie elsewhere: then only the beginning is kept.
        masked.keep(0, 4)
        masked.keep_aggregate(2, 0, lambda head: head >> 1 & 0x3F in _H265_SETS)
    elif kind == _FU:
        _keep_fragment(masked, 3)
    else:
        masked.keep_nal(0, size, is_set=kind in _H265_SETS)


def _keep_fragment(masked: _Masked, head: int) -> None:
    """Keep the headers; of a unit's first fragment, whose top bit is set, its beginning as well."""
    payload, size = masked.payload, len(masked.payload)
    if size >= head and payload[head - 1] & 0x80:
        masked.keep_nal(0, size, is_set=False)
    else:
        masked.keep(0, head)
        for found in _START_CODE.finditer(payload, head):
            masked.keep(found.start(), 3 + _HEAD)

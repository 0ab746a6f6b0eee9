"""RTP and RTCP as a camera writes them: access units cut into payloads, headers, sender reports.

Owns the byte layouts of RFC 3550 (RTP, RTCP), RFC 6184 (H.264), RFC 7798 (H.265), RFC 2435 (JPEG) and RFC 3640 (AAC).
Pure: sends nothing. For the simulated camera only; the product's own reader (``capture.rtsp``) shares none of it.
"""

import struct
from collections.abc import Sequence

from edge_agent.units import SECOND_NS

MAX_PAYLOAD_BYTES = 1400
_NTP_EPOCH_S = 2_208_988_800  # 1900-01-01 to 1970-01-01
NTP_ZERO_NS = -_NTP_EPOCH_S * SECOND_NS
"""UTC whose NTP time is 0: what a camera writes that knows no time."""
_START_CODE = b"\x00\x00\x01"


def split_annexb(data: bytes) -> list[bytes]:
    """Split an Annex B byte stream into NAL units without start codes."""
    return [nal for part in data.split(_START_CODE) if (nal := part.rstrip(b"\x00"))]


def pack_h264(nals: Sequence[bytes]) -> list[bytes]:
    """Cut the NAL units of one access unit into RTP payloads: single NAL units and FU-A (RFC 6184, 5.6 and 5.8)."""
    payloads = []
    for nal in nals:
        if len(nal) <= MAX_PAYLOAD_BYTES:
            payloads.append(nal)
            continue
        indicator, kind = nal[0] & 0xE0 | 28, nal[0] & 0x1F
        pieces = _cut(nal[1:], MAX_PAYLOAD_BYTES - 2)
        for number, piece in enumerate(pieces):
            payloads.append(bytes((indicator, _fragment_flags(number, len(pieces)) | kind)) + piece)
    return payloads


def pack_h265(nals: Sequence[bytes]) -> list[bytes]:
    """Cut the NAL units of one access unit into RTP payloads: single NAL units and FUs (RFC 7798, 4.4.1 and 4.4.3)."""
    payloads = []
    for nal in nals:
        if len(nal) <= MAX_PAYLOAD_BYTES:
            payloads.append(nal)
            continue
        kind = nal[0] >> 1 & 0x3F
        header = bytes((nal[0] & 0x81 | 49 << 1, nal[1]))
        pieces = _cut(nal[2:], MAX_PAYLOAD_BYTES - 3)
        for number, piece in enumerate(pieces):
            payloads.append(header + bytes((_fragment_flags(number, len(pieces)) | kind,)) + piece)
    return payloads


def pack_jpeg(data: bytes) -> list[bytes]:
    """Cut a baseline JPEG 4:2:0 with the standard Huffman tables into RTP payloads (RFC 2435, Q 255: tables sent)."""
    tables, scan, width, height = _parse_jpeg(data)
    head = struct.pack(">BBBB", 1, 255, width // 8, height // 8)
    quantisation = struct.pack(">BBH", 0, 0, len(tables)) + tables
    payloads, offset = [], 0
    for piece in _cut(scan, MAX_PAYLOAD_BYTES - 8 - len(quantisation)):
        payloads.append(struct.pack(">I", offset) + head + (b"" if offset else quantisation) + piece)
        offset += len(piece)
    return payloads


def pack_aac(data: bytes) -> list[bytes]:
    """Wrap one raw AAC packet with its AU header section (RFC 3640, mode AAC-hbr: 13 bits of size, 3 of index)."""
    return [struct.pack(">HH", 16, len(data) << 3) + data]


def encode_rtp(payload: bytes, *, marker: bool, payload_type: int, sequence: int, ticks: int, ssrc: int) -> bytes:
    """Put the fixed RTP header before a payload (RFC 3550, 5.1)."""
    second = payload_type | (0x80 if marker else 0)
    return struct.pack(">BBHII", 0x80, second, sequence & 0xFFFF, ticks & 0xFFFFFFFF, ssrc) + payload


def encode_sender_report(ssrc: int, utc_ns: int, ticks: int, packets: int, octets: int) -> bytes:
    """Write a compound RTCP packet: sender report and CNAME (RFC 3550, 6.4.1 and 6.5)."""
    seconds, rest_ns = divmod(utc_ns, SECOND_NS)
    fraction = (rest_ns << 32) // SECOND_NS
    counts = (packets & 0xFFFFFFFF, octets & 0xFFFFFFFF)
    ntp_s = seconds + _NTP_EPOCH_S & 0xFFFFFFFF
    report = struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, ntp_s, fraction, ticks & 0xFFFFFFFF, *counts)
    return report + struct.pack(">BBHIBB6s4x", 0x81, 202, 4, ssrc, 1, 6, b"camera")


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _fragment_flags(number: int, count: int) -> int:
    return 0x80 if number == 0 else 0x40 if number == count - 1 else 0


def _parse_jpeg(data: bytes) -> tuple[bytes, bytes, int, int]:
    """Return quantisation tables, entropy-coded scan, width and height."""
    tables, width, height, place = b"", 0, 0, 2
    while True:
        marker, length = struct.unpack_from(">HH", data, place)
        body = data[place + 4 : place + 2 + length]
        if marker == 0xFFDB:
            tables += b"".join(body[start + 1 : start + 65] for start in range(0, len(body), 65))
        elif marker == 0xFFC0:
            height, width = struct.unpack_from(">HH", body, 1)
        elif marker == 0xFFDA:
            # An encoder may use one table for all; type 1 of RFC 2435 wants luma and chroma.
            tables = tables if len(tables) == 128 else tables * 2
            return tables, data[place + 2 + length : -2], width, height
        place += 2 + length

"""Which RTP packets count."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.rtsp.rtp import NEW_SOURCE, RtcpReport, RtpOrder, parse_report
from edge_agent.demo.rtp import encode_rtp, encode_sender_report


def packet(
    number: int, *, kind: int = 96, ssrc: int = 1, marker: bool = False, payload: bytes = b"xy", ticks: int = 5
) -> bytes:
    return encode_rtp(payload, marker=marker, payload_type=kind, sequence=number, ticks=ticks, ssrc=ssrc)


def steps(packets: list[bytes]) -> list[int | None]:
    order = RtpOrder(frozenset({96}))
    taken = [order.take(each, 0, len(each)) for each in packets]
    return [None if each is None else each.lost for each in taken]


CASES: dict[str, tuple[list[bytes], list[int | None]]] = {
    "in order, over the end of the numbers": ([packet(65_535), packet(0), packet(1)], [0, 0, 0]),
    "two missing": ([packet(1), packet(4)], [0, 2]),
    "a double": ([packet(1), packet(1), packet(2)], [0, None, 0]),
    "late by a few": ([packet(9), packet(7), packet(10)], [0, None, 0]),
    "set ahead by far": ([packet(1), packet(30_000), packet(30_001)], [0, 29_998, 0]),
    "set back by far": ([packet(30_000), packet(1), packet(2)], [0, 0x10000 - 30_000, 0]),
    "set back by a few": ([packet(60), *(packet(each, ticks=9) for each in (1, 2, 3))], [0, None, 1, 0]),
    "set back by a few, time as well": (
        [packet(60, ticks=2_000_000), *(packet(each, ticks=9) for each in (1, 2, 3))],
        [0, None, 1, 0],
    ),
    "each comes twice": ([packet(each) for each in (1, 1, 2, 2, 3)], [0, None, 0, None, 0]),
    "three of a picture come twice in a row": (
        [packet(each) for each in (1, 2, 3, 1, 2, 3, 4)],
        [0, 0, 0, None, 1, 0, 0],
    ),
    "set back by a few inside of a picture": (
        [packet(each) for each in (*range(30), 11, 12, 13)],
        [0] * 30 + [None, 1, 0],
    ),
    "some of the picture before come twice, from far on in time": (
        [packet(each, ticks=2**31 + ticks) for each, ticks in ((1, 0), (2, 0), (3, 3600), (1, 0), (2, 0), (4, 3600))],
        [0, 0, 0, None, None, 0],
    ),
    "some of another source's come twice": (
        [
            packet(each, ticks=ticks, ssrc=ssrc, marker=True)
            for each, ticks, ssrc in ((1, 0, 1), (2, 2**31, 2), (3, 2**31 + 9, 2), (2, 2**31, 2), (4, 2**31 + 9, 2))
        ],
        [0, 0, 0, None, 0],
    ),
    "some of the picture before come twice": (
        [
            packet(each, ticks=ticks)
            for each, ticks in ((1, 0), (2, 0), (3, 3600), (1, 0), (2, 0), (3, 3600), (4, 3600))
        ],
        [0, 0, 0, None, None, None, 0],
    ),
    "a B picture behind its reference, two packets of which come twice": (
        [
            packet(each, ticks=ticks)
            for each, ticks in ((1, 9000), (2, 9000), (3, 3000), (1, 9000), (2, 9000), (4, 3000))
        ],
        [0, 0, 0, None, 1, 1],
    ),
    "doubles over the end of the numbers and of time": (
        [
            packet(each % 65_536, ticks=2**32 - 4 + each - 65_535 & 0xFFFFFFFF)
            for each in (65_535, 65_536, 65_535, 65_536)
        ],
        [0, 0, None, None],
    ),
    "a double after a double": ([packet(9), packet(7), packet(9), packet(7), packet(10)], [0, None, None, None, 0]),
    "another payload type between": ([packet(1), packet(1, kind=50), packet(2)], [0, None, 0]),
    "another source at a border": ([packet(1, marker=True), packet(9, ssrc=2)], [0, NEW_SOURCE]),
    "a stray source in a picture": ([packet(1), packet(9, ssrc=2), packet(2)], [0, None, 0]),
    "another source that stays": (
        [packet(1), packet(8, ssrc=2), packet(9, ssrc=2), packet(10, ssrc=2), packet(11, ssrc=2)],
        [0, None, None, 2, 0],
    ),
    "another source that numbers on": ([packet(1), packet(2, ssrc=2), packet(3, ssrc=2)], [0, 0, 0]),
    "strays between packets in step": (
        [packet(1), packet(8, ssrc=2), packet(2), packet(9, ssrc=2), packet(3), packet(10, ssrc=2), packet(4)],
        [0, None, 0, None, 0, None, 0],
    ),
    "strays of several sources": (
        [packet(1), packet(8, ssrc=2), packet(8, ssrc=3), packet(8, ssrc=4), packet(2)],
        [0, None, None, None, 0],
    ),
}


@pytest.mark.parametrize(("packets", "expected"), CASES.values(), ids=CASES.keys())
def test_what_counts_and_what_is_missing(packets: list[bytes], expected: list[int | None]) -> None:
    """Gaps are counted, doubles and strangers left out."""
    assert steps(packets) == expected


def test_extras_of_the_header_are_skipped() -> None:
    """Contributing sources, an extension and padding are no payload."""
    extras = struct.pack(">II", 7, 8) + struct.pack(">HHI", 0xBEDE, 1, 9)
    plain = packet(1, payload=extras + b"payload" + b"\0\0\3")
    odd = bytes((0x80 | 0x20 | 0x10 | 2,)) + plain[1:]
    taken = RtpOrder(frozenset({96})).take(odd, 0, len(odd))
    assert taken is not None
    assert odd[taken.begin : taken.end] == b"payload"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    """What is told as payload lies inside of the packet."""
    taken = RtpOrder(frozenset(range(128))).take(data, 0, len(data))
    assert taken is None or 12 <= taken.begin <= taken.end <= len(data)
    parse_report(data, 0, len(data))


def test_sender_report_is_read() -> None:
    """NTP time, RTP time and packets of the compound packet's first report."""
    report = encode_sender_report(9, 0, 1234, 55, 66)
    assert parse_report(report, 0, len(report)) == RtcpReport(2_208_988_800 << 32, 1234, 55)

"""The parameter sets that a decoder holds: replaced one by one."""

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.commitments import CodecKind, inband_parameter_sets, split_prefixed
from edge_agent.media.decoder_sets import MOST_SETS, is_decodable, merge_sets, set_key
from tests.media.test_nut_writer import encode

KINDS = {
    "h264": (CodecKind.H264, "libx264", {}),
    "h265": (CodecKind.H265, "libx265", {"x265-params": "log-level=none"}),
}


def prefixed(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def sets_of(kind: CodecKind, encoder: str, options: dict[str, str]) -> list[bytes]:
    return [bytes(nal) for nal in split_prefixed(inband_parameter_sets(kind, b"", encode(encoder, 2, options)[0].data))]


IDS = {
    "H.264 SPS 0": (CodecKind.H264, bytes.fromhex("6742c01ff4"), (7, 0)),
    "H.264 SPS 1": (CodecKind.H264, bytes.fromhex("6742c01f40"), (7, 1)),
    "H.264 PPS 0": (CodecKind.H264, bytes.fromhex("68ce3c80"), (8, 0)),
    "H.264 PPS 2": (CodecKind.H264, bytes.fromhex("6860"), (8, 2)),
    "H.265 VPS 0": (CodecKind.H265, bytes.fromhex("40010c01"), (32, 0)),
    "H.265 VPS 3": (CodecKind.H265, bytes.fromhex("40013c01"), (32, 3)),
    "H.265 PPS 1": (CodecKind.H265, bytes.fromhex("44014172"), (34, 1)),
    "cut off": (CodecKind.H264, bytes.fromhex("6742"), (7, -1)),
    "header alone": (CodecKind.H265, bytes.fromhex("42"), (33, -1)),
}


@pytest.mark.parametrize(("kind", "nal", "key"), IDS.values(), ids=IDS.keys())
def test_id_is_read(kind: CodecKind, nal: bytes, key: tuple[int, int]) -> None:
    """A set's type and id are read as the standards write them."""
    assert set_key(kind, nal) == key


def test_id_of_an_sps_with_sublayers_is_read() -> None:
    """The sublayers' profiles and levels stand before the id (H.265 7.3.2.2)."""
    bits = "0000" + "010" + "1" + "0" * 96 + "11" + "01" + "00" * 6 + "0" * 96 + "0" * 8 + "00110"
    nal = b"\x42\x01" + int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big")
    # Emulation prevention, as the standard demands it.
    escaped = bytearray()
    for byte in nal:
        if escaped[-2:] == b"\0\0" and byte <= 3:
            escaped.append(3)
        escaped.append(byte)
    assert set_key(CodecKind.H265, bytes(escaped)) == (33, 5)


@pytest.mark.parametrize("name", KINDS)
def test_part_of_the_sets_replaces_that_part(name: str) -> None:
    """Whatever part of the sets comes again, in whatever order, all of them stay in force."""
    kind, encoder, options = KINDS[name]
    sets = sets_of(kind, encoder, options)
    current = prefixed(*sets)
    assert is_decodable(kind, current)
    for nal in sets:
        assert merge_sets(kind, current, prefixed(nal)) == current
        assert not is_decodable(kind, prefixed(nal))
    assert merge_sets(kind, current, prefixed(*reversed(sets))) == current
    pieces = b""
    for nal in reversed(sets):
        pieces = merge_sets(kind, pieces, prefixed(nal))
    assert pieces == current


def test_set_of_another_id_stands_beside_the_first() -> None:
    """Two PPS with two ids are both in force; the second of one id replaces the first."""
    one, two, other = b"\x68\x80", b"\x68\x40", b"\x68\xc0"
    both = merge_sets(CodecKind.H264, prefixed(one), prefixed(two))
    assert both == prefixed(one, two)
    assert merge_sets(CodecKind.H264, both, prefixed(other)) == prefixed(other, two)


@given(st.sampled_from(CodecKind), st.lists(st.binary(min_size=1, max_size=40), max_size=200))
def test_any_bytes_are_kept_within_bounds(kind: CodecKind, nals: list[bytes]) -> None:
    """No bytes that a camera can send raise, and the store has a bound."""
    current = b""
    for nal in nals:
        current = merge_sets(kind, current, prefixed(nal))
    assert len(list(split_prefixed(current))) <= MOST_SETS


@pytest.mark.parametrize("name", KINDS)
def test_merged_sets_decode(name: str) -> None:
    """A keyframe that brings one set only is decoded with those that were in force."""
    kind, encoder, options = KINDS[name]
    keyframe = encode(encoder, 2, options)[0].data
    sets = sets_of(kind, encoder, options)
    merged = merge_sets(kind, prefixed(*sets[:-1]), prefixed(sets[-1]))
    decoder = av.CodecContext.create("h264" if kind is CodecKind.H264 else "hevc", "r")
    decoder.extradata = b"".join(b"\0\0\0\1" + bytes(nal) for nal in split_prefixed(merged))
    assert [*decoder.decode(av.Packet(keyframe)), *decoder.decode(None)]

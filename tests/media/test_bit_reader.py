"""Bits and numbers of NAL units, as their standards write them."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.bit_reader import BitReader, add_up_bytes


@given(st.integers(0, 10**6), st.binary(max_size=4), st.binary(max_size=4))
def test_bytes_add_up_until_one_is_not_255(value: int, before: bytes, behind: bytes) -> None:
    """Whatever stands before and behind."""
    coded = bytes([255]) * (value // 255) + bytes([value % 255])
    assert add_up_bytes(before + coded + behind, len(before)) == (value, len(before) + len(coded))


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff" * 1000])
def test_number_without_an_end_is_none(data: bytes) -> None:
    with pytest.raises(IndexError):
        add_up_bytes(data, 0)


def test_number_of_millions_of_bytes_takes_no_step_for_each() -> None:
    """A camera that sends nothing else would hold up all others: it is charged for packets, not for bytes in them."""
    lines = 0

    def count(*_: object) -> object:
        nonlocal lines
        lines += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        value, _ = add_up_bytes(b"\xff" * 4_000_000 + b"\x01", 0)
    finally:
        sys.settrace(before)
    assert value == 255 * 4_000_000 + 1
    assert lines < 50


@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=8))
def test_exponential_golomb_numbers_are_read_as_they_are_written(values: list[int]) -> None:
    """H.264 9.1: as many zeros as bits follow the first one."""
    bits = "".join(f"{value + 1:b}".rjust(2 * (value + 1).bit_length() - 1, "0") for value in values)
    reader = BitReader(_pack(bits))
    assert [reader.exp_golomb() for _ in values] == values


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(0, (1 << 16) - 1)), min_size=1, max_size=8))
def test_fixed_numbers_are_read_as_they_are_written(fields: list[tuple[int, int]]) -> None:
    """The highest bit first; behind the end there is nothing."""
    written = [(bits, value % (1 << bits)) for bits, value in fields]
    reader = BitReader(_pack("".join(f"{value:0{bits}b}" for bits, value in written)))
    assert [reader.fixed(bits) for bits, _ in written] == [value for _, value in written]
    with pytest.raises(IndexError):
        reader.fixed(reader.left + 1)


def _pack(bits: str) -> bytes:
    """Put bits into bytes, with emulation prevention (H.264 7.4.1)."""
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    raw = bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))
    coded = bytearray()
    for byte in raw:
        if coded.endswith(b"\0\0") and byte <= 3:
            coded.append(3)
        coded.append(byte)
    return bytes(coded)

"""Which parameter sets a decoder holds: one for each kind and id, as the standards replace them.

Owns reading the id of a set (H.264 7.3.2.1 and 7.3.2.2, H.265 7.3.2.1 to 7.3.2.3) and the rule that a keyframe changes
what it brings and nothing else. Pure: bytes in, bytes out, in the form of ``media.parameter_sets``: NAL units by type,
each behind its length as four bytes big-endian.
"""

from collections.abc import Callable, Mapping

from edge_agent.media.commitments import CodecKind, split_prefixed

MOST_SETS = 64
"""Sets that are kept of a stream; cameras send three. One that sends ever new ids must not fill the memory."""
_HEADER_BYTES = 160
"""So many bytes of a set are looked at for its id: an H.265 SPS of seven sublayers has it after 90."""
_NEEDED = {CodecKind.H264: frozenset({7, 8}), CodecKind.H265: frozenset({32, 33, 34})}

SetKey = tuple[int, int]
"""NAL unit type, and id; the id is -1 if the set is too short to have one."""


class _Bits:
    """Reads a NAL unit's payload bit by bit; raises IndexError at its end."""

    def __init__(self, payload: bytes) -> None:
        # Emulation prevention (H.264 7.4.1, H.265 7.4.2): 00 00 03 stands for 00 00.
        self._bytes = payload.replace(b"\x00\x00\x03", b"\x00\x00")
        self._at = 0

    def skip(self, bits: int) -> None:
        self._at += bits

    def fixed(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = value << 1 | self._bytes[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def exp_golomb(self) -> int:
        """Read ue(v): as many zeros as bits follow the first one (H.264 9.1)."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
        return (1 << zeros) - 1 + self.fixed(zeros)


def set_key(kind: CodecKind, nal: bytes | memoryview) -> SetKey:
    """Return which set a NAL unit replaces: its type, and its id if it has one that can be read."""
    is_h264 = kind is CodecKind.H264
    unit_type = nal[0] & 0x1F if is_h264 else nal[0] >> 1 & 0x3F
    read = (_H264_IDS if is_h264 else _H265_IDS).get(unit_type)
    try:
        return unit_type, read(_Bits(bytes(nal[1 if is_h264 else 2 : _HEADER_BYTES]))) if read else -1
    except IndexError:
        return unit_type, -1


def merge_sets(kind: CodecKind, current: bytes, brought: bytes) -> bytes:
    """Return the sets in force after some more have come: each replaces the one of its kind and id.

    Sets that were not brought stay; their order does not change, so the same sets in another order are no news. A new
    SPS does not end its PPS: if an encoder is set anew it sends both, and one of two that was lost on the way is better
    replaced by the last one known than by none.

    Args:
        kind: Of the video; for others than H.264 and H.265 nothing is brought in band.
        current: The sets so far; may be empty.
        brought: Those of an access unit, or out of an SDP.
    """
    if not brought:
        return current
    store = {set_key(kind, nal): nal for nal in split_prefixed(current)}
    for nal in split_prefixed(brought):
        store[set_key(kind, nal)] = nal
    kept = sorted(store.items(), key=lambda entry: entry[0][0])[-MOST_SETS:]
    return b"".join(len(nal).to_bytes(4, "big") + bytes(nal) for _, nal in kept)


def is_decodable(kind: CodecKind, sets: bytes) -> bool:
    """Tell whether a set of each kind that a decoder needs is there."""
    return _NEEDED.get(kind, frozenset()) <= {set_key(kind, nal)[0] for nal in split_prefixed(sets)}


def _h264_sps_id(bits: _Bits) -> int:
    bits.skip(24)  # profile_idc, constraint flags, level_idc
    return bits.exp_golomb()


def _h265_sps_id(bits: _Bits) -> int:
    bits.skip(4)
    sublayers = bits.fixed(3)  # sps_max_sub_layers_minus1
    bits.skip(1 + 96)  # nesting flag; general profile, tier and level (H.265 7.3.3)
    present = [(bits.fixed(1), bits.fixed(1)) for _ in range(sublayers)]
    if sublayers:
        bits.skip(2 * (8 - sublayers))
    bits.skip(sum(88 * profile + 8 * level for profile, level in present))
    return bits.exp_golomb()


_H264_IDS: Mapping[int, Callable[[_Bits], int]] = {7: _h264_sps_id, 8: _Bits.exp_golomb}
_H265_IDS: Mapping[int, Callable[[_Bits], int]] = {
    32: lambda bits: bits.fixed(4),
    33: _h265_sps_id,
    34: _Bits.exp_golomb,
}

"""Which parameter sets a decoder holds: one for each kind and id, as the standards replace them.

Owns reading the id of a set (H.264 7.3.2.1 and 7.3.2.2, H.265 7.3.2.1 to 7.3.2.3) and the rule that a keyframe changes
what it brings and nothing else. Pure: bytes in, bytes out, in the form of ``commitments.parameter_sets``: NAL units by
type, each behind its length as four bytes big-endian.
"""

import contextlib
from collections.abc import Callable, Mapping

from edge_agent.media.bit_reader import BitReader
from edge_agent.media.commitments import CodecKind, split_annexb, split_prefixed
from edge_agent.media.sps import skip_profile

MOST_SETS = 64
"""Sets that are kept of a stream; cameras send three. One that sends ever new ids must not fill the memory."""
_HEADER_BYTES = 160
"""So many bytes of a set are looked at for its id: an H.265 SPS of seven sublayers has it after 90."""
# H.264 table 7-1: SPS, PPS. H.265 table 7-1: VPS, SPS, PPS.
_NEEDED = {CodecKind.H264: frozenset({7, 8}), CodecKind.H265: frozenset({32, 33, 34})}

SetKey = tuple[int, int]
"""NAL unit type, and id; the id is -1 if the set is too short to have one."""


def set_key(kind: CodecKind, nal: bytes | memoryview) -> SetKey:
    """Return which set a NAL unit replaces: its type, and its id if it has one that can be read."""
    is_h264 = kind is CodecKind.H264
    unit_type = nal[0] & 0x1F if is_h264 else nal[0] >> 1 & 0x3F
    read = (_H264_IDS if is_h264 else _H265_IDS).get(unit_type)
    try:
        return unit_type, read(BitReader(bytes(nal[1 if is_h264 else 2 : _HEADER_BYTES]))) if read else -1
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
    # By type, so that each set stands behind those that it refers to.
    kept = sorted(store.items(), key=lambda entry: entry[0][0])[-MOST_SETS:]
    return b"".join(len(nal).to_bytes(4, "big") + bytes(nal) for _, nal in kept)


def is_decodable(kind: CodecKind, sets: bytes) -> bool:
    """Tell whether a set of each kind that a decoder needs is there."""
    return _NEEDED.get(kind, frozenset()) <= {set_key(kind, nal)[0] for nal in split_prefixed(sets)}


def find_active_sps(kind: CodecKind, sets: bytes, keyframe: bytes) -> memoryview | None:
    """Return the sequence parameter set by which a keyframe is decoded: the one of its first slice's PPS.

    Args:
        kind: H.264 or H.265.
        sets: Those in force.
        keyframe: In Annex B.

    Returns:
        A NAL unit; None if the keyframe has no slice, or the set is not there.
    """
    sps_type, pps_type, read_pps = (7, 8, _h264_slice_pps) if kind is CodecKind.H264 else (33, 34, _h265_slice_pps)
    store = {set_key(kind, nal): nal for nal in split_prefixed(sets)}
    with contextlib.suppress(IndexError):
        for nal in split_annexb(keyframe):
            pps_id = read_pps(bytes(nal[:_HEADER_BYTES]))
            if pps_id is None:
                continue
            # A slice names its PPS, and the PPS its SPS (H.264 7.4.2.2, H.265 7.4.3.3).
            pps = store.get((pps_type, pps_id))
            if pps is None:
                return None
            bits = BitReader(bytes(pps[1 if kind is CodecKind.H264 else 2 : _HEADER_BYTES]))
            bits.exp_golomb()
            return store.get((sps_type, bits.exp_golomb()))
    return None


def _h264_slice_pps(nal: bytes) -> int | None:
    """Return ``pic_parameter_set_id`` of a slice (H.264 7.3.3); None if the NAL unit is none."""
    # Types 3 and 4 are later partitions of a slice, without its header (H.264 7.3.2.9).
    if nal[0] & 0x1F not in (1, 2, 5):
        return None
    bits = BitReader(nal[1:])
    bits.exp_golomb()  # first_mb_in_slice
    bits.exp_golomb()  # slice_type
    return bits.exp_golomb()


def _h265_slice_pps(nal: bytes) -> int | None:
    """Return ``slice_pic_parameter_set_id`` of a slice segment (H.265 7.3.6.1); None if the NAL unit is none."""
    unit_type = nal[0] >> 1 & 0x3F
    if unit_type >= 32:
        return None
    bits = BitReader(nal[2:])
    bits.skip(2 if 16 <= unit_type <= 23 else 1)  # first_slice_segment_in_pic_flag, no_output_of_prior_pics_flag
    return bits.exp_golomb()


def _h264_sps_id(bits: BitReader) -> int:
    bits.skip(24)  # profile_idc, constraint flags, level_idc
    return bits.exp_golomb()


def _h265_sps_id(bits: BitReader) -> int:
    bits.skip(4)
    sublayers = bits.fixed(3)  # sps_max_sub_layers_minus1
    skip_profile(bits, sublayers)
    return bits.exp_golomb()


_H264_IDS: Mapping[int, Callable[[BitReader], int]] = {7: _h264_sps_id, 8: BitReader.exp_golomb}
_H265_IDS: Mapping[int, Callable[[BitReader], int]] = {
    32: lambda bits: bits.fixed(4),
    33: _h265_sps_id,
    34: BitReader.exp_golomb,
}

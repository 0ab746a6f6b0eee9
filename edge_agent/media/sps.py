"""What a sequence parameter set says of the pictures: their size, the shape of a pixel, how far they are reordered.

Owns the reading of it (H.264 7.3.2.1.1 and E.1.1, H.265 7.3.2.2 and E.2.1), as far as that. Pure.
"""

import contextlib
from dataclasses import dataclass
from fractions import Fraction

from edge_agent.media.bit_reader import BitReader
from edge_agent.media.commitments import CodecKind

MOST_PIXELS = 16_384
"""Of a side."""
_ASPECTS = (
    *((0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11), (80, 33), (18, 11)),
    *((15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1)),
)
"""Width and height of a pixel by ``aspect_ratio_idc`` (H.264 table E-1, H.265 table E.1)."""
_EXTENDED_ASPECT = 255
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244})
_BASELINE = 66
_MOST_REFERENCES = 255
_MOST_BYTES = 4096
"""Every scaling list at its longest takes 3 KiB; a reader of bits is not given more than that of a stranger's bytes."""
_MOST_SETS, _MOST_IN_SET, _MOST_LONG_TERM = 64, 16, 32


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What the pictures are."""

    width: int
    """In pixels, after cropping."""
    height: int
    sample_aspect: Fraction
    """Width of a pixel by its height; 0 if it is not said."""
    reorder_depth: int | None
    """How many pictures a decoder holds back to show them in order; None if it is not said."""


def parse_sps(kind: CodecKind, nal: bytes | memoryview) -> PictureFormat:
    """Read a sequence parameter set.

    Args:
        kind: H.264 or H.265.
        nal: The NAL unit, its header included; bytes behind its end do no harm.

    Raises:
        ValueError: It is cut short, or says what no encoder says.
    """
    try:
        if kind is CodecKind.H264:
            found = _parse_h264(BitReader(bytes(nal[1:_MOST_BYTES])))
        else:
            found = _parse_h265(BitReader(bytes(nal[2:_MOST_BYTES])))
    except IndexError:
        raise ValueError("the parameter set ends too soon") from None
    if not (0 < found.width <= MOST_PIXELS and 0 < found.height <= MOST_PIXELS):
        raise ValueError("the parameter set has no size")
    return found


def _parse_h264(bits: BitReader) -> PictureFormat:
    profile = bits.fixed(8)
    bits.skip(16)  # constraint flags, level_idc
    bits.exp_golomb()  # seq_parameter_set_id
    chroma = _read_high_profile(bits) if profile in _HIGH_PROFILES else 1
    bits.exp_golomb()  # log2_max_frame_num_minus4
    order_type = _skip_picture_order(bits)
    bits.exp_golomb()  # max_num_ref_frames
    bits.skip(1)
    width, rows = 16 * (bits.exp_golomb() + 1), 16 * (bits.exp_golomb() + 1)
    fields = 1 if bits.flag() else 2  # frame_mbs_only_flag
    height = rows * fields
    bits.skip(fields)
    if bits.flag():  # frame_cropping_flag
        unit_x, unit_y = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1) * fields
        left, right, top, bottom = (bits.exp_golomb() for _ in range(4))
        width, height = width - unit_x * (left + right), height - unit_y * (top + bottom)
    depth = 0 if order_type == 2 or profile == _BASELINE else None
    aspect = Fraction(0)
    if bits.flag():  # vui_parameters_present_flag
        aspect = _read_aspect(bits)
        with contextlib.suppress(IndexError):  # some encoders cut the rest off
            told = _read_h264_reordering(bits)
            depth = depth if told is None else told
    return PictureFormat(width, height, aspect, depth)


def _read_high_profile(bits: BitReader) -> int:
    """Return ``chroma_format_idc``, 0 also for planes that are coded separately."""
    chroma = bits.exp_golomb()
    is_separate = chroma == 3 and bits.flag()
    bits.exp_golomb()  # bit_depth_luma_minus8
    bits.exp_golomb()
    bits.skip(1)
    if bits.flag():  # seq_scaling_matrix_present_flag
        for number in range(8 if chroma != 3 else 12):
            if bits.flag():
                _skip_h264_scaling_list(bits, 16 if number < 6 else 64)
    return 0 if is_separate else chroma


def _skip_h264_scaling_list(bits: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_exp_golomb()) & 255
        last = following or last


def _skip_picture_order(bits: BitReader) -> int:
    """Return ``pic_order_cnt_type``."""
    order_type = bits.exp_golomb()
    if order_type == 0:
        bits.exp_golomb()
    elif order_type == 1:
        bits.skip(1)
        bits.signed_exp_golomb()
        bits.signed_exp_golomb()
        for _ in range(_bounded(bits.exp_golomb(), _MOST_REFERENCES)):
            bits.signed_exp_golomb()
    return order_type


def _read_aspect(bits: BitReader) -> Fraction:
    if not bits.flag():  # aspect_ratio_info_present_flag
        return Fraction(0)
    code = bits.fixed(8)
    if code == _EXTENDED_ASPECT:
        width, height = bits.fixed(16), bits.fixed(16)
    else:
        width, height = _ASPECTS[code] if code < len(_ASPECTS) else (0, 1)
    return Fraction(width, height) if height else Fraction(0)


def _read_h264_reordering(bits: BitReader) -> int | None:
    """Read on behind the shape of a pixel (E.1.1); return ``max_num_reorder_frames``, or None if it is not there."""
    if bits.flag():  # overscan_info_present_flag
        bits.skip(1)
    if bits.flag():  # video_signal_type_present_flag
        bits.skip(4)
        bits.skip(24 if bits.flag() else 0)
    if bits.flag():  # chroma_loc_info_present_flag
        bits.exp_golomb()
        bits.exp_golomb()
    if bits.flag():  # timing_info_present_flag
        bits.skip(65)
    has_buffer = [_skip_h264_buffer(bits) for _ in range(2)]
    bits.skip(1 if any(has_buffer) else 0)
    bits.skip(1)
    if not bits.flag():  # bitstream_restriction_flag
        return None
    bits.skip(1)
    for _ in range(4):
        bits.exp_golomb()
    return _bounded(bits.exp_golomb(), _MOST_IN_SET)


def _skip_h264_buffer(bits: BitReader) -> bool:
    """Pass over parameters of a hypothetical decoder (E.1.2); tell whether there are any."""
    if not bits.flag():
        return False
    count = _bounded(bits.exp_golomb(), 31) + 1
    bits.skip(8)
    for _ in range(count):
        bits.exp_golomb()
        bits.exp_golomb()
        bits.skip(1)
    bits.skip(20)
    return True


def _parse_h265(bits: BitReader) -> PictureFormat:
    bits.skip(4)
    sublayers = bits.fixed(3)  # sps_max_sub_layers_minus1
    skip_profile(bits, sublayers)
    bits.exp_golomb()  # sps_seq_parameter_set_id
    chroma = bits.exp_golomb()
    chroma = 0 if chroma == 3 and bits.flag() else chroma
    width, height = bits.exp_golomb(), bits.exp_golomb()
    if bits.flag():  # conformance_window_flag
        unit_x, unit_y = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1)
        left, right, top, bottom = (bits.exp_golomb() for _ in range(4))
        width, height = width - unit_x * (left + right), height - unit_y * (top + bottom)
    bits.exp_golomb()
    bits.exp_golomb()
    order_bits = bits.exp_golomb() + 4  # log2_max_pic_order_cnt_lsb_minus4
    depth = 0
    for _ in range(sublayers + 1 if bits.flag() else 1):
        bits.exp_golomb()
        depth = _bounded(bits.exp_golomb(), _MOST_IN_SET)
        bits.exp_golomb()
    aspect = Fraction(0)
    with contextlib.suppress(IndexError):
        aspect = _read_h265_aspect(bits, order_bits)
    return PictureFormat(width, height, aspect, depth)


def skip_profile(bits: BitReader, sublayers: int) -> None:
    """Pass over nesting flag, profile, tier and levels (H.265 7.3.3)."""
    bits.skip(1 + 96)
    present = [(bits.fixed(1), bits.fixed(1)) for _ in range(sublayers)]
    if sublayers:
        bits.skip(2 * (8 - sublayers))
    bits.skip(sum(88 * profile + 8 * level for profile, level in present))


def _read_h265_aspect(bits: BitReader, order_bits: int) -> Fraction:
    """Read on behind the numbers of pictures (7.3.2.2.1), as far as the shape of a pixel."""
    for _ in range(6):
        bits.exp_golomb()
    if bits.flag() and bits.flag():  # scaling_list_enabled_flag, sps_scaling_list_data_present_flag
        _skip_h265_scaling_lists(bits)
    bits.skip(2)
    if bits.flag():  # pcm_enabled_flag
        bits.skip(8)
        bits.exp_golomb()
        bits.exp_golomb()
        bits.skip(1)
    counts: list[int] = []
    for _ in range(_bounded(bits.exp_golomb(), _MOST_SETS)):
        counts.append(_skip_reference_set(bits, counts))
    if bits.flag():  # long_term_ref_pics_present_flag
        bits.skip(_bounded(bits.exp_golomb(), _MOST_LONG_TERM) * (order_bits + 1))
    bits.skip(2)
    return _read_aspect(bits) if bits.flag() else Fraction(0)  # vui_parameters_present_flag


def _skip_h265_scaling_lists(bits: BitReader) -> None:
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not bits.flag():  # scaling_list_pred_mode_flag
                bits.exp_golomb()
                continue
            if size > 1:
                bits.signed_exp_golomb()
            for _ in range(min(64, 1 << (4 + 2 * size))):
                bits.signed_exp_golomb()


def _skip_reference_set(bits: BitReader, counts: list[int]) -> int:
    """Pass over st_ref_pic_set (7.3.7), given the sizes of those before; return its own size."""
    if counts and bits.flag():  # inter_ref_pic_set_prediction_flag
        bits.skip(1)
        bits.exp_golomb()
        # used_by_curr_pic_flag, and use_delta_flag where that is not set.
        return sum(1 for _ in range(counts[-1] + 1) if bits.flag() or bits.flag())
    negative, positive = (_bounded(bits.exp_golomb(), _MOST_IN_SET) for _ in range(2))
    for _ in range(negative + positive):
        bits.exp_golomb()
        bits.skip(1)
    return negative + positive


def _bounded(count: int, most: int) -> int:
    if count > most:
        raise ValueError("the parameter set counts too much")
    return count

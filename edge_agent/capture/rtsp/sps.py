"""What a recorder needs of a sequence parameter set: size, pixel shape, and whether pictures are reordered.

Owns H.264 7.3.2.1.1 with Annex E, and H.265 7.3.2.2 with Annex E as far as its aspect ratio. Pure.
"""

from dataclasses import dataclass
from fractions import Fraction

MAX_SPS_BYTES = 4096
_MOST_SIDE = 16_384
# H.264 table E-1, H.265 table E-1: aspect_ratio_idc.
_ASPECTS = (
    (0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11), (80, 33), (18, 11), (15, 11),
    (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip
_EXTENDED_SAR = 255
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244})
_BASELINE = 66


class SpsError(ValueError):
    """A parameter set cannot be read, or describes no picture that a camera makes."""


@dataclass(frozen=True, slots=True)
class PictureForm:
    """What a sequence parameter set says of the pictures."""

    width: int
    height: int
    reorder_depth: int | None
    """Pictures that may come before one that is shown earlier; None if it does not tell."""
    sample_aspect: Fraction
    """Width of a pixel by its height; 0 if it does not tell."""


class _SpsBits:
    """Reads bits; SpsError behind the end."""

    def __init__(self, nal: bytes, head_bytes: int) -> None:
        if len(nal) > MAX_SPS_BYTES:
            raise SpsError("too long")
        # Emulation prevention (H.264 7.4.1, H.265 7.4.2): 00 00 03 stands for 00 00.
        payload = nal[head_bytes:].replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def fixed(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise SpsError("too short")
        return self._value >> self._left & (1 << bits) - 1

    def exp_golomb(self) -> int:
        """Read ue(v) (H.264 9.1)."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
            if zeros > 32:
                raise SpsError("a number is too long")
        return (1 << zeros) - 1 + self.fixed(zeros)

    def skip_exp_golombs(self, count: int) -> None:
        for _ in range(count):
            self.exp_golomb()

    def signed(self) -> int:
        """Read se(v) (H.264 9.1.1)."""
        number = self.exp_golomb()
        return (number + 1) // 2 if number & 1 else -(number // 2)


def parse_h264_sps(nal: bytes) -> PictureForm:
    """Parse an H.264 SPS; SpsError if that cannot be."""
    bits = _SpsBits(nal, 1)
    profile = bits.fixed(8)
    bits.fixed(16)
    bits.exp_golomb()
    chroma, is_separate = _skip_h264_high(bits) if profile in _HIGH_PROFILES else (1, 0)
    bits.exp_golomb()  # log2_max_frame_num_minus4
    order_kind = _skip_h264_order(bits)
    bits.exp_golomb()  # max_num_ref_frames
    bits.fixed(1)
    width, height = (bits.exp_golomb() + 1) * 16, (bits.exp_golomb() + 1) * 16
    frames_only = bits.fixed(1)
    height *= 2 - frames_only
    bits.fixed(1 if frames_only else 2)  # mb_adaptive_frame_field_flag, direct_8x8_inference_flag
    if bits.fixed(1):
        is_420 = chroma == 1 and not is_separate
        step_x = 2 if chroma in (1, 2) and not is_separate else 1
        step_y = (2 if is_420 else 1) * (2 - frames_only)
        left, right, top, bottom = (bits.exp_golomb() for _ in range(4))
        width, height = width - (left + right) * step_x, height - (top + bottom) * step_y
    aspect, depth = _read_h264_vui(bits) if bits.fixed(1) else (Fraction(0), None)
    if depth is None and (order_kind == 2 or profile == _BASELINE):
        depth = 0
    return _checked(width, height, depth, aspect)


def _skip_h264_high(bits: _SpsBits) -> tuple[int, int]:
    chroma, is_separate = bits.exp_golomb(), 0
    if chroma == 3:
        is_separate = bits.fixed(1)
    bits.skip_exp_golombs(2)  # bit depths
    bits.fixed(1)
    if bits.fixed(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.fixed(1):
                _skip_h264_scaling(bits, 16 if number < 6 else 64)
    return chroma, is_separate


def _skip_h264_scaling(bits: _SpsBits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_h264_order(bits: _SpsBits) -> int:
    kind = bits.exp_golomb()
    if kind == 0:
        bits.exp_golomb()
    elif kind == 1:
        bits.fixed(1)
        bits.skip_exp_golombs(2)
        count = bits.exp_golomb()
        if count > 255:
            raise SpsError("num_ref_frames_in_pic_order_cnt_cycle")
        bits.skip_exp_golombs(count)
    return kind


def _read_aspect(bits: _SpsBits) -> Fraction:
    kind = bits.fixed(8)
    if kind == _EXTENDED_SAR:
        width, height = bits.fixed(16), bits.fixed(16)
        return Fraction(width, height) if height else Fraction(0)
    return Fraction(*_ASPECTS[kind]) if kind < len(_ASPECTS) else Fraction(0)


def _read_h264_vui(bits: _SpsBits) -> tuple[Fraction, int | None]:
    """Return the aspect of a pixel and the depth of reordering (H.264 E.1.1)."""
    aspect = _read_aspect(bits) if bits.fixed(1) else Fraction(0)
    try:
        return aspect, _read_h264_depth(bits)
    except SpsError:  # some encoders cut the rest off
        return aspect, None


def _read_h264_depth(bits: _SpsBits) -> int | None:
    if bits.fixed(1):
        bits.fixed(1)
    if bits.fixed(1):
        bits.fixed(4)
        if bits.fixed(1):
            bits.fixed(24)
    if bits.fixed(1):
        bits.skip_exp_golombs(2)
    if bits.fixed(1):
        bits.fixed(65)
    has_hrd = [_skip_h264_hrd(bits) for _ in range(2) if bits.fixed(1)]
    if has_hrd:
        bits.fixed(1)
    bits.fixed(1)
    if not bits.fixed(1):
        return None
    bits.fixed(1)
    bits.skip_exp_golombs(4)
    return bits.exp_golomb()


def _skip_h264_hrd(bits: _SpsBits) -> bool:
    count = bits.exp_golomb() + 1
    if count > 32:
        raise SpsError("cpb_cnt")
    bits.fixed(8)
    for _ in range(count):
        bits.skip_exp_golombs(2)
        bits.fixed(1)
    bits.fixed(20)
    return True


def parse_h265_sps(nal: bytes) -> PictureForm:
    """Parse an H.265 SPS as far as its size and order, and its aspect if that is near; SpsError if that cannot be."""
    bits = _SpsBits(nal, 2)
    bits.fixed(4)
    sublayers = bits.fixed(3)
    bits.fixed(1)
    _skip_h265_levels(bits, sublayers)
    bits.exp_golomb()
    chroma = bits.exp_golomb()
    is_separate = bits.fixed(1) if chroma == 3 else 0
    width, height = bits.exp_golomb(), bits.exp_golomb()
    if bits.fixed(1):
        step_x = 2 if chroma in (1, 2) and not is_separate else 1
        step_y = 2 if chroma == 1 else 1
        left, right, top, bottom = (bits.exp_golomb() for _ in range(4))
        width, height = width - (left + right) * step_x, height - (top + bottom) * step_y
    bits.skip_exp_golombs(3)  # bit depths, log2_max_pic_order_cnt_lsb_minus4
    depth = 0
    for _ in range(sublayers + 1 if bits.fixed(1) else 1):
        bits.exp_golomb()
        depth = bits.exp_golomb()
        bits.exp_golomb()
    try:
        aspect = _read_h265_aspect(bits)
    except SpsError:
        aspect = Fraction(0)
    return _checked(width, height, depth, aspect)


def _skip_h265_levels(bits: _SpsBits, sublayers: int) -> None:
    """Skip profile_tier_level (H.265 7.3.3)."""
    bits.fixed(96)
    present = [(bits.fixed(1), bits.fixed(1)) for _ in range(sublayers)]
    if sublayers:
        bits.fixed(2 * (8 - sublayers))
    bits.fixed(sum(88 * profile + 8 * level for profile, level in present))


def _read_h265_aspect(bits: _SpsBits) -> Fraction:
    """Read on to the aspect of a pixel in the VUI; 0 if something stands before it that is not skipped here."""
    bits.skip_exp_golombs(6)  # block sizes, transform depths
    if bits.fixed(1) and bits.fixed(1):  # scaling lists of its own: no camera was seen to write any
        return Fraction(0)
    bits.fixed(2)
    if bits.fixed(1):
        bits.fixed(8)
        bits.skip_exp_golombs(2)
        bits.fixed(1)
    sets = bits.exp_golomb()
    if sets > 64 or not _skip_h265_references(bits, sets):
        return Fraction(0)
    if bits.fixed(1):
        return Fraction(0)  # long-term references
    bits.fixed(2)
    return _read_aspect(bits) if bits.fixed(1) and bits.fixed(1) else Fraction(0)


def _skip_h265_references(bits: _SpsBits, sets: int) -> bool:
    """Skip short-term reference picture sets (H.265 7.3.7); False if one is predicted from another."""
    for number in range(sets):
        if number and bits.fixed(1):
            return False
        count = bits.exp_golomb() + bits.exp_golomb()
        if count > 16:
            raise SpsError("num_negative_pics")
        for _ in range(count):
            bits.exp_golomb()
            bits.fixed(1)
    return True


def _checked(width: int, height: int, depth: int | None, aspect: Fraction) -> PictureForm:
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE):
        raise SpsError("no picture has such a size")
    return PictureForm(width, height, depth if depth is None or depth <= 16 else None, aspect)

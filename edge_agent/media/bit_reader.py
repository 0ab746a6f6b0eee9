"""Reads the header of a NAL unit bit by bit (H.264 7.2 and 9.1, H.265 7.2 and 9.2). Pure."""

# H.264 9.1, H.265 9.2: no ue(v) of either standard has more leading zeros.
_MOST_ZEROS = 32


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

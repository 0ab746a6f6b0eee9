"""AAC as LATM out of RTP payloads (RFC 6416 6, ISO/IEC 14496-3 1.7.3). Pure.

Taken is what cameras send: one program of one layer, its configuration in the description (``cpresent=0``), and RTP
time that runs by samples. Anything else is FFmpeg's to read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.capture.rtsp.rtp import RtpPacket
from edge_agent.capture.rtsp.sound_unit import MAX_SOUND_BYTES, SoundUnit
from edge_agent.media.bit_reader import BitReader, add_up_bytes

# ISO/IEC 14496-3 table 1.18, samplingFrequencyIndex.
_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350)
_EXPLICIT, _AAC_LC = 15, 2
_SAMPLES, _SHORT_SAMPLES = 1024, 960


@dataclass(frozen=True, slots=True)
class LatmConfig:
    """What a StreamMuxConfig says, as far as it is taken."""

    extradata: bytes
    """AudioSpecificConfig of AAC-LC, with nothing behind it."""
    rate: int
    units: int
    """In each AudioMuxElement."""
    samples: int
    """Of a unit."""


def parse_latm_config(config: bytes) -> LatmConfig | None:
    """Parse a StreamMuxConfig (ISO/IEC 14496-3 table 1.42); None if it is of a kind that is not taken."""
    bits = BitReader(config[:64])
    try:
        version, has_same_framing, units = bits.fixed(1), bits.fixed(1), bits.fixed(6) + 1
        programs, layers = bits.fixed(4), bits.fixed(3)
        # AudioSpecificConfig (1.6.2.1), then GASpecificConfig (4.4.1).
        kind, index = bits.fixed(5), bits.fixed(4)
        rate = bits.fixed(24) if index == _EXPLICIT else _RATES[index]
        channels, is_short, rest = bits.fixed(4), bits.fixed(1), bits.fixed(2)
        length_kind = bits.fixed(3) if bits.left >= 3 else 0  # some cameras end it here
    except IndexError:
        return None
    if (version, has_same_framing, programs, layers, length_kind) != (0, 1, 0, 0, 0):
        return None
    if kind != _AAC_LC or rest or not channels or not rate:
        return None
    # Written anew from the fields that were read: nothing else of the camera's bits reaches a decoder.
    size, value = (16, index) if index != _EXPLICIT else (40, _EXPLICIT << 24 | rate)
    packed = ((kind << (4 if size == 16 else 28) | value) << 4 | channels) << 3 | is_short << 2
    return LatmConfig(packed.to_bytes(size // 8, "big"), rate, units, _SHORT_SAMPLES if is_short else _SAMPLES)


class LatmDepacketizer:
    """AudioMuxElements without a configuration of their own, each of one packet or several (RFC 6416 6.3)."""

    def __init__(self, config: LatmConfig) -> None:
        self._config = config
        self._parts: list[bytes] = []
        self._ticks = self._size = 0
        self._is_whole = True

    def take(self, data: bytes, packet: RtpPacket) -> Sequence[SoundUnit]:
        """Return the units that a packet completes; an element of which a part may be missing is left out."""
        begin, end, ticks, is_marked, lost = packet
        if lost or (self._parts and ticks != self._ticks):
            self._begin(is_whole=not lost)
        self._ticks, self._size = ticks, self._size + end - begin
        if self._size > MAX_SOUND_BYTES:
            self._begin(is_whole=False)
        self._parts.append(data[begin:end])
        if not is_marked:
            return ()
        element, is_whole = b"".join(self._parts), self._is_whole
        self._begin(is_whole=True)
        return self._split(element, ticks) if is_whole else ()

    def _begin(self, *, is_whole: bool) -> None:
        self._parts, self._size, self._is_whole = [], 0, is_whole

    def _split(self, element: bytes, ticks: int) -> Sequence[SoundUnit]:
        """Take an element apart: PayloadLengthInfo and payload of each unit (tables 1.44 and 1.45)."""
        units: list[SoundUnit] = []
        at, samples = 0, self._config.samples
        for number in range(self._config.units):
            try:
                size, at = add_up_bytes(element, at)
            except IndexError:
                break  # the element ends within a length
            if at + size > len(element):
                break
            if size:
                units.append((ticks + number * samples & 0xFFFFFFFF, samples, element[at : at + size]))
            at += size
        return units

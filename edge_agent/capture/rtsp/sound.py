"""Sound out of RTP payloads: AAC (RFC 3640; ``latm`` has that of RFC 6416), G.711 (RFC 3551), Opus (RFC 7587). Pure."""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.capture.rtsp.latm import LatmDepacketizer, parse_latm_config
from edge_agent.capture.rtsp.rtp import RtpPacket
from edge_agent.capture.rtsp.sdp import SdpMedium
from edge_agent.capture.rtsp.sound_unit import MAX_SOUND_BYTES, SoundUnit

# Of an AAC packet, by its frameLengthFlag.
_SAMPLES = 1024
_SHORT_SAMPLES = 960
# RFC 7587, 4.1: the RTP clock of Opus, whatever the sound was sampled with.
_OPUS_RATE = 48_000
_MOST_UNITS = 64
"""In one packet, and fragments of one unit: a bound on the work that a camera can make."""


class SoundDepacketizer(Protocol):
    """Turns the packets of one track of sound into access units."""

    def take(self, data: bytes, packet: RtpPacket) -> Sequence[SoundUnit]:
        """Return the units that a packet completes."""


@dataclass(frozen=True, slots=True)
class SoundForm:
    """How a track of sound is recorded."""

    codec: str
    """FFmpeg's name."""
    extradata: bytes
    depacketizer: SoundDepacketizer


def find_sound(medium: SdpMedium) -> SoundForm | None:
    """Return how a track of sound is taken apart; None if its codec, or its form, is not known here."""
    if medium.codec in ("PCMA", "PCMU"):
        return SoundForm("pcm_alaw" if medium.codec == "PCMA" else "pcm_mulaw", b"", _Plain(medium.channels))
    if medium.codec == "OPUS":
        return SoundForm("opus", b"", _Opus())
    if medium.codec == "MP4A-LATM":
        return _find_latm(medium)
    if medium.codec != "MPEG4-GENERIC" or not medium.fields.get("mode", "AAC-hbr").lower().startswith("aac"):
        return None
    try:
        config = binascii.unhexlify(medium.fields.get("config", ""))
        form = [int(medium.fields.get(name, str(usual))) for name, usual in _AAC_FIELDS]
    except ValueError:
        # Not hexadecimal, or not a number (RFC 3640 4.1): nothing tells how to decode it.
        return None
    size_bits, index_bits, delta_bits = form
    if not config or not 1 <= size_bits <= 16 or not 0 <= index_bits <= 16 or not 0 <= delta_bits <= 16:
        return None
    return SoundForm("aac", config, _Aac(size_bits, (index_bits, delta_bits), _aac_samples(config)))


def _find_latm(medium: SdpMedium) -> SoundForm | None:
    """Return how LATM is taken apart: with its configuration in the description (RFC 6416 7.3), and time by samples."""
    if medium.fields.get("cpresent", "1") != "0":
        return None
    try:
        config = parse_latm_config(binascii.unhexlify(medium.fields.get("config", "")))
    except ValueError:
        return None
    if config is None or config.rate != medium.clock_rate:
        return None
    return SoundForm("aac", config.extradata, LatmDepacketizer(config))


# RFC 3640, 3.3.6: the widths of mode AAC-hbr, for a description that leaves them out.
_AAC_FIELDS = (("sizelength", 13), ("indexlength", 3), ("indexdeltalength", 3))


def _aac_samples(config: bytes) -> int:
    """Return the samples of a packet, by frameLengthFlag of an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).

    Object type 5 bits, frequency index 4 (24 more if it is 15), channels 4, then the flag.
    """
    bits = int.from_bytes(config[:8].ljust(8, b"\0"), "big")
    at = 9 + (24 if bits >> 55 & 0xF == 0xF else 0) + 4
    return _SHORT_SAMPLES if bits >> (63 - at) & 1 else _SAMPLES


class _Plain:
    """A byte a sample and channel; a packet is a unit."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def take(self, data: bytes, packet: RtpPacket) -> Sequence[SoundUnit]:
        """Return the packet's payload."""
        payload = data[packet.begin : packet.end]
        return ((packet.ticks, len(payload) // self._channels, payload),) if payload else ()


class _Opus:
    """A packet is a unit; its first byte tells how long it lasts (RFC 6716 3.1)."""

    def take(self, data: bytes, packet: RtpPacket) -> Sequence[SoundUnit]:
        """Return the packet's payload."""
        payload = data[packet.begin : packet.end]
        return ((packet.ticks, _opus_ticks(payload), payload),) if payload else ()


def _opus_ticks(payload: bytes) -> int:
    """Return the duration at 48 kHz: table 2 and 3.2 of RFC 6716; at most 120 ms."""
    config, code = payload[0] >> 3, payload[0] & 3
    # Table 2: SILK 10 to 60 ms, hybrid 10 and 20, CELT 2.5 to 20.
    if config < 12:
        each = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        each = (480, 960)[config & 1]
    else:
        each = (120, 240, 480, 960)[config & 3]
    # RFC 6716, 3.2.5: with code 3 the second byte has the number of frames, in six bits.
    count = (1, 2, 2, payload[1] & 0x3F if len(payload) > 1 else 0)[code]
    return min(each * count, _OPUS_RATE * 120 // 1000)


class _Aac:
    """Units behind a section of headers, several a packet, or one over several packets (RFC 3640 3.2)."""

    def __init__(self, size_bits: int, index_bits: tuple[int, int], samples: int) -> None:
        self._size_bits, self._index_bits, self._samples = size_bits, index_bits, samples
        self._fragments: list[bytes] = []
        self._fragment_ticks = self._wanted = 0

    def take(self, data: bytes, packet: RtpPacket) -> Sequence[SoundUnit]:
        """Return the units that a packet completes; one whose parts are missing is left out."""
        begin, end, ticks, _, lost = packet
        # All fragments of a unit carry its timestamp.
        if lost or ticks != self._fragment_ticks:
            self._fragments = []
        if end - begin < 2:
            return ()
        # RFC 3640, 3.2.1: AU-headers-length counts bits; the section is filled up to whole bytes.
        header_bits = data[begin] << 8 | data[begin + 1]
        at = begin + 2 + (header_bits + 7) // 8
        if at > end:
            return ()
        sizes = self._read_sizes(data[begin + 2 : at], header_bits)
        # RFC 3640, 3.2.1.1: a fragment's AU-size is that of the whole unit.
        if len(sizes) == 1 and sizes[0] > end - at:
            return self._take_fragment(data[at:end], ticks, sizes[0])
        self._fragments = []
        units = []
        # RFC 3640, 3.1: the timestamp is that of the first unit; the others follow at the distance of their samples.
        for number, size in enumerate(sizes):
            if at + size > end:
                break
            units.append((ticks + number * self._samples & 0xFFFFFFFF, self._samples, data[at : at + size]))
            at += size
        return units

    def _read_sizes(self, section: bytes, bits: int) -> list[int]:
        value, left = int.from_bytes(section, "big"), 8 * len(section)
        sizes: list[int] = []
        while len(sizes) < _MOST_UNITS:
            # RFC 3640, 3.2.1.1: the first header has AU-Index, the others AU-Index-delta, perhaps of another width.
            # Both are skipped: units are taken in the order in which they lie, as if none were interleaved.
            index_bits = self._index_bits[bool(sizes)]
            if bits < self._size_bits + index_bits:
                break
            bits -= self._size_bits + index_bits
            left -= self._size_bits
            sizes.append(value >> left & (1 << self._size_bits) - 1)
            left -= index_bits
        return [size for size in sizes if size]

    def _take_fragment(self, part: bytes, ticks: int, size: int) -> Sequence[SoundUnit]:
        if not self._fragments:
            self._fragment_ticks, self._wanted = ticks, size
        self._fragments.append(part)
        have = sum(map(len, self._fragments))
        if have < self._wanted or have > MAX_SOUND_BYTES:
            self._fragments = [] if have > MAX_SOUND_BYTES or len(self._fragments) > _MOST_UNITS else self._fragments
            return ()
        whole, self._fragments = b"".join(self._fragments), []
        return ((ticks, self._samples, whole),) if have == size else ()

"""How far the sound of a packet reaches, by what its codec says."""

from fractions import Fraction

import pytest

from edge_agent.media.packets import TrackTemplate
from edge_agent.uplink.clip.audio import find_reach_ns


def track(codec: str, rate: int = 8000, channels: int = 1, extradata: bytes = b"") -> TrackTemplate:
    return TrackTemplate(1, "audio", codec, Fraction(1, rate or 1), extradata, 0, 0, rate, channels, None)  # type: ignore[arg-type]


PACKETS = {
    "AAC, and the frame behind it": (track("aac", extradata=b"\x15\x88"), b"any", 256_000_000),
    "AAC of 44.1 kHz, rounded up": (track("aac", 44100), b"any", 46_439_910),
    "HE-AAC, twice as long": (track("aac", extradata=b"\x2b\x92"), b"any", 512_000_000),
    "HE-AAC v2": (track("aac", extradata=b"\xeb\x92"), b"any", 512_000_000),
    "MP3": (track("mp3", 48000), b"any", 48_000_000),
    "A-law": (track("pcm_alaw"), bytes(160), 20_000_000),
    "µ-law in stereo": (track("pcm_mulaw", channels=2), bytes(160), 10_000_000),
    "Opus, SILK of 60 ms": (track("opus", 48000), bytes([3 << 3, 0]), 62_500_000),
    "Opus, hybrid of 20 ms": (track("opus", 48000), bytes([13 << 3, 0]), 22_500_000),
    "Opus, CELT of 2.5 ms": (track("opus", 48000), bytes([16 << 3, 0]), 5_000_000),
    "Opus, two frames of 20 ms": (track("opus", 48000), bytes([31 << 3 | 1, 0]), 42_500_000),
    "Opus, two frames that differ": (track("opus", 48000), bytes([31 << 3 | 2, 0]), 42_500_000),
    "Opus, six frames of 20 ms": (track("opus", 48000), bytes([31 << 3 | 3, 6]), 122_500_000),
    "Opus, more than it may hold": (track("opus", 48000), bytes([31 << 3 | 3, 7]), None),
    "Opus, no frames": (track("opus", 48000), bytes([31 << 3 | 3, 0]), None),
    "Opus, cut short": (track("opus", 48000), bytes([31 << 3 | 3]), None),
    "Opus, empty": (track("opus", 48000), b"", None),
    "a codec that is not known": (track("adpcm_g726"), b"any", None),
    "no sample rate": (track("aac", 0), b"any", None),
}


@pytest.mark.parametrize(("sound", "data", "reach_ns"), PACKETS.values(), ids=PACKETS)
def test_sound_reaches_as_far_as_its_codec_says(sound, data, reach_ns):
    """Frames that overlap with the next packet count; what cannot be told is None, and such a packet does not go."""
    assert find_reach_ns(sound, data) == reach_ns

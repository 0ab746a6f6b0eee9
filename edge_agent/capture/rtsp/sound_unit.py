"""What every depacketizer of sound gives. Pure."""

MAX_SOUND_BYTES = 64 << 10
"""Of a unit that comes in parts."""

SoundUnit = tuple[int, int, bytes]
"""RTP timestamp, duration in ticks, bytes."""

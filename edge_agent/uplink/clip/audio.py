"""How far the sound of one packet reaches: so that none of it lies behind a window's end.

Told by the codec, because NUT keeps no durations and the next packet may be lost. Runs inside the clip child. Pure.
"""

from edge_agent.media.packets import TrackTemplate

# A packet of AAC or MP3 codes its own frame and, overlapping with the next packet, the one behind it.
_AAC_REACH, _HE_AAC_REACH, _MP3_REACH = 2 * 1024, 2 * 2048, 2 * 1152
_HE_AAC = frozenset({5, 29})
"""Audio object types with spectral band replication, in the first five bits of the decoder's parameters."""
# RFC 6716, 3.1: the length of a frame by the lowest bits of its mode; 4.3.7: frames of CELT overlap by 2.5 ms.
_OPUS_SILK_US, _OPUS_CELT_US = (10_000, 20_000, 40_000, 60_000), (2_500, 5_000, 10_000, 20_000)
_OPUS_HYBRID, _OPUS_CELT = 12, 16
_OPUS_OVERLAP_US, _OPUS_MOST_US = 2_500, 120_000


def find_reach_ns(track: TrackTemplate, data: bytes) -> int | None:
    """Return how long after a packet's PTS sound may come that is coded in it, rounded up; None if that is unknown.

    Args:
        track: The sound.
        data: Of the packet.
    """
    if track.codec == "opus":
        return _find_opus_reach_ns(data)
    samples = None
    if track.codec in ("pcm_alaw", "pcm_mulaw"):
        samples = -(-len(data) // max(1, track.channels))
    elif track.codec == "aac":
        samples = _HE_AAC_REACH if track.extradata[:1] and track.extradata[0] >> 3 in _HE_AAC else _AAC_REACH
    elif track.codec == "mp3":
        samples = _MP3_REACH
    if samples is None or track.sample_rate <= 0:
        return None
    return -(-samples * 1_000_000_000 // track.sample_rate)


def _find_opus_reach_ns(data: bytes) -> int | None:
    mode, count = (data[0] >> 3, data[0] & 3) if data else (0, 0)
    if not data or (count == 3 and len(data) < 2):
        return None
    if mode < _OPUS_HYBRID:
        frame_us = _OPUS_SILK_US[mode & 3]
    else:
        frame_us = _OPUS_SILK_US[mode & 1] if mode < _OPUS_CELT else _OPUS_CELT_US[mode & 3]
    sound_us = frame_us * (data[1] & 63 if count == 3 else min(count + 1, 2))
    return 1000 * (sound_us + _OPUS_OVERLAP_US) if 0 < sound_us <= _OPUS_MOST_US else None

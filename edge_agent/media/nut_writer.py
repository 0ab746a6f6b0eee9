"""Writes the NUT file of one record, in plain Python: FFmpeg has no part in it.

Owns the bytes of the file (the NUT Open Container Format, version 3): main header, stream headers, syncpoints, frames;
no index and no info packets. It never changes a packet's bytes or its PTS. Pure: bytes out, nothing opened.
"""

import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from edge_agent.media.packets import NutPacket, TrackTemplate, reorder_depth

NUT_MAGIC = b"nut/multimedia container\x00"

# NUT, "Syntax": start codes of 64 bits, each beginning with "N".
_MAIN, _STREAM, _SYNCPOINT = (
    bytes.fromhex(code) for code in ("4E4D7A561F5F04AD", "4E5311405BF2F9DB", "4E4BE4ADEECA4569")
)
_VERSION = 3
_MAX_DISTANCE = 1 << 16
"""FFmpeg calls a file damaged if a frame begins so far behind the last syncpoint; a longer frame has a checksum."""
# NUT, `msb_pts_shift`: a coded PTS below 2**14 is the last bits of one near the frame before.
_MSB_PTS_SHIFT = 14
_MAX_PTS_DISTANCE = 1 << 30
"""Ticks between two frames above which they would need a checksum: more than a record can span."""
# NUT, `header_checksum`: there if `forward_ptr` is above 4096.
_LONG_PACKET_BYTES = 4096
# One byte of code, two numbers of ten bytes at most, and a checksum: rounded up.
_FRAME_HEADER_BYTES = 30
# NUT, "Frame flags".
_KEY, _CODED_PTS, _SIZE_MSB, _CHECKSUM, _INVALID = 1, 8, 32, 64, 8192
_FOURCC = {
    "h264": b"H264",
    "hevc": b"HEVC",
    "mjpeg": b"MJPG",
    "aac": b"\xff\x00\x00\x00",
    "pcm_alaw": b"ALAW",
    "pcm_mulaw": b"ULAW",
    "opus": b"Opus",
}
_MOST_TRACKS = 16
# NUT: CRC-32 with the polynomial 0x04C11DB7, most significant bit first; zlib's is mirrored.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SMALL = [bytes((value,)) for value in range(128)]


def write_nut(tracks: Sequence[TrackTemplate], packets: Iterable[NutPacket], *, behind: bytes = b"") -> bytes:
    """Put packets together into a self-contained NUT file, in the order in which they are given.

    Args:
        tracks: A packet's ``track`` is a place in them.
        packets: PTS not negative; in the order of ``packets.interleave``.
        behind: The file that it follows; put together later, half a megabyte would be copied to fresh pages.

    Returns:
        ``behind``, then the file.

    Raises:
        ValueError: A codec without a name in NUT, a picture without a size, a negative PTS; never names data.
    """
    taken = list(packets)
    header = _header(tuple(tracks), _depths(len(tracks), taken))
    bases = _time_bases(tracks)
    base_of = [bases.index(track.time_base) for track in tracks]
    pieces, place, since, key_at = [behind, header], len(header), -_MAX_DISTANCE, 0
    for track, pts, dts, _, is_keyframe, data in taken:
        size = len(data)
        opens_picture = is_keyframe and not track
        if since < 0 or opens_picture or place + size + _FRAME_HEADER_BYTES >= since + _MAX_DISTANCE:
            key_at = place if opens_picture or since < 0 else key_at
            # The demuxer goes back to the last keyframe from any syncpoint: in steps of 16 bytes, rounded down.
            time = max(0, dts) * len(bases) + base_of[track]
            syncpoint = _packet(_SYNCPOINT, _vint(time) + _vint((place - key_at) >> 4))
            pieces.append(syncpoint)
            since, place = place, place + len(syncpoint)
        head = _frame_header(track, pts, size, is_keyframe=is_keyframe)
        pieces += (head, data)
        place += len(head) + size
    return b"".join(pieces)


def _depths(tracks: int, packets: Sequence[NutPacket]) -> tuple[int, ...]:
    return tuple(reorder_depth([each.pts for each in packets if each.track == track]) for track in range(tracks))


def _time_bases(tracks: Sequence[TrackTemplate]) -> list[Fraction]:
    return list(dict.fromkeys(track.time_base for track in tracks))


@lru_cache(maxsize=64)
def _header(tracks: tuple[TrackTemplate, ...], depths: tuple[int, ...]) -> bytes:
    """Make the main header and the stream headers: the same for all records of a run of the same reordering."""
    if not 0 < len(tracks) <= _MOST_TRACKS:
        raise ValueError(f"cannot write NUT: tracks={len(tracks)}")
    bases = _time_bases(tracks)
    # NUT, "Main header": version, stream_count, max_distance, time bases, frame codes.
    main = b"".join(map(_vint, (_VERSION, len(tracks), _MAX_DISTANCE, len(bases))))
    main += b"".join(_vint(base.numerator) + _vint(base.denominator) for base in bases)
    main += _frame_codes(len(tracks))
    # No elision headers. FFmpeg reads the field from version 3 on, whether or not there are any.
    main += _vint(0)
    streams = (
        _packet(_STREAM, _vint(number) + _stream(track, bases.index(track.time_base), depths[number]))
        for number, track in enumerate(tracks)
    )
    return NUT_MAGIC + _packet(_MAIN, main) + b"".join(streams)


def _frame_codes(tracks: int) -> bytes:
    """Write the table of frame codes: 0 is none, then four a track (``_frame_header``), the others are none."""
    used = [
        _code(flags | _SIZE_MSB | _CODED_PTS, track, 1)
        for track in range(tracks)
        for flags in (0, _KEY, _CHECKSUM, _KEY | _CHECKSUM)
    ]
    # 256 codes, of which "N" begins a packet and is not counted.
    return _code(_INVALID, 0, 1) + b"".join(used) + _code(_INVALID, 0, 256 - 1 - len(used) - 1)


def _code(flags: int, track: int, count: int) -> bytes:
    # Flags, number of fields, then pts_delta, data_size_mul, stream_id, data_size_lsb, reserved_count, count.
    return b"".join(map(_vint, (flags, 6, 0, 1, track, 0, 0, count)))


def _stream(track: TrackTemplate, time_base: int, depth: int) -> bytes:
    fourcc = _FOURCC.get(track.codec)
    if fourcc is None:
        raise ValueError(f"cannot write NUT: no name for the codec {track.codec}")
    is_audio = track.kind == "audio"
    # NUT, "Stream header": time base, msb_pts_shift, max_pts_distance, decode_delay, flags.
    numbers = (time_base, _MSB_PTS_SHIFT, _MAX_PTS_DISTANCE, depth, 0)
    head = _vint(is_audio) + _vbytes(fourcc) + b"".join(map(_vint, numbers))
    if is_audio:
        shape = [track.sample_rate, 1, track.channels]
    else:
        aspect = track.sample_aspect
        shape = [track.width, track.height, aspect.numerator, aspect.denominator if aspect else 0, 0]
        if track.width < 1 or track.height < 1:
            raise ValueError(f"cannot write NUT: picture of {track.width} x {track.height}")
    return head + _vbytes(track.extradata) + b"".join(map(_vint, shape))


def _frame_header(track: int, pts: int, size: int, *, is_keyframe: bool) -> bytes:
    if pts < 0:
        raise ValueError(f"cannot write NUT: PTS below zero, track={track}")
    # NUT: a frame larger than 2 * max_distance must have a checksum.
    is_long = size > 2 * _MAX_DISTANCE
    # The place in the table that `_frame_codes` writes: four codes for each track.
    code = _SMALL[1 + 4 * track + is_keyframe + 2 * is_long]
    # From 1 << shift on the number is the whole PTS, below it only its last bits.
    head = code + _vint(pts + (1 << _MSB_PTS_SHIFT)) + _vint(size)
    return head + _checksum(head) if is_long else head


def _packet(startcode: bytes, body: bytes) -> bytes:
    # NUT, `forward_ptr`: counts from behind the packet's header, the body's checksum included.
    head = startcode + _vint(len(body) + 4)
    if len(body) + 4 > _LONG_PACKET_BYTES:
        head += _checksum(head)
    return head + body + _checksum(body)


def _vint(value: int) -> bytes:
    """Write seven bits a byte, the highest first; all but the last have the top bit set."""
    if value < 1 << 7:
        return _SMALL[value]
    if value < 1 << 14:
        return bytes((value >> 7 | 128, value & 127))
    if value < 1 << 21:
        return bytes((value >> 14 | 128, value >> 7 & 127 | 128, value & 127))
    return _vint_head(value >> 21) + bytes((value >> 14 & 127 | 128, value >> 7 & 127 | 128, value & 127))


@lru_cache(maxsize=64)
def _vint_head(value: int) -> bytes:
    """Write the groups before the last three: those of a PTS are the same for 23 s."""
    return bytes(byte | 128 for byte in _vint(value))


def _vbytes(data: bytes) -> bytes:
    return _vint(len(data)) + data


def _checksum(data: bytes) -> bytes:
    """CRC-32 of polynomial 04C11DB7, highest bit first, from zero: zlib's is the mirrored one, from all ones."""
    mirrored = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "little").translate(_REVERSED)

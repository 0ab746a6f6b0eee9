"""Takes the frames out of a NUT file that ``nut_writer`` wrote, in plain Python.

Owns nothing but that form: any other file, and one with a single wrong byte around its frames, raises
``OtherNutError``, and the caller asks FFmpeg's demuxer. Pure: bytes in, nothing opened.
"""

from edge_agent.media.nut_writer import (
    LONG_PACKET_BYTES,
    MAX_DISTANCE,
    MSB_PTS_SHIFT,
    NUT_MAGIC,
    SYNCPOINT,
    VERSION,
    checksum,
    frame_codes,
)

_MOST_TRACKS = 16
# Seven bits in each byte: enough for 64.
_VINT_BYTES = 10
_PTS_BITS = 62


class OtherNutError(Exception):
    """Not a file of ours, or not whole."""


NutFrame = tuple[int, int, bool, bytes]
"""Track, PTS, keyframe and data, as the file says."""


def split_header(data: bytes) -> tuple[bytes, int]:
    """Return the main header and the stream headers as they lie there, and the number of tracks.

    Raises:
        OtherNutError: Not a file of ours.
    """
    if not data.startswith(NUT_MAGIC):
        raise OtherNutError("no magic")
    try:
        at, end = _skip_packet(data, len(NUT_MAGIC))
        at, version = _read_vint(data, at)
        at, tracks = _read_vint(data, at)
        at, distance = _read_vint(data, at)
        at, bases = _read_vint(data, at)
        # Numerator and denominator of each time base.
        for _ in range(2 * min(bases, _MOST_TRACKS)):
            at, _number = _read_vint(data, at)
        # Then the frame codes, no elision headers, and the checksum.
        if (version, distance) != (VERSION, MAX_DISTANCE) or not 0 < tracks <= _MOST_TRACKS:
            raise OtherNutError("another main header")
        if data[at : end - 4] != frame_codes(tracks) + b"\0":
            raise OtherNutError("other frame codes")
        for _ in range(tracks):
            _, end = _skip_packet(data, end)
    except IndexError:
        raise OtherNutError("cut short") from None
    return data[:end], tracks


def read_frames(data: bytes, at: int, tracks: int) -> list[NutFrame]:
    """Return the frames of a file, in its order.

    Args:
        data: The whole file.
        at: The end of its headers.
        tracks: The number of its tracks.

    Raises:
        OtherNutError: There is anything else than syncpoints and frames as ``nut_writer`` writes them.
    """
    frames: list[NutFrame] = []
    since = at
    try:
        while at < len(data):
            # Four codes for each track, as ``nut_writer.frame_codes`` lists them: bit 0 a keyframe, bit 1 a long frame.
            code = data[at] - 1
            if data[at] == SYNCPOINT[0]:
                if data[at : at + 8] != SYNCPOINT:
                    raise OtherNutError("another packet")
                body, end = _skip_packet(data, at)
                if end == len(data) or checksum(data[body : end - 4]) != data[end - 4 : end]:
                    raise OtherNutError("damaged syncpoint")
                since, at = at, end
                continue
            begin, (at, coded) = at, _read_vint(data, at + 1)
            at, size = _read_vint(data, at)
            is_long = code >> 1 & 1
            if is_long:
                if checksum(data[begin:at]) != data[at : at + 4]:
                    raise OtherNutError("damaged frame header")
                at += 4
            if not 0 <= code < 4 * tracks or coded < 1 << MSB_PTS_SHIFT or bool(is_long) != (size > 2 * MAX_DISTANCE):
                raise OtherNutError("another frame code")
            # FFmpeg drops an empty frame, keeps 63 bits of a PTS, and takes a frame so far behind for damaged.
            if not size or coded >> _PTS_BITS or begin >= since + MAX_DISTANCE:
                raise OtherNutError("a frame that FFmpeg reads otherwise")
            end = at + size
            frames.append((code >> 2, coded - (1 << MSB_PTS_SHIFT), bool(code & 1), data[at:end]))
            at = end
    except IndexError:
        raise OtherNutError("cut short") from None
    if at != len(data) or not frames:
        raise OtherNutError("cut short")
    return frames


def _skip_packet(data: bytes, at: int) -> tuple[int, int]:
    """Return where the body of a packet begins, and where the packet ends."""
    # NUT, "packet_header": start code (8), `forward_ptr`, and behind a large one a checksum (4).
    begin, length = _read_vint(data, at + 8)
    if length > LONG_PACKET_BYTES:
        begin += 4
    if begin + length > len(data):
        raise OtherNutError("cut short")
    return begin, begin + length


def _read_vint(data: bytes, at: int) -> tuple[int, int]:
    value, most = data[at] & 127, at + _VINT_BYTES
    while data[at] & 128:
        at += 1
        if at == most:
            raise OtherNutError("a number is too long")
        value = value << 7 | data[at] & 127
    return at + 1, value

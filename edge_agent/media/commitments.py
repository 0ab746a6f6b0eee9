"""Coded media as bytes: access units, what of them is committed to, and the payload of a GOP record.

Owns the media commitment (FORMAT 6), which the recorder makes and a stranger recomputes from an MP4. Pure: knows no
container, imports no FFmpeg, opens nothing. It never judges a stream: everything that a camera sends has one canonical
form.
"""

import hashlib
import hmac
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import NamedTuple, Protocol

# FORMAT 6: 256 bits, because the salt of a record derives all others of it.
SALT_BYTES = 32
UNIT_SALT_BYTES = 16
DIGEST_BYTES = 32

# FORMAT 6.2 to 6.4: one label for each use of SHA-256, so that no digest passes for another.
_UNIT_LABEL = b"edge-agent/v1 unit"
_BODY_LABEL = b"edge-agent/v1 body"
_TRACK_LABEL = b"edge-agent/v1 track"
_COMMITMENT_LABEL = b"edge-agent/v1 commitment"

_START_CODE = re.compile(rb"\x00\x00\x01")
_U32 = struct.Struct(">I")
_UNIT_HEADER = struct.Struct(">Bq")
_TRACK_HEADER = struct.Struct(">BIIB")
# ISO/IEC 14496-15 5.3.3: five bytes and two counts. 8.3.3: 22 bytes and one count.
_AVCC_MIN_BYTES = 7
_HVCC_MIN_BYTES = 23
# RFC 2104, 2: SHA-256 works on blocks of 64 bytes; a salt of 32 is padded, never hashed.
_HMAC_BLOCK_BYTES = 64
_IPAD, _OPAD = (bytes(each ^ pad for each in range(256)) for pad in (0x36, 0x5C))


class CodecKind(Enum):
    """How the bytes of an access unit are taken apart."""

    H264 = "h264"
    H265 = "h265"
    MJPEG = "mjpeg"
    """Any other video as well: every packet counts whole."""
    AUDIO = "audio"


_VCL = {
    CodecKind.H264: frozenset(byte for byte in range(256) if 1 <= byte & 0x1F <= 5),
    CodecKind.H265: frozenset(byte for byte in range(256) if byte & 0x7E < 64),
}
"""First bytes of VCL NAL units (H.264 table 7-1, H.265 table 7-1)."""
_VIDEO_KINDS = {"h264": CodecKind.H264, "hevc": CodecKind.H265, "h265": CodecKind.H265}
_AUDIO_NAMES = frozenset({"aac", "aac_latm", "opus", "mp3", "g722", "adpcm_g722", "adpcm_g726", "adpcm_g726le"})


def codec_kind(codec: str) -> CodecKind:
    """Tell the kind of a codec by FFmpeg's name for it."""
    if codec in _AUDIO_NAMES or codec.startswith("pcm_"):
        return CodecKind.AUDIO
    return _VIDEO_KINDS.get(codec, CodecKind.MJPEG)


@dataclass(frozen=True, slots=True)
class Track:
    """The facts that a decoder needs of one track of a record; committed to along with the access units."""

    index: int
    """Number of the track in the NUT file."""
    codec: str
    """FFmpeg's name: ``h264``, ``hevc``, ``mjpeg``, ``aac``, ``pcm_alaw``…"""
    time_base: Fraction
    """Seconds in a tick."""
    extradata: bytes
    """As in the NUT file; only its parameter sets count for H.264 and H.265 (6.3)."""

    @property
    def kind(self) -> CodecKind:
        """How this track's access units are taken apart."""
        return codec_kind(self.codec)


class CommittedUnit(Protocol):
    """The part of an access unit that is committed to; ``Unit`` is the least that has it, ``NutPacket`` has more."""

    @property
    def track(self) -> int:
        """Number of the track in the NUT file."""

    @property
    def pts(self) -> int:
        """In the track's ticks."""

    @property
    def data(self) -> bytes:
        """The packet."""


class Unit(NamedTuple):
    """One access unit: a packet of the record's NUT file, with the PTS of its track in ticks."""

    track: int
    pts: int
    """As a reader of the NUT file sees it, in the track's ticks."""
    data: bytes
    """The packet, unchanged."""


def vcl_parts(codec: CodecKind, extradata: bytes, data: bytes) -> bytes:
    """Return the canonical body of an access unit: the bytes that the commitment covers (FORMAT 6.2).

    For H.264 and H.265 these are the VCL NAL units in order, trailing zero bytes removed, each behind its length as
    four bytes big-endian: the same for a camera's Annex B stream and for the MP4 made of it. Else the whole packet.

    Args:
        codec: How to take the unit apart.
        extradata: Of the track: ``avcC`` or ``hvcC`` means length-prefixed NAL units, anything else Annex B.
        data: The packet.
    """
    return b"".join(_vcl(codec, extradata, data))


def hash_body(body_salt: bytes, codec: CodecKind, extradata: bytes, data: bytes) -> bytes:
    """Return ``body_digest(body_salt, vcl_parts(…))`` without putting the parts together first."""
    digest = hashlib.sha256(_BODY_LABEL + body_salt)
    vcl = _VCL.get(codec)
    if vcl is None:
        digest.update(data)
    elif _length_size(codec, extradata):
        for part in _vcl(codec, extradata, data):
            digest.update(part)
    else:
        _take_annexb(digest.update, vcl, data)
    return digest.digest()


def _take_annexb(take: Callable[[bytes | memoryview], object], vcl: frozenset[int], data: bytes) -> None:
    """Hand on the parts that ``_vcl`` yields of an Annex B stream; generators took longer than a small picture.

    Args:
        take: Gets each piece.
        vcl: First bytes of the NAL units that count.
        data: The access unit.
    """
    view, begin = memoryview(data), -1
    for found in _START_CODE.finditer(data):
        if begin >= 0 and data[begin] in vcl:
            _take_nal(take, data, view, begin, found.start())
        begin = found.end()
    if 0 <= begin < len(data) and data[begin] in vcl:
        _take_nal(take, data, view, begin, len(data))


def _take_nal(
    take: Callable[[bytes | memoryview], object], data: bytes, view: memoryview, begin: int, end: int
) -> None:
    """Hand on a NAL unit behind its length, without trailing zeros; nothing if it has nothing else."""
    if end > begin and not data[end - 1]:
        end = begin + len(data[begin:end].rstrip(b"\x00"))
    if end > begin:
        take(_U32.pack(end - begin))
        take(view[begin:end])


def _vcl(codec: CodecKind, extradata: bytes, data: bytes) -> Iterator[bytes | memoryview]:
    vcl = _VCL.get(codec)
    if vcl is None:
        return iter((data,))
    return _prefix(nal for nal in _split(codec, extradata, data) if nal[0] in vcl)


def parameter_sets(codec: CodecKind, extradata: bytes) -> bytes:
    """Return the canonical form of a track's decoder parameters: sets by type, none twice (FORMAT 6.3).

    For H.264 the SPS and PPS, for H.265 the VPS, SPS and PPS, from Annex B, ``avcC`` or ``hvcC``, each behind its
    length as four bytes big-endian; for other codecs the extradata as they are.
    """
    if codec not in (CodecKind.H264, CodecKind.H265):
        return extradata
    if _length_size(codec, extradata) == 0:
        nals: Iterable[bytes | memoryview] = split_annexb(extradata)
    else:
        nals = _avcc_sets(extradata) if codec is CodecKind.H264 else _hvcc_sets(extradata)
    return _sets_in_order(codec, nals)


def inband_parameter_sets(codec: CodecKind, extradata: bytes, data: bytes) -> bytes:
    """Return an access unit's own parameter sets, in the form of :func:`parameter_sets`; empty if it has none."""
    if codec not in (CodecKind.H264, CodecKind.H265):
        return b""
    return _sets_in_order(codec, _split(codec, extradata, data))


def split_annexb(data: bytes) -> Iterator[memoryview]:
    """Yield the NAL units of an Annex B byte stream, without start codes and trailing zeros; never an empty one."""
    begin = -1
    # A pattern finds start codes in half the time that bytes.find takes.
    for found in _START_CODE.finditer(data):
        # A start code may be preceded by zeros of any number; no NAL unit ends in a zero (H.264 7.4.1, H.265 7.4.2).
        if begin >= 0 and (nal := _trim(data, begin, found.start())):
            yield nal
        begin = found.end()
    if begin >= 0 and (nal := _trim(data, begin, len(data))):
        yield nal


def split_prefixed(data: bytes, length_size: int = 4) -> Iterator[memoryview]:
    """Yield length-prefixed NAL units, without trailing zeros; a length beyond the end takes what there is."""
    at = 0
    while at + length_size <= len(data):
        begin = at + length_size
        at = begin + int.from_bytes(data[at:begin], "big")
        if nal := _trim(data, begin, min(at, len(data))):
            yield nal


def _trim(data: bytes, begin: int, end: int) -> memoryview:
    """Return a slice without the zeros at its end; it is copied only if there are any."""
    if end > begin and not data[end - 1]:
        end = begin + len(data[begin:end].rstrip(b"\x00"))
    return memoryview(data)[begin:end]


def _split(codec: CodecKind, extradata: bytes, data: bytes) -> Iterator[memoryview]:
    length_size = _length_size(codec, extradata)
    return split_prefixed(data, length_size) if length_size else split_annexb(data)


def _length_size(codec: CodecKind, extradata: bytes) -> int:
    # Annex B extradata begin with zeros; both boxes begin with their version, 1. 0 stands for Annex B.
    if len(extradata) < _AVCC_MIN_BYTES or extradata[0] != 1:
        return 0
    if codec is CodecKind.H264:
        return (extradata[4] & 3) + 1
    if codec is CodecKind.H265 and len(extradata) >= _HVCC_MIN_BYTES:
        return (extradata[21] & 3) + 1
    return 0


def _prefix(nals: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    for nal in nals:
        yield _U32.pack(len(nal))
        yield nal


def _sets_in_order(codec: CodecKind, nals: Iterable[bytes | memoryview]) -> bytes:
    # FORMAT 6.3: SPS, PPS; in H.265 VPS, SPS, PPS.
    types = (7, 8) if codec is CodecKind.H264 else (32, 33, 34)
    found = [(nal[0] & 0x1F if codec is CodecKind.H264 else (nal[0] >> 1) & 0x3F, nal) for nal in nals]
    # A dict keeps the order of first sight and drops repetitions.
    return b"".join(_prefix(dict.fromkeys(nal for wanted in types for kind, nal in found if kind == wanted)))


def _avcc_sets(extradata: bytes) -> Iterator[bytes]:
    # ISO/IEC 14496-15 5.3.3: five bytes, then SPS (count in five bits) and PPS (count in eight), each behind u16.
    at = 5
    for mask in (0x1F, 0xFF):
        if at >= len(extradata):
            return
        count, at = extradata[at] & mask, at + 1
        for _ in range(count):
            begin = at + 2
            at = begin + int.from_bytes(extradata[at:begin], "big")
            if nal := extradata[begin:at].rstrip(b"\x00"):
                yield nal


def _hvcc_sets(extradata: bytes) -> Iterator[bytes]:
    # ISO/IEC 14496-15 8.3.3: 22 bytes, number of arrays, then per array its type, a u16 count, NAL units behind u16.
    at = _HVCC_MIN_BYTES
    for _ in range(extradata[22]):
        count, at = int.from_bytes(extradata[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            if at >= len(extradata):
                return
            begin = at + 2
            at = begin + int.from_bytes(extradata[at:begin], "big")
            if nal := extradata[begin:at].rstrip(b"\x00"):
                yield nal


class UnitSalt(NamedTuple):
    """The salt that keeps an access unit's digest from being guessed: one half for its place, one for its body."""

    place: bytes
    body: bytes


class UnitSalts:
    """Derives the salts of one record's access units: HMAC-SHA-256 of label ‖ u32 number (FORMAT 6.2).

    The two keyed blocks of RFC 2104 are made once a record: ``hmac.digest`` takes three times as long for each unit.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, salt: bytes) -> None:
        key = salt.ljust(_HMAC_BLOCK_BYTES, b"\0")
        self._inner, self._outer = key.translate(_IPAD) + _UNIT_LABEL, key.translate(_OPAD)

    def of(self, index: int) -> UnitSalt:
        """Return the salts of a unit, numbered in the NUT file's packet order over all tracks."""
        # RFC 2104: H(K ⊕ opad, H(K ⊕ ipad, text)).
        inner = hashlib.sha256(self._inner + _U32.pack(index)).digest()
        derived = hashlib.sha256(self._outer + inner).digest()
        # FORMAT 6.2: the first half for the place, the second for the body.
        return UnitSalt(derived[:UNIT_SALT_BYTES], derived[UNIT_SALT_BYTES:])


def track_salt(salt: bytes, track: int) -> bytes:
    """Derive the 16-byte salt of a track's description."""
    return hmac.digest(salt, _TRACK_LABEL + _U32.pack(track), "sha256")[:UNIT_SALT_BYTES]


def body_digest(body_salt: bytes, body: bytes) -> bytes:
    """Return SHA-256(label ‖ salt ‖ body), the body from :func:`vcl_parts` (FORMAT 6.2)."""
    digest = hashlib.sha256(_BODY_LABEL + body_salt)
    digest.update(body)
    return digest.digest()


def unit_digest(place_salt: bytes, track: int, pts: int, body: bytes) -> bytes:
    """Return SHA-256(label ‖ salt ‖ u8 track ‖ i64 pts ‖ body digest), integers big-endian (FORMAT 6.2).

    In two steps, so that the place of a unit can be shown without its body: sound that was not granted is then seen to
    be sound, and it is seen that no picture was left out.

    Args:
        place_salt: From ``UnitSalts``.
        track: Number of the track in the NUT file.
        pts: In the track's ticks.
        body: From :func:`body_digest`.
    """
    return hashlib.sha256(_UNIT_LABEL + place_salt + _UNIT_HEADER.pack(track, pts) + body).digest()


def track_digest(salt16: bytes, index: int, codec: str, time_base: Fraction, parameters: bytes) -> bytes:
    """Return SHA-256(label ‖ salt ‖ u8 track ‖ u32 num ‖ u32 den ‖ u8 length ‖ codec ‖ parameters) (FORMAT 6.3).

    Args:
        salt16: From :func:`track_salt`.
        index: Number of the track in the NUT file.
        codec: FFmpeg's name.
        time_base: Of the track's ticks.
        parameters: From :func:`parameter_sets`.
    """
    name = codec.encode()
    header = _TRACK_HEADER.pack(index, time_base.numerator, time_base.denominator, len(name))
    return hashlib.sha256(_TRACK_LABEL + salt16 + header + name + parameters).digest()


def commitment(digests: Iterable[bytes]) -> bytes:
    """Return the media commitment over a record's digests in order: tracks first, then access units (FORMAT 6.4)."""
    # FORMAT 6.4: the count in front, so that no list is the beginning of another.
    leaves = list(digests)
    return hashlib.sha256(_COMMITMENT_LABEL + _U32.pack(len(leaves)) + b"".join(leaves)).digest()


def record_digests(salt: bytes, tracks: Sequence[Track], units: Iterable[CommittedUnit]) -> list[bytes]:
    """Return a record's digests: one per track, then one per access unit, in the order of the NUT file."""
    kinds = {track.index: (track.kind, track.extradata) for track in tracks}
    digests = [
        track_digest(
            track_salt(salt, track.index),
            track.index,
            track.codec,
            track.time_base,
            parameter_sets(track.kind, track.extradata),
        )
        for track in tracks
    ]
    unit_salts = UnitSalts(salt)
    for index, unit in enumerate(units):
        salts = unit_salts.of(index)
        body = hash_body(salts.body, *kinds[unit.track], unit.data)
        digests.append(unit_digest(salts.place, unit.track, unit.pts, body))
    return digests


def record_commitment(salt: bytes, tracks: Sequence[Track], units: Iterable[CommittedUnit]) -> bytes:
    """Return the commitment that goes into a GOP record's header.

    Args:
        salt: 32 random bytes of this record's own.
        tracks: All tracks of the NUT file, in its order.
        units: All packets of the NUT file, in its order, with the PTS that a reader of the file will see.
    """
    return commitment(record_digests(salt, tracks, units))


def open_payload(payload: bytes) -> tuple[bytes, bytes]:
    """Return the salt and the NUT file behind it in a GOP record's plaintext; ValueError if it is too short."""
    if len(payload) < SALT_BYTES:
        raise ValueError(f"a GOP record holds at least {SALT_BYTES} bytes, not {len(payload)}")
    return payload[:SALT_BYTES], payload[SALT_BYTES:]

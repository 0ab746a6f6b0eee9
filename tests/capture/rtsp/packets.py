"""RTP packets of made-up pictures, for the tests of our own reader: what a camera sends."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.capture.rtsp.access_units import CodedUnitBytes, NalRole, Stamp
from edge_agent.capture.rtsp.h264 import H264Depacketizer
from edge_agent.capture.rtsp.h265 import H265Depacketizer
from edge_agent.capture.rtsp.rtp import RtpOrder
from edge_agent.capture.rtsp.split import Splitter
from edge_agent.demo.rtp import encode_rtp, pack_h264, pack_h265
from edge_agent.units import MonoNs, UtcNs

PAYLOAD_TYPE, STEP = 96, 3600
START = b"\0\0\0\1"


@dataclass(frozen=True)
class Picture:
    """One made-up access unit."""

    nals: tuple[bytes, ...]
    is_keyframe: bool

    @property
    def data(self) -> bytes:
        return b"".join(START + nal for nal in self.nals)


def make_picture(codec: str, number: int, *, key: bool, slices: int = 1, size: int = 50) -> Picture:
    """Make a picture whose bytes differ from those of every other."""
    fill = (number * 7919 + 1).to_bytes(4, "big").replace(b"\0", b"\1")
    body = (fill * (size // 4 + 1))[:size]
    if codec == "h264":
        sets = (b"\x67\x64\0\x1f" + fill, b"\x68\xee" + fill) if key else ()
        heads = [bytes((0x65 if key else 0x41, 0x80 if not place else 0x40)) for place in range(slices)]
    else:
        sets = (b"\x40\1\x0c" + fill, b"\x42\1\1" + fill, b"\x44\1\xc1" + fill) if key else ()
        heads = [bytes((0x26 if key else 2, 1, 0x80 if not place else 0x40)) for place in range(slices)]
    return Picture((*sets, *(head + bytes((place + 1,)) + body for place, head in enumerate(heads))), key)


def pack(codec: str, picture: Picture) -> list[bytes]:
    return pack_h264(picture.nals) if codec == "h264" else pack_h265(picture.nals)


def number_packets(payloads: Iterable[tuple[bytes, int, bool]], first: int = 65_530, ssrc: int = 0xABCD) -> list[bytes]:
    """Put RTP headers before payloads: (payload, ticks, marker)."""
    return [
        encode_rtp(payload, marker=marker, payload_type=PAYLOAD_TYPE, sequence=first + place, ticks=ticks, ssrc=ssrc)
        for place, (payload, ticks, marker) in enumerate(payloads)
    ]


def send(codec: str, pictures: Sequence[Picture], **options: int) -> list[bytes]:
    """Return the RTP packets of pictures as a good camera sends them."""
    payloads = []
    for number, picture in enumerate(pictures):
        parts = pack(codec, picture)
        payloads += [(part, number * STEP, place == len(parts) - 1) for place, part in enumerate(parts)]
    return number_packets(payloads, **options)


def frame(packet: bytes, channel: int = 0) -> bytes:
    return b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet


def depacketize(
    codec: str, stream: bytes, cuts: Iterable[int] = (), *, has_donl: bool = False, is_followed: bool = False
) -> list[CodedUnitBytes]:
    """Read a byte stream, cut into chunks at some places, to its end, or until the next picture begins."""
    depacketizer = H264Depacketizer() if codec == "h264" else H265Depacketizer(has_donl=has_donl)
    splitter, order = Splitter(), RtpOrder(frozenset({PAYLOAD_TYPE}))
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(stream)}), len(stream)]
    units: list[CodedUnitBytes] = []
    for number, (begin, end) in enumerate(itertools.pairwise(places)):
        if begin == end:
            continue
        pieces, place = splitter.feed(stream[begin:end]), 0
        data, view, stamp = pieces.data, memoryview(pieces.data), Stamp(UtcNs(number), MonoNs(number))
        while place < len(pieces.frames):
            channel, at, until = pieces.frames[place]
            place += 1
            packet = order.take(data, at, until) if channel == 0 else None
            if packet is not None:
                depacketizer.take(data, view, packet, stamp)
                place = depacketizer.take_inner(data, view, pieces.frames, place, order, stamp)
        depacketizer.settle()
        units += depacketizer.units.ready
        depacketizer.units.ready = []
    if is_followed:
        _follow(codec, depacketizer)
    else:
        depacketizer.units.flush()
    return units + depacketizer.units.ready


def _follow(codec: str, depacketizer: H264Depacketizer | H265Depacketizer) -> None:
    """Begin another picture: what was before it has ended."""
    nal = make_picture(codec, 0, key=False).nals[0]
    depacketizer.units.begin(NalRole.FIRST, b"", memoryview(nal), 0, None)

"""Streams of real pictures as odd cameras send them, and as broken ones do: by a seed, for both readers."""

import base64
import contextlib
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from edge_agent.demo.rtp import encode_rtp, split_annexb

from .packets import depacketize, frame
from .test_session import camera, described

PAYLOAD_TYPE, STEP = 96, 6000
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
# x265 dies of several slices in pictures that are so small: those of H.265 are in `test_depacketizers`.
_PARAMETERS = {
    "libx264": "keyint=8:scenecut=0:slices=3:sliced-threads=0",
    "libx265": "keyint=8:scenecut=0:bframes=0:pools=none:frame-threads=1:log-level=none:repeat-headers=1",
}
_SETS = {"h264": (7, 8), "hevc": (32, 33, 34)}


@dataclass(frozen=True)
class OddStream:
    """What a camera sends in one session."""

    codec: str
    description: bytes
    packets: list[bytes]
    is_broken: bool
    """Something of it is missing or wrong; otherwise it is only odd."""
    what: str


def encode_pictures(codec: str, count: int) -> list[list[bytes]]:
    """Return the NAL units of real pictures, without B-frames; each keyframe brings its parameter sets."""
    name = _ENCODERS[codec]
    context = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt, context.time_base = 160, 192, "yuv420p", Fraction(1, 15)
    context.framerate, context.gop_size, context.max_b_frames, context.thread_count = Fraction(15), 8, 0, 1
    key = "x264-params" if name == "libx264" else "x265-params"
    context.options = {"preset": "ultrafast", "tune": "zerolatency", key: _PARAMETERS[name]}
    dice = np.random.default_rng(5)
    pictures = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(dice.integers(0, 255, (192, 160, 3), dtype=np.uint8), format="rgb24")
        frame.pts = number
        pictures += [split_annexb(bytes(packet)) for packet in context.encode(frame.reformat(format="yuv420p"))]
    pictures += [split_annexb(bytes(packet)) for packet in context.encode(None)]
    return pictures


def nal_kind(codec: str, nal: bytes) -> int:
    return nal[0] & 0x1F if codec == "h264" else nal[0] >> 1 & 0x3F


def describe(codec: str, keyframe: list[bytes]) -> bytes:
    """Return the SDP of a stream with that keyframe."""
    sets = [base64.b64encode(nal).decode() for nal in keyframe if nal_kind(codec, nal) in _SETS[codec]]
    if codec == "h264":
        fields = f"packetization-mode=1;sprop-parameter-sets={','.join(sets)}"
    else:
        fields = ";".join(f"sprop-{name}={text}" for name, text in zip(("vps", "sps", "pps"), sets, strict=True))
    name = "H264" if codec == "h264" else "H265"
    return (
        f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n"
        f"a=rtpmap:96 {name}/90000\r\na=fmtp:96 {fields}\r\na=control:trackID=0\r\n"
    ).encode()


def _fragment(codec: str, nal: bytes, size: int) -> list[bytes]:
    head = 1 if codec == "h264" else 2
    pieces = [nal[at : at + size] for at in range(head, len(nal), size)]
    payloads = []
    for place, piece in enumerate(pieces):
        flags = (0x80 if not place else 0) | (0x40 if place == len(pieces) - 1 else 0)
        kind = nal_kind(codec, nal)
        indicator = bytes((nal[0] & 0xE0 | 28,)) if codec == "h264" else bytes((nal[0] & 0x81 | 49 << 1, nal[1]))
        payloads.append(indicator + bytes((flags | kind,)) + piece)
    return payloads


def _aggregate(codec: str, nals: list[bytes]) -> bytes:
    head = bytes((0x78,)) if codec == "h264" else b"\x60\1"
    return head + b"".join(struct.pack(">H", len(nal)) + nal for nal in nals)


def _pack(codec: str, nals: list[bytes], dice: random.Random, size: int) -> Iterator[bytes]:
    waiting: list[bytes] = []
    for nal in nals:
        if len(nal) + sum(map(len, waiting)) < size - 40 and dice.random() < 0.7:
            waiting.append(nal)
            continue
        if waiting:
            yield waiting[0] if len(waiting) == 1 else _aggregate(codec, waiting)
        waiting = []
        yield from [nal] if len(nal) <= size else _fragment(codec, nal, size)
    if waiting:
        yield waiting[0] if len(waiting) == 1 else _aggregate(codec, waiting)


def make_stream(codec: str, pictures: list[list[bytes]], seed: int) -> OddStream:
    """Make a stream by a seed: odd seeds are broken."""
    dice = random.Random(seed)
    size = dice.choice([60, 300, 1400, 9000])
    markers = dice.choice(["end", "end", "each slice", "sets", "none"])
    payloads: list[tuple[bytes, int, bool]] = []
    for number, nals in enumerate(pictures):
        ticks = number * STEP
        if markers == "each slice":
            parts = [part for nal in nals for part in _pack(codec, [nal], dice, size)]
        else:
            parts = list(_pack(codec, nals, dice, size))
        for place, part in enumerate(parts):
            is_last = place == len(parts) - 1
            is_marked = {"end": is_last, "each slice": True, "sets": is_last or place == 0, "none": False}[markers]
            payloads.append((part, ticks, is_marked))
    packets = [
        encode_rtp(part, marker=mark, payload_type=PAYLOAD_TYPE, sequence=7 + place, ticks=ticks, ssrc=3)
        for place, (part, ticks, mark) in enumerate(payloads)
    ]
    is_broken, done = bool(seed % 2), []
    for _ in range(dice.randrange(1, 6) if is_broken else 0):
        way = dice.choice(list(_BREAKS))
        done.append(way)
        _BREAKS[way](packets, dice)
    return OddStream(codec, describe(codec, pictures[0]), packets, is_broken, f"{size} {markers} {' '.join(done)}")


def _lose(packets: list[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(packets) // 4, len(packets) - 8)  # behind the last packets nothing shows a gap
    del packets[at : at + dice.randrange(1, 4)]


def _cut(packets: list[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(packets) // 4, len(packets) - 1)
    packets[at] = packets[at][: dice.randrange(12, max(13, len(packets[at])))]


def _twist(packets: list[bytes], dice: random.Random) -> None:
    """Change a byte of the payload's first three: types, flags, lengths."""
    at = dice.randrange(len(packets) // 4, len(packets) - 1)
    if len(packets[at]) > 15:
        place = dice.randrange(12, 15)
        packets[at] = packets[at][:place] + bytes((dice.randrange(256),)) + packets[at][place + 1 :]


def _double(packets: list[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(packets) // 4, len(packets) - 1)
    packets.insert(at, packets[at])


_BREAKS = {"lose": _lose, "cut": _cut, "twist": _twist, "double": _double}


def read_by_ffmpeg(stream: OddStream) -> list[bytes]:
    """Return what FFmpeg makes of a stream: the bytes of each picture."""
    answers = {"DESCRIBE": described(stream.description), "SETUP": _SETUP}
    found = []
    with camera(answers, b"".join(map(frame, stream.packets)), closes=True) as made:
        options = {"rtsp_transport": "tcp"}
        with contextlib.suppress(av.FFmpegError), av.open(made.url, options=options, timeout=(10, 5)) as container:
            found.extend(bytes(packet) for packet in container.demux(video=0) if packet.size)
    return found


_SETUP = b"RTSP/1.0 200 OK\r\nCSeq: N\r\nSession: 7\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"


def judge(codec: str, pictures: list[list[bytes]], seed: int) -> str:
    """Read a stream with both readers; return what is wrong with ours, or nothing.

    An odd stream: every picture but perhaps the last, as it was sent and as FFmpeg has it. A broken one: whatever
    passes for whole was sent so, or is the same for FFmpeg; a keyframe may stand without sets that were lost, and two
    pictures may be others for each byte that the camera itself got wrong, one for a packet that it cut. The rest is
    told.
    """
    stream = make_stream(codec, pictures, seed)
    units = depacketize(codec, b"".join(map(frame, stream.packets)))
    sent = [b"".join(b"\0\0\0\1" + nal for nal in nals) for nals in pictures]
    whole = [unit.data for unit in units if not unit.is_damaged]
    theirs = read_by_ffmpeg(stream)
    if not stream.is_broken:
        is_good = len(units) >= len(sent) - 1 and whole == sent[: len(whole)] == theirs[: len(whole)]
        return "" if is_good and len(whole) == len(units) else f"seed={seed} {stream.what}: an odd stream is misread"
    strange = [
        unit
        for unit in units
        if not (unit.is_damaged or unit.data in sent or unit.data in theirs)
        and not (unit.is_keyframe and any(data.endswith(unit.data) for data in sent))
    ]
    if len(strange) > 2 * stream.what.count("twist") + stream.what.count("cut"):
        return f"seed={seed} {stream.what}: {len(strange)} pictures that were not sent and that FFmpeg does not have"
    is_less = len(whole) < len(sent) - 1 and not any(unit.is_damaged for unit in units)
    if is_less and "twist" not in stream.what:
        return f"seed={seed} {stream.what}: pictures are missing, and nothing is told"
    return ""

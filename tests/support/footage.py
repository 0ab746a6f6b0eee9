"""Footage for the tests of release: records as the recorder makes them, each picture carrying its number in pixels."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from edge_agent.media import commitments
from edge_agent.media.nut_writer import write_nut
from edge_agent.media.packets import interleave
from edge_agent.units import SECOND_NS, UtcNs, Window
from edge_agent.uplink.clip.nut_reader import read_nut

WIDTH, HEIGHT, RATE = 128, 96, 10
START = UtcNs(1_700_000_000 * SECOND_NS)
_BITS = 16
_GLOBAL_HEADER = 0x400000


@dataclass(frozen=True)
class Footage:
    """One GOP record's worth: what the recorder would put into the ring."""

    start_ns: int
    duration_ns: int
    salt: bytes
    nut: bytes
    commitment: bytes
    continues: bool = False

    @property
    def payload(self) -> bytes:
        return self.salt + self.nut


def window(start_s: float, end_s: float) -> Window:
    """A window in seconds from the beginning of the footage."""
    return Window(UtcNs(START + int(start_s * SECOND_NS)), UtcNs(START + int(end_s * SECOND_NS)))


def paint(number: int) -> av.VideoFrame:
    """A picture whose upper edge is a strip of bits: its number."""
    y = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    y[16:HEIGHT] = (number * 3) % 200 + 20
    for bit in range(_BITS):
        y[:16, bit * 8 : bit * 8 + 8] = 235 if number >> bit & 1 else 16
    return av.VideoFrame.from_ndarray(y, format="yuv420p")


def read_number(frame: av.VideoFrame) -> int:
    """Read the number of a picture from its pixels."""
    y = frame.to_ndarray(format="gray")
    return sum(1 << bit for bit in range(_BITS) if y[4:12, bit * 8 + 2 : bit * 8 + 6].mean() > 128)


def read_numbers(mp4: bytes) -> list[int]:
    """Decode a clip; the numbers of its pictures in the order shown."""
    with av.open(io.BytesIO(mp4)) as container:
        return [read_number(frame) for frame in container.decode(video=0)]


def encode(
    pictures: int,
    *,
    codec: str = "libx264",
    gop: int = 10,
    bframes: int = 0,
    audio: str = "",
    first: int = 0,
    described: bool = False,
    slowness: int = 1,
) -> io.BytesIO:
    """Encode a stream into NUT, PTS from 0 at 90 kHz; its parameters in band, or, ``described``, with the track.

    With ``slowness`` there is a picture only so much more seldom.
    """
    sink = io.BytesIO()
    options = {
        "preset": "ultrafast",
        "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:b-adapt=0:open-gop=0",
        "x265-params": f"log-level=none:keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:open-gop=0",
    }
    with av.open(sink, "w", format="nut", container_options={"avoid_negative_ts": "disabled"}) as out:
        if codec == "mjpeg":
            video = out.add_stream("mjpeg", rate=RATE)
            video.pix_fmt = "yuvj420p"
        else:
            video = out.add_stream(codec, rate=RATE, options=options)
            video.pix_fmt = "yuv420p"
        video.width, video.height = WIDTH, HEIGHT
        video.codec_context.time_base = Fraction(1, 90_000)
        if described:
            video.codec_context.flags |= _GLOBAL_HEADER
        else:
            video.codec_context.flags &= ~_GLOBAL_HEADER
        sound = out.add_stream(audio, rate=8000, layout="mono") if audio else None
        for number in range(pictures):
            frame = paint(first + number)
            frame.pts, frame.time_base = (number + 8) * slowness * 90_000 // RATE, Fraction(1, 90_000)
            out.mux(video.encode(frame))
            if sound is not None:
                samples = np.full((1, 8000 // RATE), 900, np.int16)
                tone = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                tone.sample_rate, tone.pts, tone.time_base = 8000, (number + 8) * 8000 // RATE, Fraction(1, 8000)
                out.mux(sound.encode(tone))
        out.mux(video.encode(None))
        if sound is not None:
            out.mux(sound.encode(None))
    sink.seek(0)
    return sink


def records(stream: io.BytesIO, start_ns: int = START, split: Sequence[int] = (), slowness: int = 1) -> list[Footage]:
    """Cut a stream into one record per GOP, as capture does; ``split`` names pictures at which a GOP is cut further."""
    tracks, packets = read_nut(stream.getvalue())
    video = next(track for track in tracks if track.kind == "video")
    made, group, pictures, is_continued = [], [], 0, False
    origin = next(packet.pts for packet in packets if packet.track == video.index)

    def emit(continues: bool) -> None:
        ordered = interleave(tracks, group)
        data = write_nut(tracks, ordered)
        _, again = read_nut(data)
        first = next(packet for packet in again if packet.track == video.index)
        salt = os.urandom(32)
        described = [commitments.Track(t.index, t.codec, t.time_base, t.extradata) for t in read_nut(data)[0]]
        units = [commitments.Unit(packet.track, packet.pts, packet.data) for packet in again]
        count = sum(packet.track == video.index for packet in again)
        made.append(
            Footage(
                start_ns=start_ns + int((first.pts - origin) * video.time_base * SECOND_NS),
                duration_ns=count * slowness * SECOND_NS // RATE,
                salt=salt,
                nut=data,
                commitment=commitments.record_commitment(salt, described, units),
                continues=continues,
            )
        )

    for packet in packets:
        if packet.track == video.index:
            if pictures and (packet.is_keyframe or pictures in split):
                emit(is_continued)
                group, is_continued = [], not packet.is_keyframe
            pictures += 1
        group.append(packet)
    emit(is_continued)
    return made

"""A small ring with footage of its own, written as the recorder writes it.

Owns the film of a house's camera: pictures that carry their time and the house's number, in records that the recorder's
key signs and the vault's key alone opens.
"""

import io
import os
from dataclasses import dataclass
from fractions import Fraction

import av

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.custody.keys import KeyStore
from edge_agent.demo.picture import draw_picture
from edge_agent.host.clock import read_boot_id
from edge_agent.media import commitments
from edge_agent.media.nut_writer import write_nut
from edge_agent.media.packets import NutPacket
from edge_agent.settings.gateway import Camera, Config
from edge_agent.units import SECOND_NS, ClockState, MonoNs, UtcNs
from edge_agent.uplink.clip.nut_reader import StoredTrack, read_nut

FILM_S = 12
GOP_S, FPS, WIDTH, HEIGHT = 2, 5, 320, 180
RING_BYTES, BLOCK_BYTES = 1 << 20, 64 << 10
"""Room for the film alone: 200 rings of the least size that a configuration allows would take 2 GiB."""
_RATE = 90_000


@dataclass(slots=True)
class FilmClock:
    """The clocks of the hour at which a film was recorded."""

    utc_ns: int
    boot_ns: int = SECOND_NS

    def utc(self) -> UtcNs:
        """Read the wall clock."""
        return UtcNs(self.utc_ns)

    def boot(self) -> MonoNs:
        """Read the time since boot."""
        return MonoNs(self.boot_ns)

    def state(self) -> ClockState:
        """Tell that it was right."""
        return ClockState.SYNCHRONISED

    def advance(self, by_ns: int) -> None:
        """Let time pass."""
        self.utc_ns += by_ns
        self.boot_ns += by_ns


def write_film(config: Config, camera: Camera, start: UtcNs, label: str) -> None:
    """Make a camera's ring, and record ``FILM_S`` from ``start`` on into it."""
    keys = KeyStore(config.state_dir, "recorder")
    recorder, path, clock = keys.load_private("recorder"), config.ring_path(camera.id, "main"), FilmClock(start)
    create_ring(
        path, camera=camera.id, quality="main", size_bytes=RING_BYTES, block_size=BLOCK_BYTES, recorder_key=recorder
    )
    writer = RingWriter.open(
        path,
        keys=RingKeys(keys.load_public("vault"), recorder),
        clock=clock,
        boot_id=read_boot_id(),
        settings=WriterSettings(camera.address("main")),
    )
    tracks, packets = read_nut(_encode(start, label))
    pictures = GOP_S * FPS
    for first in range(0, len(packets), pictures):
        begun, at = clock.utc(), clock.boot()
        payload, commitment = _make_record(tracks, packets[first : first + pictures])
        clock.advance(GOP_S * SECOND_NS)
        writer.append(Draft(Kind.GOP, begun, GOP_S * SECOND_NS, at, payload, commitment))
    writer.close()


def _make_record(tracks: tuple[StoredTrack, ...], packets: tuple[NutPacket, ...]) -> tuple[bytes, bytes]:
    # FORMAT 6.1: the salt lies before the NUT file.
    salt = os.urandom(32)
    described = [commitments.Track(each.index, each.codec, each.time_base, each.extradata) for each in tracks]
    units = [commitments.Unit(each.track, each.pts, each.data) for each in packets]
    return write_nut(tracks, packets, behind=salt), commitments.record_commitment(salt, described, units)


def _encode(start: UtcNs, label: str) -> bytes:
    """Encode the whole film, one keyframe every ``GOP_S``, one slice a picture; the NUT file."""
    sink, gop = io.BytesIO(), GOP_S * FPS
    params = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:sliced-threads=0:slices=1"
    with av.open(sink, "w", format="nut") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "x264-params": params})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base, video.codec_context.thread_count = Fraction(1, _RATE), 1
        for number in range(FILM_S * FPS):
            taken = UtcNs(start + number * SECOND_NS // FPS)
            frame = av.VideoFrame.from_ndarray(draw_picture(taken, WIDTH, HEIGHT, label), format="yuv420p")
            frame.pts, frame.time_base = number * _RATE // FPS, Fraction(1, _RATE)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return sink.getvalue()

"""The same minutes twice: in a ring, as the recorder writes them, and in plain MP4 segments, as others do.

1080p25 H.264, one GOP of 2 s repeated with rising PTS, 4 Mbit/s.
"""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.media import commitments
from edge_agent.media.nut_writer import write_nut
from edge_agent.media.packets import NutPacket
from edge_agent.units import SECOND_NS, MonoNs, UtcNs, Window
from edge_agent.uplink.clip.nut_reader import read_nut
from tests.support.fakes import FakeClock

GOP_S, RATE, BITS_S, SEGMENT_S = 2, 25, 4_000_000, 10
BLOCK_BYTES = 8 << 20
ADDRESS = "rtsp://127.0.0.1:1/nobody"
"""Of the camera, as the trial's home has it: what was recorded from elsewhere is not released."""
_TICKS = GOP_S * 90_000


@dataclass(frozen=True)
class Recorded:
    """Footage of a camera from ``start`` on, and where both forms of it go."""

    ring: Path
    segments: Path
    camera: str
    start: UtcNs
    minutes: int

    @property
    def window(self) -> Window:
        return Window(self.start, UtcNs(self.start + self.minutes * 60 * SECOND_NS))

    @property
    def ring_bytes(self) -> int:
        return self.minutes * 60 * BITS_S // 8 * 5 // 4 + 16 * BLOCK_BYTES

    def write(self, vault: X25519PublicKey, recorder: Ed25519PrivateKey) -> None:
        """Write both."""
        gop = encode_gop()
        self._write_ring(gop, vault, recorder)
        self._write_segments(gop)

    def last(self, minutes: int) -> tuple[Window, list[str]]:
        """Return the window of the last minutes, and the names of the segments that hold the same."""
        names = sorted(path.name for path in self.segments.glob("segment-*.mp4"))
        end = self.window.end
        return Window(UtcNs(end - minutes * 60 * SECOND_NS), end), names[-minutes * 60 // SEGMENT_S :]

    def _write_ring(self, gop: bytes, vault: X25519PublicKey, recorder: Ed25519PrivateKey) -> None:
        tracks, packets = read_nut(gop)
        described = [commitments.Track(t.index, t.codec, t.time_base, t.extradata) for t in tracks]
        clock = FakeClock(utc=self.start)
        create_ring(
            self.ring, camera=self.camera, quality="main", size_bytes=self.ring_bytes, block_size=BLOCK_BYTES,
            recorder_key=recorder,
        )  # fmt: skip
        writer = RingWriter.open(
            self.ring,
            keys=RingKeys(vault, recorder),
            clock=clock,
            boot_id=os.urandom(16),
            settings=WriterSettings(ADDRESS),
        )
        for number in range(self.minutes * 60 // GOP_S):
            shift = number * _TICKS
            moved = [
                NutPacket(p.track, p.pts + shift, p.dts + shift, p.duration, p.is_keyframe, p.data) for p in packets
            ]
            salt, at = os.urandom(32), MonoNs(clock.boot())
            units = [commitments.Unit(p.track, p.pts, p.data) for p in moved]
            payload = write_nut(tracks, moved, behind=salt)
            commitment = commitments.record_commitment(salt, described, units)
            start = clock.utc()
            clock.advance(GOP_S * SECOND_NS)
            writer.append(Draft(Kind.GOP, start, GOP_S * SECOND_NS, at, payload, commitment))
        writer.close()

    def _write_segments(self, gop: bytes) -> None:
        loop = self.segments / "gop.nut"
        loop.write_bytes(gop)
        count = self.minutes * 60 // GOP_S
        subprocess.run(
            ["ffmpeg", "-v", "error", "-stream_loop", str(count - 1), "-i", loop, "-c", "copy", "-f", "segment",
             "-segment_time", str(SEGMENT_S), "-reset_timestamps", "1", self.segments / "segment-%04d.mp4"],
            check=True,
        )  # fmt: skip


def encode_gop() -> bytes:
    """Encode 2 s of noise at a constant rate, one slice a picture; the NUT file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gop.nut"
        noise = np.random.default_rng(1)
        params = "keyint=50:min-keyint=50:scenecut=0:bframes=0:vbv-maxrate=4000:vbv-bufsize=4000:nal-hrd=cbr"
        params += ":sliced-threads=0:slices=1"
        options = {"preset": "ultrafast", "x264-params": params}
        with av.open(str(path), "w", format="nut") as out:
            video = out.add_stream("libx264", rate=RATE, options=options)
            video.width, video.height, video.pix_fmt, video.bit_rate = 1920, 1080, "yuv420p", BITS_S
            video.codec_context.time_base = Fraction(1, 90_000)
            for number in range(GOP_S * RATE):
                pixels = noise.integers(0, 255, (1620, 1920), dtype=np.uint8) // 8 + 100
                frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
                frame.pts, frame.time_base = number * 90_000 // RATE, Fraction(1, 90_000)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        return path.read_bytes()

"""The same minutes twice: in a ring, as the recorder writes them, and in plain MP4 segments, as others do.

1080p25 H.264, one GOP of 2 s repeated with rising PTS, 4 Mbit/s. Makes every key that a release needs.
"""

import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent import media, nut
from edge_agent.buffer.format import Kind
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.writer import Draft, RingWriter
from edge_agent.units import SECOND_NS, MonoNs, UtcNs
from tests.buffer.rig import FakeClock

START = UtcNs(1_800_000_000 * SECOND_NS)
GOP_S, RATE, BITS_S = 2, 25, 4_000_000
_TICKS = GOP_S * 90_000


def encode_gop() -> bytes:
    """Encode 2 s of noise at a constant rate; the NUT file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gop.nut"
        noise = np.random.default_rng(1)
        params = "keyint=50:min-keyint=50:scenecut=0:bframes=0:vbv-maxrate=4000:vbv-bufsize=4000:nal-hrd=cbr"
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


def write_ring(folder: Path, gop: bytes, count: int) -> None:
    """Write ``count`` records into a ring; keys as raw bytes beside it."""
    vault, recorder = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (folder / "vault.key").write_bytes(vault.private_bytes_raw())
    (folder / "recorder.key").write_bytes(recorder.private_bytes_raw())
    tracks, packets = nut.read_nut(gop)
    described = [media.Track(t.index, t.codec, t.time_base, t.extradata) for t in tracks]
    clock, path = FakeClock(utc_ns=START), folder / "door.main.ring"
    size = (count * 2 + 128) << 20
    create_ring(path, camera="door", quality="main", size_bytes=size, block_size=8 << 20, recorder_key=recorder)
    writer = RingWriter.open(
        path, vault_public=vault.public_key(), recorder_key=recorder, clock=clock, boot_id=bytes(16)
    )
    for number in range(count):
        shift = number * _TICKS
        moved = [
            nut.NutPacket(p.track, p.pts + shift, p.dts + shift, p.duration, p.is_keyframe, p.data) for p in packets
        ]
        salt, start = os.urandom(32), UtcNs(START + number * GOP_S * SECOND_NS)
        units = [media.Unit(p.track, p.pts, p.data) for p in moved]
        payload = media.seal_payload(salt, nut.write_nut(tracks, moved))
        clock.utc_ns = start + GOP_S * SECOND_NS
        commitment = media.record_commitment(salt, described, units)
        writer.append(Draft(Kind.GOP, start, GOP_S * SECOND_NS, MonoNs(start - START), payload, commitment))
    writer.close()


def write_segments(folder: Path, gop: bytes, count: int) -> None:
    """Write the same pictures as MP4 segments of 10 s, and the list that ffmpeg's concat wants."""
    (folder / "gop.nut").write_bytes(gop)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-stream_loop", str(count - 1), "-i", folder / "gop.nut", "-c", "copy", "-f",
         "segment", "-segment_time", "10", "-reset_timestamps", "1", folder / "segment-%04d.mp4"],
        check=True,
    )  # fmt: skip
    names = sorted(path.name for path in folder.glob("segment-*.mp4"))
    (folder / "segments.txt").write_text("".join(f"file '{name}'\n" for name in names))


def main() -> None:
    """Write both: ``recorded FOLDER MINUTES``."""
    folder, count = Path(sys.argv[1]), int(float(sys.argv[2]) * 60 / GOP_S)
    gop = encode_gop()
    write_ring(folder, gop, count)
    write_segments(folder, gop, count)


if __name__ == "__main__":
    main()

"""Ten minutes of a camera through everything behind its socket, over the cryptography that nobody can do without.

Ours: access units of 1080p25 at 4 Mbit/s become timed pictures, GOPs, commitments, NUT files, encrypted and chained
records, and lie in a ring, synced as often as in a house; no camera and no waiting, the clock is turned by hand. Bare:
ChaCha20-Poly1305 and two SHA-256 over the same bytes, by the same libraries. ``BENCH_MINUTES`` says how much (10).
"""

import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bench.measure import Row, alternate, parse_arguments, report
from bench.recorded import ADDRESS, BITS_S, BLOCK_BYTES, GOP_S, RATE, encode_gop
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.capture.run.gap_account import GapKeeper
from edge_agent.capture.run.open_run import Run
from edge_agent.capture.session.interface import Arrival
from edge_agent.capture.status import StreamStatus
from edge_agent.media.packets import TrackTemplate
from edge_agent.recording.ring_sink import RingSink
from edge_agent.units import SECOND_NS, ClockState, MonoNs, UtcNs
from edge_agent.uplink.clip.nut_reader import read_nut
from tests.support.fakes import FakeClock

GOAL = 2.5
FEWEST_RUNS = 9
_RING_BYTES = 64 << 20
_PICTURE_NS = SECOND_NS // RATE
_TICK_PICTURES = RATE // 2
"""A camera's thread lets its ring sync what is due twice a second."""


class Pipeline:
    """The footage, and both ways through it."""

    def __init__(self, folder: Path, minutes: int) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self._gops = minutes * 60 // GOP_S
        self._tracks, packets = read_nut(encode_gop())
        self._units = [(packet.data, packet.is_keyframe) for packet in packets]
        self.gop_bytes = sum(len(data) for data, _ in self._units)

    def ours(self) -> float:
        """Record it all into a new ring; return the CPU seconds."""
        clock = FakeClock(utc=UtcNs(1_700_000_000 * SECOND_NS))
        path = self._folder / f"{next(self._numbers)}.ring"
        sink = RingSink("front.main", lambda: self._open(path, clock), clock)
        sink.open()
        gaps, status = GapKeeper(sink, clock.utc(), "connecting"), StreamStatus(clock)
        tracks: tuple[TrackTemplate, ...] = (replace(self._tracks[0], index=0),)
        run = Run(tracks, reorders=False, sink=sink, gaps=gaps, status=status, source={}, floor=clock.utc())
        began_s = time.process_time()
        for number, arrival in enumerate(self._arrivals(clock)):
            run.push(arrival, lambda: ClockState.SYNCHRONISED)
            if number % _TICK_PICTURES == 0:
                sink.tick()
        run.finish()
        took_s = time.process_time() - began_s
        if not sink.close(10) or run.records < self._gops - 1:
            raise SystemExit(f"not everything was recorded: records={run.records}")
        path.unlink()
        return took_s

    def bare(self) -> float:
        """Encrypt and hash the same bytes; return the CPU seconds."""
        gop, aead = b"".join(data for data, _ in self._units), ChaCha20Poly1305(os.urandom(32))
        began_s = time.process_time()
        for number in range(self._gops):
            aead.encrypt(number.to_bytes(12, "little"), gop, b"")
            hashlib.sha256(gop).digest()
            hashlib.sha256(gop).digest()
        return time.process_time() - began_s

    def _arrivals(self, clock: FakeClock) -> Iterator[Arrival]:
        ticks = itertools.count(0, 90_000 // RATE)
        for _ in range(self._gops):
            for data, is_keyframe in self._units:
                clock.advance(_PICTURE_NS)
                yield Arrival(
                    track=0, pts=next(ticks), duration=90_000 // RATE, is_keyframe=is_keyframe, data=data,
                    utc=clock.utc(), boot=MonoNs(clock.boot()), camera_utc=None, report=None,
                )  # fmt: skip

    def _open(self, path: Path, clock: FakeClock) -> RingWriter:
        key = Ed25519PrivateKey.generate()
        create_ring(
            path, camera="front", quality="main", size_bytes=_RING_BYTES, block_size=BLOCK_BYTES, recorder_key=key
        )
        vault = X25519PrivateKey.generate().public_key()
        return RingWriter.open(
            path, vault_public=vault, recorder_key=key, clock=clock, boot_id=os.urandom(16), source=ADDRESS
        )


def main() -> int:
    """Run it."""
    args = parse_arguments("pipeline", __doc__ or "")
    minutes = int(os.environ.get("BENCH_MINUTES", "10"))
    with tempfile.TemporaryDirectory(prefix="eb-", dir=os.environ.get("BENCH_DIR")) as name:
        pipeline = Pipeline(Path(name), minutes)
        found = alternate(max(args.runs, FEWEST_RUNS), {"ours": pipeline.ours, "bare": pipeline.bare})
    ratio, mb = found["ours"].over(found["bare"]), pipeline.gop_bytes / GOP_S / 1e6
    note = (
        f"{ratio}; {found['ours'].median / minutes / 60 * 1000:.2f} ms against"
        f" {found['bare'].median / minutes / 60 * 1000:.2f} ms a second of {mb * 8:.1f} Mbit/s ({BITS_S / 1e6:g} asked)"
    )
    return report(
        "pipeline", args, [Row("pipeline ÷ AEAD + 2 SHA-256", ratio.median, GOAL, "", note, found.doubt("bare"))]
    )


if __name__ == "__main__":
    raise SystemExit(main())

"""Ten minutes of a camera through everything behind its socket, over the cryptography that nobody can do without.

Ours: RTP over TCP of 1080p25 at 4 Mbit/s, as much of it at once as a reader finds that looks every 0.4 s, is taken
apart and becomes timed pictures, GOPs, commitments, NUT files, encrypted and chained records, and lies in a ring,
synced as often as in a house; no camera and no waiting, the clock is turned by hand. Bare: ChaCha20-Poly1305 and two
SHA-256 over the coded pictures, by the same libraries. ``BENCH_MINUTES`` says how much (10).
"""

import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bench.measure import Row, alternate, parse_arguments, report
from bench.recorded import ADDRESS, BITS_S, BLOCK_BYTES, GOP_S, RATE, encode_gop
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.capture.rtsp.arrivals import ArrivalMaker
from edge_agent.capture.rtsp.connection import CHUNK_BYTES, Received
from edge_agent.capture.rtsp.handshake import PlayedStream, PlayedTrack
from edge_agent.capture.rtsp.sdp import SdpMedium
from edge_agent.capture.rtsp.split import Splitter
from edge_agent.capture.run.gap_account import GapKeeper
from edge_agent.capture.run.open_run import Run
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.status import StreamStatus
from edge_agent.demo.rtp import encode_rtp, pack_h264, split_annexb
from edge_agent.media.packets import TrackTemplate
from edge_agent.recording.ring_sink import RingSink
from edge_agent.units import SECOND_NS, ClockState, MonoNs, UtcNs
from edge_agent.uplink.clip.nut_reader import read_nut
from tests.support.fakes import FakeClock

GOAL = 2.5
FEWEST_RUNS = 9
_RING_BYTES = 64 << 20
_LOOK_PICTURES = 10  # as many as come in between two looks of the hub
_LOOK_NS = _LOOK_PICTURES * SECOND_NS // RATE


class Pipeline:
    """The footage, and both ways through it."""

    def __init__(self, folder: Path, minutes: int) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self._gops = minutes * 60 // GOP_S
        tracks, packets = read_nut(encode_gop())
        self._tracks: tuple[TrackTemplate, ...] = (tracks[0],)
        self._payloads = [pack_h264(split_annexb(packet.data)) for packet in packets]
        self._gop = b"".join(packet.data for packet in packets)
        self.gop_bytes = len(self._gop)
        medium = SdpMedium("video", (96,), "H264", 90_000, 0, "")
        self._played = PlayedStream(ADDRESS, (PlayedTrack(tracks[0], medium, (0, 1)),), reorders=False, silence="")

    def ours(self) -> float:
        """Record it all into a new ring; return the CPU seconds."""
        clock = FakeClock(utc=UtcNs(1_700_000_000 * SECOND_NS))
        path = self._folder / f"{next(self._numbers)}.ring"
        sink = RingSink("front.main", lambda: self._open(path, clock), clock)
        sink.open()
        gaps, status = GapKeeper(sink, clock.utc(), "connecting"), StreamStatus(clock)
        run = Run(self._tracks, reorders=False, sink=sink, gaps=gaps, status=status, source={}, floor=clock.utc())
        splitter, maker = Splitter(), ArrivalMaker(self._played, PacketLoss(clock))
        used_s = 0.0
        for found in self._tape():  # made on the way: ten minutes of it would be 300 MB
            began_s = time.process_time()
            clock.advance(_LOOK_NS)
            for at in range(0, len(found), CHUNK_BYTES):
                pieces = splitter.feed(found[at : at + CHUNK_BYTES])
                for arrival in maker.take(Received(pieces, clock.utc(), MonoNs(clock.boot()))):
                    run.push(arrival, lambda: ClockState.SYNCHRONISED)
            sink.tick()  # as a camera's thread does, twice a second
            used_s += time.process_time() - began_s
        run.finish()
        if not sink.close(10) or run.records < self._gops - 1:
            raise SystemExit(f"not everything was recorded: records={run.records}")
        path.unlink()
        return used_s

    def _tape(self) -> Iterator[bytes]:
        """Yield what is found at each look."""
        ticks, sequence = itertools.count(0, 90_000 // RATE), itertools.count()
        pictures = itertools.islice(itertools.cycle(self._payloads), self._gops * len(self._payloads))
        for look in iter(lambda: list(itertools.islice(pictures, _LOOK_PICTURES)), []):
            yield b"".join(self._frame(payloads, next(ticks), sequence) for payloads in look)

    @staticmethod
    def _frame(payloads: Sequence[bytes], ticks: int, sequence: Iterator[int]) -> bytes:
        packets = [
            encode_rtp(
                payload,
                marker=place == len(payloads) - 1,
                payload_type=96,
                sequence=next(sequence),
                ticks=ticks,
                ssrc=7,
            )
            for place, payload in enumerate(payloads)
        ]
        return b"".join(b"$\0" + len(packet).to_bytes(2, "big") + packet for packet in packets)

    def bare(self) -> float:
        """Encrypt and hash the same bytes; return the CPU seconds."""
        gop, aead = self._gop, ChaCha20Poly1305(os.urandom(32))
        began_s = time.process_time()
        for number in range(self._gops):
            aead.encrypt(number.to_bytes(12, "little"), gop, b"")
            hashlib.sha256(gop).digest()
            hashlib.sha256(gop).digest()
        return time.process_time() - began_s

    def _open(self, path: Path, clock: FakeClock) -> RingWriter:
        key = Ed25519PrivateKey.generate()
        create_ring(
            path, camera="front", quality="main", size_bytes=_RING_BYTES, block_size=BLOCK_BYTES, recorder_key=key
        )
        vault = X25519PrivateKey.generate().public_key()
        return RingWriter.open(
            path, keys=RingKeys(vault, key), clock=clock, boot_id=os.urandom(16), settings=WriterSettings(ADDRESS)
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

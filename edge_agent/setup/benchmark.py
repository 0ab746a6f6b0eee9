"""How many cameras this machine records: measured with the recorder's own parts, on the disk that the rings lie on.

A stream of 4 Mbit/s is read from loopback, cut, committed to, encrypted, and written to a ring with its syncs. The
answer is the smallest number that processor, disk, network and memory allow, each with a reserve. It measures what is
left: beside a recorder that runs, it says how many cameras more.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.capture.run.gop import build_payload
from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock, read_boot_id
from edge_agent.media.packets import NutPacket, TrackTemplate, describe_stream
from edge_agent.settings.gateway import MAX_CAMERAS, Config
from edge_agent.units import MINUTE_NS, SECOND_NS

Tell = Callable[[int], None]
"""Told how far it is, in permille."""

BITS_PER_S = 4_000_000
RATE = 25
_FOOTAGE_S = 2
_RING_BYTES = 64 << 20
_NAME = "benchmark"
CPU_SHARE = 0.7
"""Of one processor: the recorder is one process, and Python runs on one processor at a time."""
OVERHEAD = 3.0
"""RTSP, the timeline, the watch on pictures: these parts took 0.5 % of a core a camera, the whole recorder 0.94
to 1.5 % (docs/performance.md)."""
DISK_SHARE, LINK_SHARE = 0.5, 0.6
"""Cards and disks slow down as they fill; a network carries more than cameras."""
CAMERA_BYTES, SPARE_BYTES = 10 << 20, 256 << 20
"""docs/performance.md: 6 MB a camera were measured, and the releaser takes up to 120 MB for a clip."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The number that one part of the machine allows: cameras, and the measurement behind that."""

    part: str
    cameras: int
    measured: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All limits, and the number of cameras that they leave."""

    limits: tuple[Limit, ...]

    @property
    def tightest(self) -> Limit:
        """The part that decides."""
        return min(self.limits, key=lambda limit: limit.cameras)

    @property
    def cameras(self) -> int:
        """How many cameras of 4 Mbit/s fit."""
        return min(MAX_CAMERAS, self.tightest.cameras)


def run_benchmark(config: Config, seconds: float = 20.0, progress: Tell | None = None) -> Benchmark:
    """Measure for about twice that many seconds.

    Args:
        config: Names the folder of the rings.
        seconds: For reading, and as long again for writing.
        progress: Told the permille done; None for no output.

    Raises:
        UsageError: The rings' folder cannot be written.
    """
    tell = progress or (lambda _permille: None)
    stream = make_stream()
    tell(100)
    read_cpu_s, tracks, packets = measure_reading(stream, seconds)
    tell(500)
    cpu_s, wall_s = measure_writing(config.rings_dir, tracks, packets, seconds, lambda share: tell(500 + share // 2))
    busy_s = OVERHEAD * (read_cpu_s + cpu_s)
    limits = [
        Limit(
            "processor",
            int(CPU_SHARE / busy_s),
            f"{busy_s * 100:.1f} % of one processor for each camera; of it {read_cpu_s * 100:.1f} % reading and "
            f"{cpu_s * 100:.1f} % cutting and encrypting were measured",
        ),
        Limit(
            "disk",
            int(DISK_SHARE / wall_s),
            f"{wall_s * 1000:.0f} ms for each second of a camera, its syncs included",
        ),
    ]
    link = find_link_mbit()
    if link is not None:
        limits.append(
            Limit("network", int(LINK_SHARE * link * 1e6 / BITS_PER_S), f"the fastest link has {link} Mbit/s")
        )
    memory = read_available_bytes()
    if memory is not None:
        cameras = max(0, memory - SPARE_BYTES) // CAMERA_BYTES
        limits.append(Limit("memory", cameras, f"{memory >> 20} MiB are available"))
    tell(1000)
    return Benchmark(tuple(limits))


def make_stream() -> bytes:
    """Return two seconds of H.264 at about 4 Mbit/s, a keyframe a second, as an MPEG transport stream."""
    noise = np.random.default_rng(1)
    out = BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.bit_rate = BITS_PER_S
        stream.time_base = Fraction(1, RATE)
        rate = str(BITS_PER_S)
        stream.options = {"preset": "ultrafast", "g": str(RATE), "nal-hrd": "cbr", "maxrate": rate, "bufsize": rate,
                          "minrate": rate, "bf": "0"}  # fmt: skip
        for number in range(_FOOTAGE_S * RATE):
            picture = np.repeat(np.repeat(noise.integers(0, 255, (45, 80), np.uint8), 16, 0), 16, 1)
            frame = av.VideoFrame.from_ndarray(np.dstack([picture] * 3), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def measure_reading(stream: bytes, seconds: float) -> tuple[float, tuple[TrackTemplate, ...], list[NutPacket]]:
    """Read the stream from a socket on loopback, again and again.

    Returns:
        Seconds of a processor for each second of footage; the track and the packets of the first second.
    """
    kept: list[NutPacket] = []
    pictures, deadline = 0, time.monotonic() + seconds
    with _serve(stream, deadline) as port:
        started = time.thread_time()
        with av.open(f"tcp://127.0.0.1:{port}", format="mpegts", timeout=(10.0, 10.0)) as container:
            tracks = (describe_stream(container.streams.video[0], 0),)
            for packet in container.demux(video=0):
                if packet.dts is None or packet.pts is None:
                    continue
                data = bytes(packet)
                pictures += 1
                if len(kept) < RATE:
                    ticks = int(packet.duration or 1)
                    kept.append(NutPacket(0, packet.pts, packet.dts, ticks, packet.is_keyframe, data))
        spent = time.thread_time() - started
    return spent / max(1, pictures) * RATE, tracks, kept


@contextmanager
def _serve(stream: bytes, deadline: float) -> Iterator[int]:
    """Send the stream to one caller on loopback until the deadline."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(10.0)

        def send() -> None:
            try:
                line, _ = server.accept()
                with line:
                    line.settimeout(10.0)
                    while time.monotonic() < deadline:
                        line.sendall(stream)
            except OSError:
                return

        thread = threading.Thread(target=send, name="benchmark", daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(15.0)


def measure_writing(
    folder: Path, tracks: tuple[TrackTemplate, ...], packets: list[NutPacket], seconds: float, tell: Tell
) -> tuple[float, float]:
    """Write one record a second of footage to a ring of its own, with a sync every three, as fast as it goes.

    Returns:
        For each second of footage: seconds of a processor, and seconds that the disk took.
    """
    path = folder / f"{_NAME}.main.ring"
    key, clock = Ed25519PrivateKey.generate(), SystemClock()
    path.unlink(missing_ok=True)
    try:
        create_ring(path, camera=_NAME, quality="main", size_bytes=_RING_BYTES, recorder_key=key, now=clock.utc())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}", "run it as root (sudo)") from error
    try:
        writer = RingWriter.open(
            path,
            keys=RingKeys(X25519PrivateKey.generate().public_key(), key),
            clock=clock,
            boot_id=read_boot_id(),
            settings=WriterSettings("rtsp://127.0.0.1/benchmark", sync_every_ns=MINUTE_NS),
        )
        with closing(writer):
            return _write(writer, tracks, packets, seconds, clock, tell)
    finally:
        path.unlink(missing_ok=True)


def _write(
    writer: RingWriter,
    tracks: tuple[TrackTemplate, ...],
    packets: list[NutPacket],
    seconds: float,
    clock: SystemClock,
    tell: Tell,
) -> tuple[float, float]:
    cpu_s = wall_s = 0.0
    records, started = 0, time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        begun_cpu, begun = time.thread_time(), time.monotonic()
        payload, commitment = build_payload(tracks, packets)
        built = time.monotonic()
        writer.append(Draft(Kind.GOP, clock.utc(), SECOND_NS, clock.boot(), payload, commitment, 0))
        records += 1
        if records % 3 == 0:
            writer.sync()
        cpu_s += time.thread_time() - begun_cpu
        # Encryption is in here as well: on the side of the disk, which is the safe one.
        wall_s += time.monotonic() - max(begun, built)
        tell(int(passed / seconds * 1000))
    return cpu_s / records, wall_s / records


def find_link_mbit(folder: Path = Path("/sys/class/net")) -> int | None:
    """Return the speed of the fastest wired link that is up; None if no driver says (Wi-Fi, virtual machines)."""
    found = []
    for link in folder.iterdir() if folder.is_dir() else []:
        try:
            if link.name != "lo" and (link / "operstate").read_text().strip() == "up":
                found.append(int((link / "speed").read_text()))
        except (OSError, ValueError):
            # Wireless and virtual links tell no speed.
            continue
    return max((speed for speed in found if speed > 0), default=None)


def read_available_bytes() -> int | None:
    """Return the memory that is available, as the kernel reckons it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None

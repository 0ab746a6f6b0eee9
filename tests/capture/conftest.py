"""Fixtures of the capture tests: a sink that remembers, and a way to record a simulated camera for a while."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import av
import pytest

from edge_agent.capture.camera import CameraThread
from edge_agent.capture.recorded_stream import WATCHDOG_NS, Look, RecordedStream
from edge_agent.capture.run.records import ClockNote, Gap, Gop, RunInfo
from edge_agent.capture.session.hub import Hub
from edge_agent.capture.session.interface import Endpoint
from edge_agent.demo.picture import read_strip
from edge_agent.host.clock import Clock, SystemClock
from edge_agent.media.commitments import open_payload
from edge_agent.media.packets import NutPacket, TrackTemplate
from edge_agent.units import MonoNs, UtcNs
from edge_agent.uplink.clip.nut_reader import read_nut

Record = Gop | Gap | RunInfo | ClockNote
READER: ContextVar[str] = ContextVar("reader", default="ffmpeg")
"""What reads the sessions of a test: ``own`` or ``ffmpeg``."""


def with_reader(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint for the test's reader; a test of what our own reader refuses is expected to fail."""
    if READER.get() == "own" and endpoint.carrier == "udp":
        pytest.xfail("our own reader refuses UDP: FFmpeg reads it")
    return replace(endpoint, reader=READER.get())


ON_EACH_READER = [
    pytest.mark.usefixtures("each_reader"),
    pytest.mark.parametrize("each_reader", ["own", "ffmpeg"], indirect=True),
]


@pytest.fixture
def each_reader(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test on each reader."""
    callspec = getattr(request.node, "callspec", None)
    words = [str(value) for value in (callspec.params.values() if callspec else ())]
    if request.param == "own" and any("mjpeg" in word for word in words):
        pytest.xfail("our own reader refuses MJPEG: FFmpeg reads it")
    token = READER.set(request.param)
    yield request.param
    READER.reset(token)


@functools.cache
def running_hub() -> Hub:
    """Return the hub that all cameras of the tests share, as those of a recorder do."""
    hub = Hub()
    hub.start()
    return hub


@dataclass
class MemorySink:
    """Remembers every record in order."""

    records: list[Record] = field(default_factory=list)
    ticks: int = 0
    sync_due: MonoNs | None = None

    def gop(self, gop: Gop) -> None:
        self.records.append(gop)

    def gap(self, gap: Gap) -> None:
        self.records.append(gap)

    def run(self, run: RunInfo) -> None:
        self.records.append(run)

    def clock(self, note: ClockNote) -> None:
        self.records.append(note)

    def tick(self) -> None:
        self.ticks += 1

    @property
    def gops(self) -> list[Gop]:
        return [record for record in self.records if isinstance(record, Gop)]

    @property
    def gaps(self) -> list[Gap]:
        return [record for record in self.records if isinstance(record, Gap)]

    @property
    def runs(self) -> list[RunInfo]:
        return [record for record in self.records if isinstance(record, RunInfo)]

    @property
    def notes(self) -> list[ClockNote]:
        return [record for record in self.records if isinstance(record, ClockNote)]


def wait_until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Wait for a condition, with a limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


class Recording:
    """A camera thread on a memory sink."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock | None = None,
        hold: Callable[[], str] = lambda: "",
        look: Look | None = None,
        watchdog_ns: int = WATCHDOG_NS,
        sink: MemorySink | None = None,
    ) -> None:
        endpoint = with_reader(endpoint)
        self.sink = sink or MemorySink()
        self.stop = threading.Event()
        self.thread = CameraThread(
            RecordedStream("door.main", lambda: endpoint, hold, look, watchdog_ns),
            self.sink,
            clock or SystemClock(),
            self.stop,
        )
        self.status = self.thread.status

    def __enter__(self) -> "Recording":
        self.thread.start(running_hub())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.notice_stop()
        assert self.thread.join(15)

    def wait_for_gops(self, count: int, limit_s: float = 20.0) -> None:
        wait_until(lambda: len(self.sink.gops) >= count, limit_s)


def unpack(gop: Gop) -> tuple[tuple[TrackTemplate, ...], tuple[NutPacket, ...]]:
    """Take a GOP's payload apart."""
    return read_nut(open_payload(gop.payload)[1])


def read_pictures(gops: list[Gop]) -> list[tuple[UtcNs, UtcNs]]:
    """Decode consecutive GOPs: (UTC by the ring, UTC by the pixels) of each picture."""
    pictures: list[tuple[UtcNs, UtcNs]] = []
    decoder: av.VideoCodecContext | None = None
    for gop in gops:
        tracks, packets = unpack(gop)
        video = tracks[0]
        first = next(packet.pts for packet in packets if packet.track == 0)
        if decoder is None:
            decoder = av.CodecContext.create(video.codec, "r")
            decoder.extradata = video.extradata or None
        for packet in packets:
            if packet.track == 0:
                coded = av.Packet(packet.data)
                utc = gop.start_ns + int((packet.pts - first) * video.time_base * 1_000_000_000)
                coded.pts = coded.dts = utc
                pictures += [(UtcNs(f.pts), read_strip(f.to_ndarray(format="gray"))) for f in decoder.decode(coded)]
    if decoder is not None:
        pictures += [(UtcNs(f.pts), read_strip(f.to_ndarray(format="gray"))) for f in decoder.decode(None)]
    return pictures


@pytest.fixture
def record() -> Callable[..., Recording]:
    """Return the way to record an endpoint."""
    return Recording

"""A camera thread against gst-rtsp-server: an RTSP server that somebody else wrote."""

import itertools
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from edge_agent.capture.camera import CameraThread
from edge_agent.capture.camera_tls import Trust
from edge_agent.capture.recorded_stream import RecordedStream
from edge_agent.capture.run.records import Gap, Gop
from edge_agent.capture.session.interface import Endpoint
from edge_agent.demo.picture import draw_picture
from edge_agent.host.clock import SystemClock
from edge_agent.units import SECOND_NS, UtcNs
from tests.capture.test_camera_tls import make_certificate

from .conftest import ON_EACH_READER, MemorySink, Recording, running_hub, wait_until, with_reader

PYTHON = "/usr/bin/python3"
FPS, GOP, PICTURES = 15, 8, 120
_HAS_SERVER = (
    Path(PYTHON).exists()
    and subprocess.run(
        [PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"], capture_output=True
    ).returncode
    == 0
)
pytestmark = [
    *ON_EACH_READER,
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(not _HAS_SERVER, reason="gst-rtsp-server is not installed (gir1.2-gst-rtsp-server-1.0)"),
]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encode a few seconds of pictures."""
    path = tmp_path_factory.mktemp("gst") / "footage.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": f"keyint={GOP}:scenecut=0"}
        for number in range(PICTURES):
            picture = draw_picture(UtcNs(number * SECOND_NS // FPS), 320, 180)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class GstCamera:
    """The server's process."""

    def __init__(self, footage: Path, *words: str) -> None:
        script = Path(__file__).parents[1] / "peers" / "gst_cameras.py"
        command = [PYTHON, str(script), str(footage), "--fps", str(FPS), *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.port = ready["port"]
        scheme = "rtsps" if "--certificate" in words else "rtsp"
        self.url = f"{scheme}://127.0.0.1:{self.port}{ready['path']}"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextmanager
def gst_camera(footage: Path, *words: str) -> Iterator[GstCamera]:
    camera = GstCamera(footage, *words)
    try:
        yield camera
    finally:
        camera.close()


def assert_tiled(sink: MemorySink) -> None:
    timed = [record for record in sink.records if isinstance(record, Gop | Gap)]
    spans = sorted((record.start_ns, record.start_ns + record.duration_ns) for record in timed)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))


LOGIN = {"username": "owner", "password": "p@ss:w/rd"}
WAYS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "tcp": ((), {"transport": "tcp"}),
    "udp": ((), {"transport": "udp"}),
    "digest": (("--user", LOGIN["username"], "--password", LOGIN["password"]), LOGIN),
    "basic": (("--user", LOGIN["username"], "--password", LOGIN["password"], "--basic"), LOGIN),
}


@pytest.mark.parametrize(("words", "options"), WAYS.values(), ids=WAYS.keys())
def test_stream_is_recorded(footage: Path, words: tuple[str, ...], options: dict[str, str]) -> None:
    """Over TCP and UDP, with Digest and Basic, footage is recorded in one run."""
    with (
        gst_camera(footage, *words) as camera,
        Recording(Endpoint(camera.url, **options)) as recording,  # type: ignore[arg-type]
    ):
        recording.wait_for_gops(4)
    assert len(recording.sink.runs) == 1
    assert_tiled(recording.sink)


LOSSES = {"none": (0.0, 0.0, 0.0), "one packet in ten": (0.1, 5.0, 20.0)}


@pytest.mark.parametrize(("loss", "least", "most"), LOSSES.values(), ids=LOSSES.keys())
def test_packet_loss_is_told(footage: Path, loss: float, least: float, most: float) -> None:
    """What is dropped between the server's payloader and the network stands in the status; nothing where nothing is."""
    with (
        gst_camera(footage, "--loss", str(loss), "--mtu", "300") as camera,
        Recording(Endpoint(camera.url, transport="udp")) as recording,
    ):
        wait_until(lambda: recording.status.snapshot().get("lost_percent", -1.0) >= least, 40)
        told = recording.status.snapshot()
    assert told["lost_percent"] <= most
    assert (told["lost_packets"] > 0) == (loss > 0)


@pytest.mark.parametrize("basic", [False, True], ids=["digest", "basic"])
def test_wrong_password_is_told(footage: Path, basic: bool) -> None:
    """A refused login is told as that."""
    words = ("--user", "owner", "--password", "right", *(("--basic",) if basic else ()))
    with (
        gst_camera(footage, *words) as camera,
        Recording(Endpoint(camera.url, username="owner", password="wrong")) as recording,
    ):
        wait_until(lambda: recording.status.snapshot()["reason"] == "unauthorized")


def test_stream_over_tls_is_recorded(footage: Path, tmp_path: Path) -> None:
    """``rtsps`` with verification on."""
    path, _ = make_certificate(tmp_path, "camera", "127.0.0.1")
    with (
        gst_camera(footage, "--certificate", str(path)) as camera,
        Recording(Endpoint(camera.url, trust=Trust(path))) as recording,
    ):
        recording.wait_for_gops(3)


def test_killed_server_is_found_again(footage: Path) -> None:
    """After kill -9 and a start on another port the stream is recorded again; the hole is a GAP."""
    sink, stop, clock = MemorySink(), threading.Event(), SystemClock()
    camera = GstCamera(footage)
    cameras = [camera]
    stream = RecordedStream("door.main", lambda: with_reader(Endpoint(cameras[-1].url)))
    thread = CameraThread(stream, sink, clock, stop)
    thread.start(running_hub())
    try:
        wait_until(lambda: len(sink.gops) >= 2)
        camera.signal(signal.SIGKILL)
        wait_until(lambda: thread.status.state == "down")
        cameras.append(GstCamera(footage))
        before = len(sink.gops)
        wait_until(lambda: len(sink.gops) >= before + 2)
    finally:
        stop.set()
        assert thread.join(15)
        for each in cameras:
            each.close()
    assert_tiled(sink)
    assert {gap.reason for gap in sink.gaps} <= {
        "connecting",
        "ended",
        "unreachable",
        "no-answer",
        "recorder-stopped",
        "stalled",
    }


STOPS: dict[str, tuple[int, Callable[[MemorySink], bool]]] = {
    "a stall that drains as a burst": (3, lambda sink: len(sink.runs) == 1),
    "a stall for too long": (8, lambda sink: "stalled" in {gap.reason for gap in sink.gaps}),
}


@pytest.mark.parametrize(("seconds", "holds"), STOPS.values(), ids=STOPS.keys())
def test_stopped_server_goes_on(footage: Path, seconds: int, holds: Callable[[MemorySink], bool]) -> None:
    """SIGSTOP and SIGCONT: a short stall keeps the run, a long one is told as stalled, and recording goes on."""
    clock = SystemClock()
    with (
        gst_camera(footage) as camera,
        Recording(Endpoint(camera.url), watchdog_ns=5 * SECOND_NS) as recording,
    ):
        recording.wait_for_gops(3)
        camera.signal(signal.SIGSTOP)
        stopped = clock.boot()
        wait_until(lambda: clock.boot() - stopped > seconds * SECOND_NS)
        camera.signal(signal.SIGCONT)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 3, limit_s=40)
    assert holds(recording.sink)
    assert_tiled(recording.sink)

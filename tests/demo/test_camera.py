"""The simulated camera, as FFmpeg's RTSP client sees it."""

import itertools
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from edge_agent.capture.rtsp.session import open_own_session
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.picture import read_strip
from edge_agent.demo.rtsp_login import Account
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from edge_agent.units import SECOND_NS

pytestmark = pytest.mark.peer

CASES = {
    "h264 over tcp": (LiveSettings(), "tcp", 1),
    "h264 and aac over udp": (LiveSettings(audio="aac"), "udp", 2),
    "h265 with B-frames and G.711": (LiveSettings("hevc", bframes=2, audio="pcm_alaw"), "tcp", 2),
    "mjpeg and opus": (LiveSettings("mjpeg", audio="opus"), "tcp", 2),
}


def open_stream(url: str, transport: str = "tcp", **options: str) -> av.container.InputContainer:
    return av.open(url, options={"rtsp_transport": transport, "analyzeduration": "500000", **options}, timeout=(8, 4))


@pytest.mark.parametrize(("live", "transport", "tracks"), CASES.values(), ids=CASES.keys())
def test_pictures_carry_the_time_they_were_taken(live: LiveSettings, transport: str, tracks: int) -> None:
    """Decoded pictures follow each other in the camera's step, and the last is not older than the stream took."""
    with SimulatedCamera(CameraSettings(live=live)) as camera, open_stream(camera.url, transport) as stream:
        assert len(stream.streams) == tracks
        times = []
        for packet in stream.demux(video=0):
            times += [read_strip(picture.to_ndarray(format="gray")) for picture in packet.decode()]
            if len(times) >= 12:
                break
        step_ns = SECOND_NS // live.fps
        assert [round((b - a) / step_ns) for a, b in itertools.pairwise(times)] == [1] * (len(times) - 1)
        assert 0 <= time.time_ns() - times[-1] < 20 * SECOND_NS


def test_digest_admits_the_right_password_only() -> None:
    """A password with every awkward character passes when escaped; a wrong one does not."""
    account = Account("owner", "p@ss:w/rd?#%")
    with SimulatedCamera(CameraSettings(account=account)) as camera:
        good = camera.url.replace("://", "://owner:p%40ss%3Aw%2Frd%3F%23%25@")
        with open_stream(good) as stream:
            assert next(stream.demux(video=0)).size
        with pytest.raises(av.error.HTTPUnauthorizedError):
            open_stream(camera.url.replace("://", "://owner:wrong@"))


def test_several_clients_watch_at_once() -> None:
    """Each client gets a stream of its own that starts with a keyframe."""
    with SimulatedCamera() as camera, open_stream(camera.url) as first, open_stream(camera.url, "udp") as second:
        assert next(first.demux(video=0)).is_keyframe
        assert next(second.demux(video=0)).is_keyframe


def test_session_is_over_for_a_camera_whose_answer_to_teardown_reaches_nobody() -> None:
    """FFmpeg closes at once, with pictures unread: the kernel answers the camera with a reset."""
    with SimulatedCamera(CameraSettings(live=LiveSettings(gop=8))) as camera:
        camera.fault("stale-session")
        for _ in range(5):
            clock = SystemClock()
            session = open_own_session(Endpoint(camera.url), clock, PacketLoss(clock))
            connection = session._connection
            connection.post("TEARDOWN", camera.url)
            connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection._socket.close()
            deadline = time.monotonic() + 10
            while camera.has_players():
                assert time.monotonic() < deadline
                time.sleep(0.01)


def make_loop(path: Path) -> None:
    """Remux twenty pictures of a live camera into an MP4."""
    camera = SimulatedCamera(CameraSettings(live=LiveSettings(fps=25, gop=10)))
    with camera, open_stream(camera.url) as live, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(live.streams.video[0], opaque=True)
        for number, packet in zip(range(20), live.demux(video=0), strict=False):
            packet.pts = packet.dts = number * 3600
            packet.duration, packet.stream = 3600, stream
            file.mux(packet)


def test_loop_goes_on_across_the_end_of_the_file(tmp_path: Path) -> None:
    """A file shorter than the watch is played with PTS that never stop rising in its step."""
    path = tmp_path / "loop.mp4"
    make_loop(path)
    with SimulatedCamera(CameraSettings(loop=path)) as camera, open_stream(camera.url) as looped:
        pts = [packet.pts for packet, _ in zip(looped.demux(video=0), range(50), strict=False)][1:]
    assert {b - a for a, b in itertools.pairwise(pts)} == {3600}


def test_program_prints_its_port_and_ends_on_sigterm() -> None:
    """The program says in one line of JSON where it listens, and ends cleanly."""
    command = [sys.executable, "-m", "edge_agent.demo.camera", "--path", "/front", "--user", "u", "--password", "p"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            ready = json.loads(program.stdout.readline())
            with open_stream(ready["url"].replace("://", "://u:p@")) as stream:
                assert next(stream.demux(video=0)).is_keyframe
        finally:
            program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0

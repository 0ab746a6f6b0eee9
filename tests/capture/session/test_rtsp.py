"""Opening a session: logins of any kind, and cameras that send us elsewhere."""

import socket
import string
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.opening import open_session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from edge_agent.host.clock import SystemClock

pytestmark = pytest.mark.peer


def open_once(endpoint: Endpoint) -> None:
    clock = SystemClock()
    open_session(endpoint, clock, PacketLoss(clock)).close()


CLAIMED_FPS, SLOW_FPS = 25, 5


def encode_slow(path: Path, codec: str) -> None:
    """Write a film of 5 pictures a second, with B-frames, whose parameter sets claim 25 as those of many cameras do."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=CLAIMED_FPS)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.gop_size, stream.codec_context.max_b_frames = 4, 2
        order = "bframes=2:b-adapt=0:scenecut=0:force-cfr=1"
        stream.options = {"profile": "main", f"{codec.removeprefix('lib')}-params": order}
        pictures = [av.VideoFrame.from_ndarray(np.full((270, 320), 3 * i, np.uint8), "yuv420p") for i in range(60)]
        for number, picture in enumerate(pictures):
            picture.pts, picture.time_base = number, Fraction(1, CLAIMED_FPS)
        for packet in [*(p for picture in pictures for p in stream.encode(picture)), *stream.encode()]:
            assert packet.pts is not None
            assert packet.dts is not None
            packet.pts, packet.dts = packet.pts * CLAIMED_FPS // SLOW_FPS, packet.dts * CLAIMED_FPS // SLOW_FPS
            film.mux(packet)


SLOW = {"h264": ("libx264", "tcp"), "h264 over udp": ("libx264", "udp"), "h265": ("libx265", "tcp")}


@pytest.mark.parametrize(("codec", "transport"), SLOW.values(), ids=SLOW.keys())
def test_camera_of_few_pictures_is_opened_soon(tmp_path: Path, codec: str, transport: str) -> None:
    """Opening takes less than 15 pictures beside the start of a process, and tells size and order of the pictures."""
    clock = SystemClock()
    encode_slow(tmp_path / "slow.mp4", codec)
    began = time.monotonic()
    with pytest.raises(CaptureError, match="ECONNREFUSED"):
        open_once(Endpoint("rtsp://127.0.0.1:1/cam"))
    start_s = time.monotonic() - began
    with SimulatedCamera(CameraSettings(loop=tmp_path / "slow.mp4")) as camera:
        began = time.monotonic()
        session = open_session(Endpoint(camera.url, transport=transport), clock, PacketLoss(clock))
        took = time.monotonic() - began
        session.close()
    assert took < start_s + 15 / SLOW_FPS
    assert session.reorders
    assert (session.tracks[0].width, session.tracks[0].height) == (320, 180)


LOGINS = {
    "every character of ASCII": ("owner", string.punctuation + " "),
    "umlauts and a smile": ("Besitzerin-ä", "pässwörd€😀"),
    "what looks encoded": ("owner", "100%41%"),
    "a user name like an address": ("owner@home/1?#", "x"),
    "the longest": ("owner", "!" * 121),
}


@pytest.mark.parametrize("basic", [False, True], ids=["digest", "basic"])
@pytest.mark.parametrize(("username", "password"), LOGINS.values(), ids=LOGINS.keys())
def test_login_of_any_characters_is_taken(username: str, password: str, basic: bool) -> None:
    """Whatever a login holds, the camera gets just that."""
    with SimulatedCamera(CameraSettings(account=Account(username, password, basic))) as camera:
        open_once(Endpoint(camera.url, username, password))


UNUSABLE = {"too long": ("owner", "!" * 122), "a colon in the name": ("own:er", "x")}


@pytest.mark.parametrize(("username", "password"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_login_that_cannot_be_sent_is_told(username: str, password: str) -> None:
    """A login that FFmpeg would garble is not sent, and not told as a wrong one: that may lock the user."""
    with SimulatedCamera(CameraSettings(account=Account(username, password))) as camera:
        with pytest.raises(CaptureError) as raised:
            open_once(Endpoint(camera.url, username, password))
        assert camera.requests == 0
    assert raised.value.reason == "login-unusable"
    assert password not in str(raised.value)


@contextmanager
def redirecting(location: str) -> Iterator[str]:
    """Be a camera that answers DESCRIBE with another address."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as requests:
            method = b""
            for line in requests:
                method = method or line.split(b" ")[0]
                if line.lower().startswith(b"cseq"):
                    number = line
                if line == b"\r\n":
                    head = b"RTSP/1.0 200 OK\r\n"
                    if method == b"DESCRIBE":
                        head = f"RTSP/1.0 302 Found\r\nLocation: {location}\r\n".encode()
                    connection.sendall(head + number + b"\r\n")
                    method = b""

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"
        thread.join(10)


def test_footage_from_another_host_is_refused() -> None:
    """A camera that redirects to a host that streams is not recorded from there, and the host is told."""
    with (
        SimulatedCamera() as other,
        redirecting(other.url.replace("127.0.0.1", "localhost")) as url,
        pytest.raises(CaptureError) as raised,
    ):
        open_once(Endpoint(url))
    assert (raised.value.reason, raised.value.detail) == ("redirected", "to localhost")


def test_redirect_that_leads_nowhere_is_told_as_one() -> None:
    """Not as a camera that is not there, which would have somebody look for a broken cable."""
    with redirecting("rtsp://user:secret-word@localhost:9/x") as url, pytest.raises(CaptureError) as raised:
        open_once(Endpoint(url))
    assert raised.value.reason == "redirected"
    assert "secret-word" not in str(raised.value)


def test_redirect_on_the_same_host_is_followed() -> None:
    """Another path or port of the camera itself is its own affair."""
    with SimulatedCamera() as camera, redirecting(camera.url) as url:
        open_once(Endpoint(url))

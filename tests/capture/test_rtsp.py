"""Opening a session: logins of any kind, and cameras that send us elsewhere."""

import socket
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_agent.capture.loss import PacketLoss
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp import Endpoint, open_session
from edge_agent.clock import SystemClock
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account

pytestmark = pytest.mark.peer


def open_once(endpoint: Endpoint) -> None:
    clock = SystemClock()
    open_session(endpoint, clock, PacketLoss(clock)).close()


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

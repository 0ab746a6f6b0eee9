"""ONVIF by the child process, against a camera that checks tokens, has a wrong clock and speaks of foreign hosts."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.capture.onvif.profiles import Profile
from edge_agent.capture.onvif.query import (
    ASK_EVERY_S,
    OnvifDevice,
    OnvifStream,
    StreamFinder,
    describe_device,
    find_stream,
)
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.interface import Endpoint
from tests.peers.onvif_camera import CAPTURED, FOREIGN, Encoder, OnvifCamera, OnvifSettings

pytestmark = pytest.mark.peer

_GUARD = """
import os, sys

def guard(event, args):
    if event in ("socket.connect", "socket.sendto"):
        host = str(args[1][0]) if isinstance(args[1], tuple) else "unix"
    elif event == "socket.getaddrinfo":
        host = str(args[0])
    else:
        return
    if not host.startswith(("127.", "unix")) and host not in ("::1", "localhost", "None"):
        with open(os.environ["DIALLED"], "a") as file:
            file.write(host + chr(10))
        raise OSError("not dialled in a test: " + host)

sys.addaudithook(guard)
"""


@pytest.fixture(autouse=True)
def only_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Note, and refuse, every host but loopback that a child process dials or looks up."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(_GUARD)
    dialled = tmp_path / "dialled"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "guard"), os.getcwd()]))
    monkeypatch.setenv("DIALLED", str(dialled))
    yield dialled
    assert not dialled.exists(), dialled.read_text()


def test_guard_sees_what_a_child_dials(only_loopback: Path) -> None:
    """The tests below prove something: a foreign address that a child dials is noted."""
    code = f"import socket; socket.create_connection(('{FOREIGN}', 80), 1)"
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 1
    assert FOREIGN in only_loopback.read_text()
    only_loopback.unlink()


def device_of(camera: OnvifCamera, password: str | None = None) -> OnvifDevice:
    settings = camera.settings
    return OnvifDevice(camera.address, settings.username, settings.password if password is None else password)


CAMERAS = {
    "a digest token": OnvifSettings(),
    "a clock half a year ahead": OnvifSettings(clock_ahead_s=182 * 86400),
    "a clock twenty years behind": OnvifSettings(clock_ahead_s=-20 * 365 * 86400),
    "a text token only": OnvifSettings(takes="text"),
    "HTTP digest only": OnvifSettings(takes="http-digest"),
    "no login": OnvifSettings(takes="nothing"),
    "Media2": OnvifSettings(media2=True),
    "Media2 with a text token": OnvifSettings(media2=True, takes="text"),
    "Media2 that fails": OnvifSettings(media2_fails=True),
    "no GetServices": OnvifSettings(services_known=False),
    "a clock that it does not tell": OnvifSettings(clock_hidden=True),
}


TWICE = {
    "of its services": OnvifSettings(services_at="http://127.0.0.1:{port}:{port}", stream="rtsp://127.0.0.1:554/P"),
    "of its stream": OnvifSettings(stream="rtsp://127.0.0.1:554:554/P"),
}


@pytest.mark.parametrize("settings", TWICE.values(), ids=TWICE.keys())
def test_port_that_stands_twice_is_one(settings: OnvifSettings) -> None:
    """``http://HOST:80:80/`` leads to port 80, and ``rtsp://HOST:554:554/`` to 554."""
    with OnvifCamera(settings) as camera:
        settings.services_at = settings.services_at.replace("{port}", str(camera.port))
        assert find_stream(device_of(camera), "main", "tcp").url == "rtsp://127.0.0.1:554/P"


@pytest.mark.parametrize("settings", CAMERAS.values(), ids=CAMERAS.keys())
def test_stream_is_found(settings: OnvifSettings) -> None:
    """Each kind of camera gives its stream, on the configured host and the stream's own port."""
    settings.stream = f"rtsp://user:secret@{FOREIGN}:8554/{{token}}?x=1"
    with OnvifCamera(settings) as camera:
        found = find_stream(device_of(camera), "main", "tcp")
    assert found.url == "rtsp://127.0.0.1:8554/P0?x=1"
    assert found.profile == Profile("P0", "P0", "h264", 1920, 1080, 25)
    assert found.why == "largest of 2"
    if not settings.clock_hidden:
        assert abs((found.clock_offset_s or 0) - settings.clock_ahead_s) <= 2
    assert camera.asked[0] == ("GetSystemDateAndTime", "none")


def test_h265_is_seen_by_media2() -> None:
    """Where Media2 is there, H.265 is named as what it is, and a substream by its own encoder."""
    encoders = (Encoder("A", "H265", 3840, 2160, 20), Encoder("B", "H264", 704, 576, 10))
    with OnvifCamera(OnvifSettings(media2=True, encoders=encoders)) as camera:
        told = describe_device(device_of(camera))
        sub = find_stream(device_of(camera), "sub", "udp")
    assert [(p.token, p.codec, p.width) for p in told.profiles] == [("A", "hevc", 3840), ("B", "h264", 704)]
    assert (told.maker, told.model, told.token) == ("Maker", "DomeX", "digest")
    assert sub.profile.token == "B"


def test_password_goes_as_text_only_after_the_digest_was_refused() -> None:
    """A camera that takes the digest never sees the password."""
    with OnvifCamera() as camera:
        find_stream(device_of(camera), "main", "tcp")
    assert {kind for operation, kind in camera.asked if operation != "GetSystemDateAndTime"} == {"digest"}
    assert camera.refusals == []


BAD = {
    "wrong password": (OnvifSettings(password="other"), "unauthorized", "user"),
    "no RTSP": (OnvifSettings(stream="http://127.0.0.1/x.cgi"), "onvif-failed", "no rtsp URL, but http"),
    "no address": (OnvifSettings(stream="rtsp://[zz"), "onvif-failed", "is none"),
    "a redirect": (OnvifSettings(redirect=f"http://{FOREIGN}/onvif"), "onvif-failed", "redirects"),
    "a redirect by name": (OnvifSettings(redirect="http://camera.invalid/"), "onvif-failed", "redirects"),
    "a web page": (OnvifSettings(garbage="<html><body>hello<br></body></html>"), "onvif-failed", "ONVIF"),
    "nothing": (OnvifSettings(garbage=" "), "onvif-failed", "ONVIF"),
    "an entity bomb": (
        OnvifSettings(garbage='<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]><s:Envelope xmlns:s="x">&a;</s:Envelope>'),
        "onvif-failed",
        "ONVIF",
    ),
    "a URL without end": (OnvifSettings(stream="rtsp://127.0.0.1/" + 3000 * "x"), "onvif-failed", "longer than 2048"),
    "profiles without end": (
        OnvifSettings(encoders=tuple(Encoder(1000 * "\x85t", "MPEG4") for _ in range(100))),
        "onvif-failed",
        "none of its profiles",
    ),
    "no profiles": (OnvifSettings(encoders=()), "onvif-failed", "none with video"),
    "an unknown codec": (OnvifSettings(encoders=(Encoder("P", "MPEG4"),)), "onvif-failed", "mpeg4"),
    "no end": (OnvifSettings(garbage="<a>" * (1 << 20)), "onvif-failed", "more than 1 MiB"),
    "no answer": (OnvifSettings(hangs=True), "no-answer", "does not answer"),
}


@pytest.mark.parametrize(("settings", "reason", "words"), BAD.values(), ids=BAD.keys())
def test_bad_answers_have_reasons(settings: OnvifSettings, reason: str, words: str) -> None:
    """What a camera answers wrongly ends in a reason and words, never in silence and never with the password."""
    with OnvifCamera(settings) as camera, pytest.raises(CaptureError, match=words) as raised:
        find_stream(device_of(camera, "sec-ret" if settings.password == "other" else None), "main", "tcp")
    assert raised.value.reason == reason
    assert "sec-ret" not in str(raised.value)
    assert len(raised.value.detail) <= 400
    assert raised.value.detail.isprintable()


def test_nobody_there() -> None:
    """A camera that is off is told as unreachable, without a child process."""
    with OnvifCamera() as camera:
        address = camera.address
    with pytest.raises(CaptureError, match="no connection"):
        find_stream(OnvifDevice(address), "main", "tcp")


def test_a_question_ends_when_the_recorder_stops() -> None:
    """A camera that does not answer does not hold up the recorder's end."""
    stop = threading.Event()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    with OnvifCamera(OnvifSettings(hangs=True)) as camera, pytest.raises(CaptureError):
        find_stream(device_of(camera), "main", "tcp", stop)
    assert stop.is_set()
    timer.join()


@pytest.mark.skipif(not CAPTURED.is_dir(), reason="the captured answers of npm's onvif are not installed")
def test_captured_answers_of_a_real_camera() -> None:
    """Answers captured from a real camera, full of its old address, give a stream on the configured host."""
    with OnvifCamera(OnvifSettings(captured=CAPTURED, clock_ahead_s=5000)) as camera:
        found = find_stream(device_of(camera), "main", "tcp")
        told = describe_device(device_of(camera))
    assert found.url == "rtsp://127.0.0.1/h264main"
    assert [str(profile) for profile in told.profiles] == ["main: h264 1920x1080 5 fps"]
    assert told.model == "Mockup Model"


def test_login_is_not_on_the_command_line(tmp_path: Path) -> None:
    """The child is told its question on standard input."""
    with OnvifCamera(OnvifSettings(hangs=True)) as camera:
        request = {"ask": "describe", "address": camera.address, "username": "owner", "password": "hidden-word"}
        with subprocess.Popen(
            [sys.executable, "-m", "edge_agent.capture.onvif.query_child"], stdin=subprocess.PIPE, text=True
        ) as child:
            assert child.stdin is not None
            child.stdin.write(json.dumps(request))
            child.stdin.flush()
            assert b"hidden-word" not in Path(f"/proc/{child.pid}/cmdline").read_bytes()
            assert b"hidden-word" not in Path(f"/proc/{child.pid}/environ").read_bytes()
            child.kill()


def test_recorder_loads_no_soap() -> None:
    """zeep and its parser are in the children alone."""
    code = "import edge_agent.recorder, sys; print({'zeep', 'onvif', 'wsdiscovery', 'paho', 'lxml'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


class Finder:
    """Counts the questions; answers or fails as told."""

    def __init__(self) -> None:
        self.asked, self.works, self.footage = 0, True, 0
        self.now_s = 1000.0
        self.finder = StreamFinder(
            "door.main", self.find, lambda: self.footage, lambda _: None, now_s=lambda: self.now_s
        )

    def find(self) -> OnvifStream:
        self.asked += 1
        if not self.works:
            raise CaptureError("onvif-failed")
        return OnvifStream(f"rtsp://127.0.0.1/{self.asked}", Profile("P"), "", 0)


def test_url_is_kept_while_it_works_and_asked_anew_when_not() -> None:
    """After a session with footage the URL is used again; after one without, the camera is asked."""
    cases = Finder()
    assert cases.finder.url().endswith("/1")
    cases.footage += 1
    assert cases.finder.url().endswith("/1")
    cases.now_s += ASK_EVERY_S
    assert cases.finder.url().endswith("/2")
    cases.works = False
    cases.now_s += ASK_EVERY_S
    assert cases.finder.url().endswith("/2")
    assert cases.asked == 3


def test_camera_that_is_tried_every_second_is_asked_seldom() -> None:
    """Attempts without footage ask the camera for its stream every ten seconds, and use what it told in between."""
    cases = Finder()
    for _ in range(60):
        cases.finder.url()
        cases.now_s += 1
    assert cases.asked == 6


def test_never_told_is_an_error() -> None:
    """A camera that never told its stream is down, with the reason."""
    cases = Finder()
    cases.works = False
    with pytest.raises(CaptureError):
        cases.finder.url()


ADDRESSES = {
    "rtsp://h:554/cam?user=a&password=b": "rtsp://h:554/cam",
    "rtsp://a:b@h/cam": "rtsp://h/cam",
    "rtsp://h:554/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?real_stream": "rtsp://h:554/",
    "rtsp://h/x/Password=1/y": "rtsp://h/x/",
}


@pytest.mark.parametrize(("url", "public"), ADDRESSES.items())
def test_records_and_logs_hold_no_login(url: str, public: str) -> None:
    """Wherever a camera puts the login into its URL, the address that is written down has none."""
    assert Endpoint(url).public_url == public

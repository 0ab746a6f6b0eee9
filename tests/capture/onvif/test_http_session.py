"""ONVIF over HTTPS: verified by an authority or a pin on every connection, and never anything else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edge_agent.capture.event_listener import EventListener
from edge_agent.capture.onvif.http_session import Border, DeviceError, OnvifTls
from edge_agent.capture.onvif.query import OnvifDevice, describe_device, find_stream
from edge_agent.capture.reasons import CaptureError
from edge_agent.demo.tls_front import TlsFront
from tests.capture.conftest import wait_until
from tests.capture.onvif.test_query import only_loopback  # noqa: F401
from tests.capture.test_camera_tls import make_certificate
from tests.peers.onvif_camera import CAPTURED, FOREIGN, OnvifCamera, OnvifSettings

pytestmark = pytest.mark.peer


@contextmanager
def behind_tls(camera: OnvifCamera, certificate: Path) -> Iterator[str]:
    """Put TLS before a camera; yields its address."""
    stop = threading.Event()
    front = TlsFront(certificate, camera.port)
    port = front.bind(0)
    thread = threading.Thread(target=front.serve, args=(stop,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join(15)


def device_of(camera: OnvifCamera, address: str, **tls: str) -> OnvifDevice:
    return OnvifDevice(address, camera.settings.username, camera.settings.password, **tls)


GOOD: dict[str, tuple[dict[str, Any], str]] = {
    "an authority": ({"address": "127.0.0.1"}, "ca_file"),
    "a pin": ({"address": "127.0.0.1"}, "pin"),
    "a pin of another name": ({"address": None}, "pin"),
    "a pin that has expired": ({"address": None, "until": -1}, "pin"),
    "a pin of an authority that nobody knows": ({"address": None, "issuer": "Maker"}, "pin"),
    "a file with the certificate itself": ({"address": "127.0.0.1", "issuer": "Maker"}, "ca_file"),
}


@pytest.mark.parametrize(("made", "by"), GOOD.values(), ids=GOOD.keys())
@pytest.mark.parametrize("media2", [False, True], ids=["Media1", "Media2"])
def test_stream_is_found_over_https(tmp_path: Path, made: dict[str, Any], by: str, media2: bool) -> None:
    """A camera whose certificate fits is asked over HTTPS alone, though it says that its services speak HTTP."""
    path, pin = make_certificate(tmp_path, "camera", **made)
    with OnvifCamera(OnvifSettings(media2=media2)) as camera, behind_tls(camera, path) as address:
        camera.settings.services_at = f"http://127.0.0.1:{camera.port}"
        found = find_stream(device_of(camera, address, **{by: pin if by == "pin" else str(path)}), "main", "tcp")
    assert found.url == "rtsp://127.0.0.1:8554/cam"
    assert camera.hosts == {address.removeprefix("https://")}


BAD: dict[str, tuple[dict[str, Any], dict[str, str], str, str]] = {
    "unknown authority": ({"address": "127.0.0.1"}, {"ca_file": "other"}, "tls-untrusted", "it shows sha256:"),
    "not of this machine's authorities": ({"address": "127.0.0.1"}, {}, "tls-untrusted", "it shows sha256:"),
    "for another host": ({"address": "127.0.0.9"}, {"ca_file": "camera"}, "tls-wrong-name", "127.0.0.9"),
    "expired": ({"address": "127.0.0.1", "until": -1}, {"ca_file": "camera"}, "tls-expired", "until 20"),
    "of the future": ({"address": "127.0.0.1", "since": 1}, {"ca_file": "camera"}, "tls-not-yet-valid", "from 20"),
    "another than the pinned one": ({"address": "127.0.0.1"}, {"pin": "other"}, "tls-wrong-pin", "it shows sha256:"),
    "a file that is not there": ({"address": "127.0.0.1"}, {"ca_file": "missing"}, "tls-untrusted", "ca_file"),
}


@pytest.mark.parametrize(("made", "by", "reason", "detail"), BAD.values(), ids=BAD.keys())
def test_refused_certificate_ends_it(
    tmp_path: Path, made: dict[str, Any], by: dict[str, str], reason: str, detail: str
) -> None:
    """With a certificate that does not fit nothing is asked, and the reason is told as for ``rtsps``."""
    path, _ = make_certificate(tmp_path, "camera", **made)
    _, other_pin = make_certificate(tmp_path, "other", "127.0.0.1")
    tls = {how: other_pin if how == "pin" else str(tmp_path / f"{name}.pem") for how, name in by.items()}
    with OnvifCamera() as camera, behind_tls(camera, path) as address, pytest.raises(CaptureError) as raised:
        find_stream(device_of(camera, address, **tls), "main", "tcp")
    assert (raised.value.reason, detail in raised.value.detail) == (reason, True)
    assert camera.asked == []


def test_camera_without_tls_is_not_asked_by_http(tmp_path: Path) -> None:
    """A camera that speaks plain HTTP where HTTPS is configured: nothing is asked of it."""
    path, _ = make_certificate(tmp_path, "camera", "127.0.0.1")
    with OnvifCamera() as camera, pytest.raises(CaptureError) as raised:
        find_stream(device_of(camera, f"https://{camera.address}", ca_file=str(path)), "main", "tcp")
    assert raised.value.reason == "tls-failed"
    assert camera.asked == []


def test_redirect_to_http_is_not_followed(tmp_path: Path) -> None:
    """A camera that sends us from HTTPS to its own HTTP is not followed."""
    path, pin = make_certificate(tmp_path, "camera", None)
    with OnvifCamera() as camera, behind_tls(camera, path) as address:
        camera.settings.redirect = f"http://{camera.address}/onvif/device_service"
        with pytest.raises(CaptureError, match="redirects"):
            find_stream(device_of(camera, address, pin=pin), "main", "tcp")
    assert camera.hosts == {address.removeprefix("https://")}


def test_session_lets_no_other_scheme_or_host_out() -> None:
    """Whatever asks for it, a session for HTTPS sends nothing by HTTP, and nothing to another host."""
    session = Border(urlsplit("https://127.0.0.1/onvif"), OnvifTls(pin="sha256:" + 64 * "0")).session
    for url in ("http://127.0.0.1:9/onvif", f"https://{FOREIGN}/onvif"):
        with pytest.raises(DeviceError, match="not dialled"):
            session.get(url, timeout=1)


@pytest.mark.skipif(not CAPTURED.is_dir(), reason="the captured answers of npm's onvif are not installed")
def test_captured_answers_over_https(tmp_path: Path) -> None:
    """Answers captured from a real camera, full of foreign addresses by HTTP, give a stream over one HTTPS address."""
    path, pin = make_certificate(tmp_path, "camera", None)
    with OnvifCamera(OnvifSettings(captured=CAPTURED)) as camera, behind_tls(camera, path) as address:
        found = find_stream(device_of(camera, address, pin=pin), "main", "tcp")
        told = describe_device(device_of(camera, address, pin=pin))
    assert found.url == "rtsp://127.0.0.1/h264main"
    assert told.model == "Mockup Model"
    assert FOREIGN not in found.url


def test_events_come_over_https(tmp_path: Path) -> None:
    """The pull point is asked over HTTPS as well, and a certificate that does not fit is told as why no events come."""
    path, pin = make_certificate(tmp_path, "camera", None)
    told: list[str] = []
    fired = threading.Event()
    with OnvifCamera() as camera, behind_tls(camera, path) as address:
        for shown in ("sha256:" + 64 * "0", pin):
            settings = device_of(camera, address, pin=shown).request(topics=["Motion"])
            listener = EventListener("edge_agent.capture.onvif.events_child", settings, [fired.set], told.append)
            listener.start()
            try:
                if shown != pin:
                    wait_until(lambda: bool(told))
                    assert "another certificate than the pinned one" in told[-1]
                    assert camera.asked == []
                    continue
                wait_until(lambda: bool(camera.pull_points))
                camera.tell("true")
                wait_until(fired.is_set)
            finally:
                listener.close()
    assert camera.hosts == {address.removeprefix("https://")}

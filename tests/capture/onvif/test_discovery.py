"""WS-Discovery against a publishing device on loopback, and the command that prints what was found."""

import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from wsdiscovery import QName, Scope
from wsdiscovery.publishing import ThreadedWSPublishing

from edge_agent.capture.onvif.discovery import discover, list_interfaces
from edge_agent.capture.onvif.discovery_child import read_matches
from edge_agent.capture.onvif.query import OnvifDevice
from edge_agent.settings.gateway import parse_config
from tests.capture.onvif.test_http_session import behind_tls
from tests.capture.test_camera_tls import make_certificate
from tests.peers.onvif_camera import FOREIGN, OnvifCamera, OnvifSettings

pytestmark = pytest.mark.peer

LOOPBACK = ipaddress.IPv4Interface("127.0.0.1/8")
SCOPES = ["onvif://www.onvif.org/name/Front%20Door", "onvif://www.onvif.org/hardware/DC-7", "onvif://www.onvif.org/x"]
VIDEO = QName("http://www.onvif.org/ver10/network/wsdl", "NetworkVideoTransmitter")


@contextmanager
def published(*urls: str, kind: QName = VIDEO) -> Iterator[None]:
    """Answer probes on loopback alone."""
    publisher = ThreadedWSPublishing(ttl=0)
    publisher._networkAddressAdded = lambda _address: None  # the package has no other way to name the interfaces
    publisher.start()
    # Its IPv6 half answers to IPv4 addresses, and dies of it.
    six, publisher._networkingThread_v6 = publisher._networkingThread_v6, None
    if six is not None:
        for thread in (six, publisher._addrsMonitorThread_v6):
            thread.schedule_stop()
            thread.join()
    try:
        publisher.addSourceAddr(LOOPBACK.ip)
        publisher.publishService(types=[kind], scopes=[Scope(scope) for scope in SCOPES], xAddrs=list(urls))
        yield
    finally:
        publisher.stop()


def test_camera_is_found_and_gets_no_login() -> None:
    """A camera is found by name, model and address, and is asked without a login only."""
    with OnvifCamera() as camera, published(f"http://127.0.0.1:{camera.port}/onvif/device_service"):
        (found,) = discover(LOOPBACK, wait_s=2)
    assert (found.name, found.model, found.address) == ("Front Door", "DC-7", camera.address)
    assert (found.problem, found.was_tried) == ("unauthorized", False)
    assert {kind for _, kind in camera.asked} == {"none"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}:{port}/onvif/device_service", "http://[zz/"])
def test_address_that_is_none_does_not_hide_a_camera(url: str) -> None:
    """A camera that writes its port twice is found there; one whose address is none, at the usual port."""
    with OnvifCamera() as camera, published(url.replace("{port}", str(camera.port))):
        (found,) = discover(LOOPBACK, wait_s=2)
    assert found.address == (camera.address if "{port}" in url else "127.0.0.1")


def test_named_camera_is_asked_with_the_login() -> None:
    """The address that the installer named gets the login; the other one, which was found, does not."""
    login = ("owner", OnvifSettings().password)
    with (
        OnvifCamera() as mine,
        OnvifCamera() as other,
        published(f"http://127.0.0.1:{other.port}/onvif/device_service"),
    ):
        found = {camera.address: camera for camera in discover(LOOPBACK, [OnvifDevice(mine.address, *login)], wait_s=2)}
    assert found[mine.address].model == "Maker DomeX"
    assert [p.token for p in found[mine.address].description.profiles] == ["P0", "P1"]
    assert found[other.address].description is None
    assert {kind for _, kind in other.asked} == {"none"}


def test_device_speaks_for_its_own_address_only() -> None:
    """Whatever address a device announces, the one that it sends from is taken."""
    with OnvifCamera() as camera, published(f"http://{FOREIGN}:{camera.port}/onvif/device_service"):
        (found,) = discover(LOOPBACK, wait_s=2)
    assert found.address == camera.address


def test_camera_that_speaks_https_alone_is_found(tmp_path: Path) -> None:
    """Its address begins with https, its certificate's pin is told to be compared, and it gets no login."""
    path, pin = make_certificate(tmp_path, "camera", None)
    with (
        OnvifCamera(OnvifSettings(takes="nothing")) as camera,
        behind_tls(camera, path) as address,
        published(f"{address}/onvif/device_service"),
    ):
        (found,) = discover(LOOPBACK, wait_s=2)
    assert (found.address, found.pin, found.was_tried) == (address, pin, False)
    assert found.model == "Maker DomeX"
    assert {kind for _, kind in camera.asked} == {"none"}


def test_other_devices_are_passed_over() -> None:
    """A printer that answers every probe is no camera."""
    with published("http://127.0.0.1:9/print", kind=QName("http://schemas.xmlsoap.org/ws/2006/02/devprof", "Printer")):
        assert discover(LOOPBACK, wait_s=1) == []


GARBAGE = {
    "nothing": b"",
    "text": b"hello",
    "no envelope": b"<a/>",
    "an entity": b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "not UTF-8": b"\xff\xfe<",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_passed_over(data: bytes) -> None:
    """What anybody may send to the socket ends nothing."""
    assert read_matches(data, "127.0.0.1") == []


def test_loopback_is_listed() -> None:
    """Interfaces have their address and network."""
    assert LOOPBACK in list_interfaces().values()


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    (tmp_path / "edge-agent.yaml").write_text("cameras:\n")
    secrets = tmp_path / "credentials.yaml"
    secrets.touch(0o600)
    secrets.write_text(json.dumps({"door": {"username": "owner", "password": OnvifSettings().password}}))
    return tmp_path / "edge-agent.yaml"


def run(config: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge_agent", "discover", "--config", str(config), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_command_prints_yaml_that_loads(configured: Path) -> None:
    """The lines below the table are a configuration that is understood as it is."""
    with OnvifCamera() as camera:
        done = run(configured, "--try", camera.address, "--credentials", "door")
        as_json = run(configured, "--try", camera.address, "--credentials", "door", "--json")
    assert done.returncode == 0
    assert "P0: h264 1920x1080 25 fps" in done.stdout
    assert "fits" in done.stdout
    text = done.stdout.partition("# for edge-agent.yaml:\n")[2]
    assert yaml.safe_load(text)["cameras"] == [{"id": "maker-domex", "onvif": camera.address, "credentials": "door"}]
    assert parse_config(text, "printed", configured.parent).cameras[0].onvif == camera.address
    (told,) = json.loads(as_json.stdout)
    assert [profile["width"] for profile in told["profiles"]] == [1920, 640]
    assert OnvifSettings().password not in done.stdout + done.stderr + as_json.stdout


def test_named_camera_over_https_gets_the_login_for_its_pin_alone(configured: Path, tmp_path: Path) -> None:
    """Without the pin the camera is sent nothing and its certificate's pin is printed; with the pin the login fits."""
    path, pin = make_certificate(tmp_path, "camera", None)
    with OnvifCamera() as camera, behind_tls(camera, path) as address:
        refused = run(configured, "--try", address, "--credentials", "door")
        assert camera.asked == []
        done = run(configured, "--try", address, "--credentials", "door", "--pin", pin)
    assert refused.returncode == 1
    assert "nobody that is trusted has signed" in refused.stdout
    for printed in (refused, done):
        text = printed.stdout.partition("# for edge-agent.yaml:\n")[2]
        entry = parse_config(text, "printed", configured.parent).cameras[0]
        assert (entry.onvif, entry.tls.pin) == (address, pin)
    assert "fits" in done.stdout


def test_wrong_login_is_told(configured: Path) -> None:
    """A login that does not fit is told as such."""
    with OnvifCamera(OnvifSettings(password="another")) as camera:
        done = run(configured, "--try", camera.address, "--credentials", "door")
    assert "does not fit" in done.stdout
    assert done.returncode == 1


USAGE = {
    "no such network": (("wlan-none",), "no such interface"),
    "a login for nobody": (("lo", "--credentials", "door"), "belong together"),
    "an address without a login": (("--try", "127.0.0.1"), "belong together"),
    "a pin without an address": (("lo", "--pin", "sha256:0"), "belongs to --try"),
    "a pin that is none": (("--try", "127.0.0.1", "--credentials", "door", "--pin", "0"), "64 hexadecimal"),
    "an address that is none": (("--try", "http://x/", "--credentials", "door"), "HOST or HOST:PORT"),
}


@pytest.mark.parametrize(("words", "message"), USAGE.values(), ids=USAGE.keys())
def test_usage_is_explained(configured: Path, words: tuple[str, ...], message: str) -> None:
    """What is asked for wrongly is said in words, with exit code 64."""
    done = run(configured, *words)
    assert message in done.stderr
    assert done.returncode == 64

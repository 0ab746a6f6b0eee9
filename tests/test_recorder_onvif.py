"""The recorder process with ONVIF cameras: the stream is asked for, recorded, asked for again; events open the gate."""

import json
from pathlib import Path

import pytest

from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from tests.capture.onvif.test_http_session import behind_tls
from tests.capture.test_camera_tls import make_certificate
from tests.peers.onvif_camera import FOREIGN, Encoder, OnvifCamera, OnvifSettings
from tests.test_recorder import Gateway, footage_of, is_recording

pytestmark = pytest.mark.peer

ENCODERS = (Encoder("big"), Encoder("small", width=320, height=180))


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def configure(gateway: Gateway, camera: OnvifCamera, more: str = "") -> None:
    gateway.add_login(camera.settings.username, camera.settings.password)
    gateway.config.write_text(
        f"gateway: {{state_dir: {gateway.state}, run_dir: {gateway.run_dir}}}\nclock: {{trust: wall-clock}}\n"
        "buffer: {size: 16MiB, block_size: 1MiB}\ncameras:\n"
        f'  - {{id: door, onvif: "{camera.address}", credentials: cam{more}}}\n'
    )


def foreign_url(camera: SimulatedCamera, path: str = "/cam") -> str:
    """Return the stream's URL as a camera behind NAT gives it."""
    return f"rtsp://{FOREIGN}:{camera.port}{path}"


def test_stream_is_asked_for_recorded_and_followed(gateway: Gateway) -> None:
    """The URL comes from the camera; when it stops working the camera is asked anew, and recorded at its new place."""
    settings = OnvifSettings(encoders=ENCODERS, clock_ahead_s=3600)
    account = Account(settings.username, settings.password)
    with SimulatedCamera(CameraSettings(account=account)) as first, OnvifCamera(settings) as onvif:
        settings.stream = foreign_url(first)
        configure(gateway, onvif)
        with gateway.recorder() as process, SimulatedCamera(CameraSettings(account=account)) as second:
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            told = gateway.status()["door.main"]
            settings.stream = foreign_url(second)
            first.fault("reboot")
            gateway.wait_for(lambda status: not is_recording(status, "door.main"))
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
            process.terminate()
            assert process.wait(10) == 0
            log = process.stderr.read()
        sources = {json.loads(r.plaintext)["source"] for r in gateway.read("door") if r.header.kind.name == "RUN"}
        assert sources == {f"rtsp://127.0.0.1:{camera.port}/cam" for camera in (first, second)}
    assert told["onvif_profile"] == "big: h264 1920x1080 25 fps"
    assert told["onvif_because"] == "largest of 2"
    assert abs(int(told["onvif_clock_offset_s"]) - 3600) <= 2
    assert settings.password not in log
    assert FOREIGN not in log
    assert footage_of(gateway.read("door"))


def test_event_of_the_camera_records_it(gateway: Gateway) -> None:
    """An ``onvif`` trigger: nothing is recorded until the camera tells of motion."""
    settings = OnvifSettings(encoders=ENCODERS)
    account = Account(settings.username, settings.password)
    with SimulatedCamera(CameraSettings(account=account)) as camera, OnvifCamera(settings) as onvif:
        settings.stream = foreign_url(camera)
        configure(gateway, onvif, ", record: on_event, triggers: [{kind: onvif, for: 10s}]")
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("door.main", {}).get("state") == "waiting")
            gateway.wait_for(lambda status: status["door.main"].get("events") == "listening")
            onvif.tell("true")
            # The recording may be over before the status is looked at again.
            gateway.wait_for(lambda status: "last_record_ns" in status["door.main"])
            gateway.wait_for(lambda status: status["door.main"]["state"] == "waiting")
    assert footage_of(gateway.read("door"))


def test_camera_is_asked_and_recorded_over_tls(gateway: Gateway, tmp_path: Path) -> None:
    """One pin for ONVIF over HTTPS and for the ``rtsps`` stream that it names; events come the same way."""
    path, pin = make_certificate(tmp_path, "IPCAM-7731", None)
    settings = OnvifSettings(encoders=ENCODERS)
    account = Account(settings.username, settings.password)
    with (
        SimulatedCamera(CameraSettings(account=account, certificate=path)) as camera,
        OnvifCamera(settings) as onvif,
        behind_tls(onvif, path) as address,
    ):
        settings.stream = foreign_url(camera).replace("rtsp://", "rtsps://")
        configure(gateway, onvif, f", tls: {{pin: '{pin}'}}, record: on_event, triggers: [{{kind: onvif, for: 60s}}]")
        gateway.config.write_text(gateway.config.read_text().replace(onvif.address, address))
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("door.main", {}).get("events") == "listening")
            onvif.tell("true")
            gateway.wait_for(lambda status: is_recording(status, "door.main"))
    assert onvif.hosts == {address.removeprefix("https://")}
    sources = {json.loads(r.plaintext)["source"] for r in gateway.read("door") if r.header.kind.name == "RUN"}
    assert sources == {f"rtsps://127.0.0.1:{camera.port}/cam"}


def test_refusal_is_told_in_the_status(gateway: Gateway) -> None:
    """A login that the ONVIF service refuses is told as such."""
    with OnvifCamera() as onvif:
        configure(gateway, onvif)
        onvif.settings.password = "another"
        with gateway.recorder():
            gateway.wait_for(lambda status: status.get("door.main", {}).get("reason") == "unauthorized")

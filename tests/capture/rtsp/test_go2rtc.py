"""Our own reader behind go2rtc, the bridge that most owners of one have; beside FFmpeg on the same bridge."""

from pathlib import Path

import pytest

from edge_agent.capture.rtsp.tape_recorder import record_tape
from edge_agent.capture.session.interface import Endpoint
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from tests.peers.go2rtc_server import bridge

from .test_differential import compare
from .test_tape import replay

pytestmark = [pytest.mark.city, pytest.mark.timeout(1200)]  # go2rtc may have to be built before

LIVE = {
    "h264": LiveSettings(gop=8),
    "h264 with B-frames": LiveSettings(gop=8, bframes=2),
    "h265": LiveSettings("hevc", gop=8),
}


@pytest.mark.parametrize("live", LIVE.values(), ids=LIVE.keys())
def test_bridge_is_read_alike(go2rtc: Path, tmp_path: Path, live: LiveSettings) -> None:
    """What go2rtc passes on is the same for both readers: bytes, keyframes, distances, size."""
    with SimulatedCamera(CameraSettings(live=live)) as camera, bridge(go2rtc, tmp_path, camera.url) as url:
        compare(url)


def test_tape_of_a_bridge_is_read(go2rtc: Path, tmp_path: Path) -> None:
    """A tape of it is whole, and is read as the bridge was."""
    with (
        SimulatedCamera(CameraSettings(live=LIVE["h264"])) as camera,
        bridge(go2rtc, tmp_path, camera.url) as url,
    ):
        tape = record_tape(Endpoint(url), SystemClock(), 3.0)
    assert tape.ended == ""
    arrivals = replay(tape.encode())
    assert sum(arrival.is_keyframe for arrival in arrivals) > 1
    assert not any(arrival.is_damaged for arrival in arrivals)

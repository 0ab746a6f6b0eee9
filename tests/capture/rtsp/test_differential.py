"""Our own reader beside FFmpeg's, on the same camera at the same time: the same bytes, keyframes and distances.

Run with ``-s`` it prints what differs.
"""

import threading
from pathlib import Path

import pytest

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.opening import open_session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from edge_agent.media.packets import TrackTemplate
from tests.capture.test_gst import _HAS_SERVER, footage, gst_camera

from .odd_streams import encode_pictures, judge

pytestmark = [pytest.mark.peer, pytest.mark.slow]
__all__ = ["footage"]

COUNT = 45
LIVE = {
    "h264": LiveSettings(gop=8),
    "h264 with B-frames": LiveSettings(gop=8, bframes=2),
    "h264, large": LiveSettings(width=1280, height=720, gop=8),
    "h265": LiveSettings("hevc", gop=8),
    "h265 with B-frames": LiveSettings("hevc", gop=8, bframes=2),
}
FAULTS = ["slices", "pps-only", "no-reports"]


class Reading(threading.Thread):
    """One reader at work: its track, and the pictures that it gives."""

    def __init__(self, url: str, reader: str) -> None:
        super().__init__()
        self._endpoint = Endpoint(url, reader=reader)
        self.pictures: list[Arrival] = []
        self.tracks: tuple[TrackTemplate, ...] = ()
        self.reorders = False

    def run(self) -> None:
        clock = SystemClock()
        session = open_session(self._endpoint, clock, PacketLoss(clock))
        self.tracks, self.reorders = session.tracks, session.reorders
        try:
            for arrival in session.read():
                self.pictures.append(arrival)
                if len(self.pictures) >= COUNT:
                    break
        except CaptureError:
            pass
        session.close()


def compare(url: str) -> None:
    """Read a camera with both, and hold what came against each other."""
    own, theirs = Reading(url, "own"), Reading(url, "ffmpeg")
    # FFmpeg looks at a second of pictures before it says that it is open; both are to see the same ones.
    theirs.start()
    while not theirs.tracks and theirs.is_alive():
        theirs.join(0.02)
    own.start()
    for reading in (own, theirs):
        reading.join(60)
    by_bytes = {picture.data: picture for picture in own.pictures}
    pairs = [(by_bytes[each.data], each) for each in theirs.pictures if each.data in by_bytes]
    print(f"own={len(own.pictures)} ffmpeg={len(theirs.pictures)} same={len(pairs)}")
    assert len(pairs) > COUNT // 2
    first, last = (theirs.pictures.index(pairs[at][1]) for at in (0, -1))
    assert [each.data for each in theirs.pictures[first : last + 1]] == [each.data for _, each in pairs]
    assert [a.is_keyframe for a, _ in pairs] == [b.is_keyframe for _, b in pairs]
    # FFmpeg does not tell the first PTS of a session.
    assert len({a.pts - b.pts for a, b in pairs if a.pts is not None and b.pts is not None}) == 1
    mine, other = own.tracks[0], theirs.tracks[0]
    assert (mine.codec, mine.time_base, mine.extradata) == (other.codec, other.time_base, other.extradata)
    assert (mine.width, mine.height, own.reorders) == (other.width, other.height, theirs.reorders)
    assert (mine.sample_aspect or 1) == (other.sample_aspect or 1)


@pytest.mark.parametrize("live", LIVE.values(), ids=LIVE.keys())
def test_demo_camera_is_read_alike(live: LiveSettings) -> None:
    """H.264 and H.265, with and without B-frames: bytes, keyframes, PTS, extradata, size, order."""
    with SimulatedCamera(CameraSettings(live=live)) as camera:
        compare(camera.url)


@pytest.mark.parametrize("fault", FAULTS)
def test_odd_camera_is_read_alike(fault: str) -> None:
    """Likewise with slices, with a part of the parameter sets, without reports."""
    with SimulatedCamera(CameraSettings(live=LiveSettings(gop=8))) as camera:
        camera.fault(fault)
        compare(camera.url)


@pytest.mark.skipif(not _HAS_SERVER, reason="gst-rtsp-server is not installed (gir1.2-gst-rtsp-server-1.0)")
@pytest.mark.parametrize("mtu", ["1400", "300"])
def test_server_of_somebody_else_is_read_alike(footage: Path, mtu: str) -> None:
    """GStreamer's payloader: aggregates, other sizes of fragments."""
    with gst_camera(footage, "--mtu", mtu) as camera:
        compare(camera.url)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_odd_and_broken_streams_are_read_alike(codec: str) -> None:
    """Real pictures in odd packets come out as FFmpeg has them; of broken ones nothing else passes for whole.

    ``python -m tests.fuzz.differential`` goes on with other seeds.
    """
    pictures = encode_pictures(codec, 40)
    assert [fault for seed in range(24) if (fault := judge(codec, pictures, seed))] == []

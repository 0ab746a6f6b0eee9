"""What benchmarks of the recorder stand on: footage of 1080p, cameras that play it, a gateway that records them.

Cameras are processes of their own that loop a pre-encoded file over RTSP/TCP, so that both contenders read from the
same ones and neither pays for them.
"""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.custody.keys import KeyStore
from edge_agent.demo.home import TrialCamera, TrialHome
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.setup.provision import create_state
from edge_agent.units import UtcNs, Window

WIDTH, HEIGHT, FPS, BITRATE, LOOP_S = 1920, 1080, 25, 4_000_000, 4


def make_footage(path: Path, fps: int = FPS) -> None:
    """Encode a few seconds of noise that really take 4 Mbit/s, one keyframe a second, one slice a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", BITRATE
        stream.options = {
            "preset": "ultrafast", "tune": "zerolatency", "nal-hrd": "cbr",
            "x264-params": f"keyint={fps}:min-keyint={fps}:scenecut=0:sliced-threads=0:slices=1:"
            f"vbv-maxrate={BITRATE // 1000}:vbv-bufsize={BITRATE // 2000}:force-cfr=1",
        }  # fmt: skip
        noise = np.random.default_rng(1)
        for number in range(fps * LOOP_S):
            picture = noise.integers(0, 255, (HEIGHT * 3 // 2 // 8, WIDTH // 8), dtype=np.uint8)
            picture = picture.repeat(8, axis=0).repeat(8, axis=1)[: HEIGHT * 3 // 2, :WIDTH]
            full = np.resize(picture, (HEIGHT * 3 // 2, WIDTH))
            frame = av.VideoFrame.from_ndarray(full, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class LoopCamera:
    """One simulated camera; ready when it is made.

    Args:
        footage: What it plays, over and over.
        port: Where it listens; 0 for a free one.
    """

    def __init__(self, footage: Path, port: int = 0) -> None:
        self._footage = footage
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent.demo.camera", "--loop", str(footage), "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.port, self.url = int(ready["port"]), str(ready["url"])

    def close(self) -> None:
        """Take its power away."""
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def start_again(self) -> "LoopCamera":
        """Return the same camera after a reboot: at the same address, serving."""
        return LoopCamera(self._footage, self.port)


def create_home(
    folder: Path, cameras: tuple[TrialCamera, ...], *, ring_size: str, block_size: str, more_config: str = ""
) -> TrialHome:
    """Make a gateway with keys and configuration, that is enrolled nowhere; its recorder can be started."""
    home = TrialHome(folder, cameras, ring_size=ring_size, block_size=block_size)
    home.config_path.parent.mkdir(parents=True)
    home.write_config()
    home.config_path.write_text(home.config_path.read_text() + more_config)
    home.write_consent()
    create_state(home.config.state_dir, "a passphrase of the benchmark")
    home.config.gateway.run_dir.mkdir(parents=True, exist_ok=True)
    return home


def read_records(home: TrialHome, camera: str, start: UtcNs, end: UtcNs) -> list[StoredRecord]:
    """Read what a camera's ring holds of a time, with the vault's key."""
    vault = KeyStore(home.config.state_dir, "releaser").load_private("vault")
    order = ExportOrder("bench", camera, Quality.MAIN, Window(start, end), "", end)
    reader = RingReader.open(home.config.ring_path(camera, "main"), vault)
    try:
        return list(reader.read_own(order))
    finally:
        reader.close()

"""The recorder against ``ffmpeg -c copy -f segment``: CPU per camera and memory, on the same 1080p streams of 4 Mbit/s.

Cameras are simulated ones that loop a pre-encoded file over RTSP/TCP, each a process of its own that both contenders
read from, in turn. Ours does all of its work: encryption, chain, commitments, syncs. ``BENCH_CAMERAS`` says how many,
such as ``1 4 8 16`` (the first ratio is of 8); ``BENCH_SECONDS`` how long each of the interleaved runs lasts.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.measure import Row, interleave, parse_arguments, report
from edge_agent.demo.home import TrialCamera, TrialHome
from edge_agent.errors import EdgeAgentError
from edge_agent.setup.provision import create_state

GOAL, RSS_BASE_MB, RSS_CAMERA_MB = 1.1, 60.0, 6.0
WIDTH, HEIGHT, FPS, BITRATE, LOOP_S = 1920, 1080, 25, 4_000_000, 4
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SETTLE_S = 5.0


def make_footage(path: Path) -> None:
    """Encode a few seconds of noise that really take 4 Mbit/s, one keyframe a second, one slice a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", BITRATE
        stream.options = {
            "preset": "ultrafast", "tune": "zerolatency", "nal-hrd": "cbr",
            "x264-params": f"keyint={FPS}:min-keyint={FPS}:scenecut=0:sliced-threads=0:slices=1:"
            f"vbv-maxrate={BITRATE // 1000}:vbv-bufsize={BITRATE // 2000}:force-cfr=1",
        }  # fmt: skip
        noise = np.random.default_rng(1)
        for number in range(FPS * LOOP_S):
            picture = noise.integers(0, 255, (HEIGHT * 3 // 2 // 8, WIDTH // 8), dtype=np.uint8)
            picture = picture.repeat(8, axis=0).repeat(8, axis=1)[: HEIGHT * 3 // 2, :WIDTH]
            full = np.resize(picture, (HEIGHT * 3 // 2, WIDTH))
            frame = av.VideoFrame.from_ndarray(full, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def start_camera(footage: Path, path: str) -> "tuple[subprocess.Popen[str], str]":
    """Start one simulated camera and return its process and URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_agent.demo.camera", "--loop", str(footage), "--path", path],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, str(json.loads(process.stdout.readline())["url"])


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def memory_mb(pid: int, name: str) -> float:
    """Return ``Rss`` or ``Pss`` of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    raise SystemExit(f"no {name} for {pid}")


class Contest:
    """So many cameras, and both ways to record them."""

    def __init__(self, folder: Path, urls: list[str], seconds: float) -> None:
        self.folder, self.urls, self.seconds = folder, urls, seconds
        cameras = tuple(TrialCamera(f"cam{number}", url, {}) for number, url in enumerate(urls))
        self.home = TrialHome(folder / "home", cameras, ring_size="256MiB", block_size="2MiB")
        self.home.config_path.parent.mkdir(parents=True)
        self.home.write_config()
        self.home.write_consent()
        create_state(self.home.config.state_dir, "a passphrase of the benchmark")
        self.home.config.gateway.run_dir.mkdir(parents=True, exist_ok=True)
        self.ours_mb: list[float] = []
        self.theirs_mb: list[float] = []

    def ours(self) -> float:
        """Return the share of a core per camera that the recorder takes."""
        self.home.start("record")
        try:
            self.home.wait_ready()
            process = self.home.processes["record"]
            share = self._measure([process.pid])
            self.ours_mb.append(memory_mb(process.pid, "Rss"))
            status: dict[str, Any] = self.home.ask("recorder", "status")["cameras"]
            slow = [name for name, camera in status.items() if not camera.get("bitrate", 0) > BITRATE * 0.8]
            if slow:
                raise SystemExit(f"the recorder did not get its streams: {slow}")
        finally:
            self.home.stop()
        return share

    def theirs(self) -> float:
        """Return the share of a core per camera that one ffmpeg per camera takes."""
        out = self.folder / "segments"
        out.mkdir(exist_ok=True)
        words = ("-c", "copy", "-f", "segment", "-segment_time", "10", "-segment_format", "mpegts", "-y")
        processes = [
            subprocess.Popen(
                ["ffmpeg", "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-an", *words,
                 str(out / f"{number}-%03d.ts")]
            )
            for number, url in enumerate(self.urls)
        ]  # fmt: skip
        try:
            share = self._measure([process.pid for process in processes])
            self.theirs_mb.append(sum(memory_mb(process.pid, "Pss") for process in processes))
        finally:
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                process.wait(10)
        written = sum(path.stat().st_size for path in out.iterdir())
        if written < 0.6 * BITRATE / 8 * self.seconds * len(self.urls):
            raise SystemExit(f"ffmpeg did not get its streams: bytes={written}")
        for path in out.iterdir():
            path.unlink()
        return share

    def _measure(self, pids: list[int]) -> float:
        time.sleep(_SETTLE_S)
        before_s, began_s = sum(map(cpu_s, pids)), time.monotonic()
        time.sleep(self.seconds)
        used_s = sum(map(cpu_s, pids)) - before_s
        return used_s / (time.monotonic() - began_s) / len(self.urls)


def main() -> int:
    """Run it."""
    args = parse_arguments("recorder", __doc__ or "")
    counts = [int(word) for word in os.environ.get("BENCH_CAMERAS", "8").split()]
    seconds = float(os.environ.get("BENCH_SECONDS", "15"))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="eb-") as name, ExitStack() as stack:
        footage = Path(name) / "footage.mp4"
        make_footage(footage)
        cameras = []
        for number in range(max(counts)):
            process, url = start_camera(footage, f"/cam{number}")
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            cameras.append(url)
        for count in sorted(counts, key=lambda count: count != 8):
            contest = Contest(Path(name) / str(count), cameras[:count], seconds)
            found = interleave(args.runs, {"ours": contest.ours, "theirs": contest.theirs})
            note = f"{found['ours']:.2%} against {found['theirs']:.2%} of a core per camera"
            rows.append(
                Row(f"CPU, {count} cameras: recorder ÷ ffmpeg", found["ours"] / found["theirs"], GOAL, "", note)
            )
            rss_mb, peer_mb = statistics.median(contest.ours_mb), statistics.median(contest.theirs_mb)
            goal_mb = RSS_BASE_MB + RSS_CAMERA_MB * count
            rows.append(Row(f"RSS, {count} cameras", rss_mb, goal_mb, "MB", f"ffmpegs together {peer_mb:.0f} MB (PSS)"))
    return report("recorder", args, rows)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except EdgeAgentError as error:
        raise SystemExit(str(error)) from error

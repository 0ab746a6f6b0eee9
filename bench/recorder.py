"""The recorder against ``ffmpeg -c copy -f segment``: CPU per camera and memory, on the same 1080p streams of 4 Mbit/s.

Simulated cameras are read by both contenders in turn. Ours does all of its work: encryption, chain, commitments, syncs.
``BENCH_CAMERAS`` says how many cameras (``1 4 8 16``; the headline is the ratio of the largest up to 8),
``BENCH_SECONDS`` how long each of the interleaved runs lasts. Last come the times until a camera is recorded.
"""

import os
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.measure import Row, cpu_s, interleave, memory_mb, parse_arguments, report
from bench.reaction import measure_reactions
from bench.trial import BITRATE, LoopCamera, create_home, make_footage
from edge_agent.demo.home import TrialCamera
from edge_agent.errors import EdgeAgentError

GOAL, RSS_BASE_MB, RSS_CAMERA_MB = 1.0, 60.0, 6.0
_SETTLE_S = 5.0


class Contest:
    """So many cameras, and both ways to record them."""

    def __init__(self, folder: Path, urls: list[str], seconds: float) -> None:
        self.folder, self.urls, self.seconds = folder, urls, seconds
        cameras = tuple(TrialCamera(f"cam{number}", url, {}) for number, url in enumerate(urls))
        self.home = create_home(folder / "home", cameras, ring_size="256MiB", block_size="2MiB")
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


def measure_count(folder: Path, urls: list[str], seconds: float, runs: int) -> list[Row]:
    """Compare both with so many cameras."""
    contest, count = Contest(folder, urls, seconds), len(urls)
    found = interleave(runs, {"ours": contest.ours, "theirs": contest.theirs})
    note = f"{found['ours']:.2%} against {found['theirs']:.2%} of a core per camera"
    rss_mb, peer_mb = statistics.median(contest.ours_mb), statistics.median(contest.theirs_mb)
    goal_mb = RSS_BASE_MB + RSS_CAMERA_MB * count
    return [
        Row(f"CPU, {count} cameras: recorder ÷ ffmpeg", found["ours"] / found["theirs"], GOAL, "", note),
        Row(f"RSS, {count} cameras", rss_mb, goal_mb, "MB", f"ffmpegs together {peer_mb:.0f} MB (PSS)"),
    ]


def main() -> int:
    """Run it."""
    args = parse_arguments("recorder", __doc__ or "")
    counts = [int(word) for word in os.environ.get("BENCH_CAMERAS", "1 4 8 16").split()]
    seconds = float(os.environ.get("BENCH_SECONDS", "15"))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="eb-") as name, ExitStack() as stack:
        folder, footage = Path(name), Path(name) / "footage.mp4"
        make_footage(footage)
        urls = []
        for _ in range(max(counts)):
            camera = LoopCamera(footage)
            stack.callback(camera.close)
            urls.append(camera.url)
        # The headline is the first row.
        for count in sorted(counts, key=lambda count: (count > 8, -count)):
            rows += measure_count(folder / str(count), urls[:count], seconds, args.runs)
        rows += measure_reactions(folder, footage, args.runs)
    return report("recorder", args, rows)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except EdgeAgentError as error:
        raise SystemExit(str(error)) from error

"""The recorder against ``ffmpeg -c copy -f segment``: CPU per camera and memory, on the same 1080p streams of 4 Mbit/s.

Simulated cameras are read by both contenders in turn, and by ffmpeg into a gocryptfs mount if that is installed. Ours
does all of its work: encryption, chain, commitments, syncs, picture health. Whole process trees are measured, with
their shared memory counted once (PSS). ``BENCH_CAMERAS`` says how many cameras (``1 4 8 16``; the headline is the
largest up to 8), ``BENCH_SECONDS`` how long each round lasts. Last come the times until a camera is recorded.
"""

import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.measure import (
    Row,
    alternate,
    demand_programs,
    memory_mb,
    parse_arguments,
    report,
    tree,
    tree_cpu_s,
    tree_pss_mb,
)
from bench.reaction import measure_reactions
from bench.trial import BITRATE, LoopCamera, create_home, make_footage
from edge_agent.demo.home import TrialCamera
from edge_agent.errors import EdgeAgentError

GOAL = 0.8
PSS_ONE_MB, PSS_CAMERA_MB = 50.0, 25.0 / 15
"""Of the recorder's own process: 50 MB with one camera, 75 with sixteen."""
PICTURE_CHILD_MB = 45.0
_PICTURES = b"edge_agent.capture.pictures.analyser_child"
_SETTLE_S = 5.0
_LEAST_SHARE = 0.6


class Memory:
    """What our process tree held, in MB of PSS, round by round."""

    def __init__(self) -> None:
        self.recorder: list[float] = []
        self.pictures: list[float] = []
        self.whole: list[float] = []

    def take(self, pid: int) -> None:
        """Look at a recorder and its children now."""
        parts = {each: memory_mb(each, "Pss") for each in tree(pid)}
        pictures = [mb for each, mb in parts.items() if _PICTURES in Path(f"/proc/{each}/cmdline").read_bytes()]
        self.recorder.append(parts[pid])
        self.pictures.append(sum(pictures))
        self.whole.append(sum(parts.values()))


class Contest:
    """So many cameras, and the ways to record them."""

    def __init__(self, folder: Path, urls: list[str], seconds: float) -> None:
        self.folder, self.urls, self.seconds = folder, urls, seconds
        cameras = tuple(TrialCamera(f"cam{number}", url, {}) for number, url in enumerate(urls))
        self.home = create_home(folder / "home", cameras, ring_size="256MiB", block_size="2MiB")
        self.ours_mb = Memory()
        self.theirs_mb: list[float] = []

    def contenders(self) -> dict[str, Callable[[], float]]:
        """Return the ways by name; each returns the share of a core per camera that it takes."""
        ways: dict[str, Callable[[], float]] = {"ours": self.ours, "ffmpeg": self.theirs}
        return ways | ({"gocryptfs": self.encrypted} if shutil.which("gocryptfs") else {})

    def ours(self) -> float:
        """Record with the recorder."""
        self.home.start("record")
        try:
            self.home.wait_ready()
            pid = self.home.processes["record"].pid
            share = self._measure([pid])
            self.ours_mb.take(pid)
            status: dict[str, Any] = self.home.ask("recorder", "status")["cameras"]
            slow = [name for name, camera in status.items() if not camera.get("bitrate", 0) > BITRATE * 0.8]
            if slow:
                raise SystemExit(f"the recorder did not get its streams: {slow}")
        finally:
            self.home.stop()
        return share

    def theirs(self) -> float:
        """Record with one ffmpeg per camera."""
        out = self.folder / "segments"
        out.mkdir(exist_ok=True)
        with self._ffmpegs(out) as pids:
            share = self._measure(pids)
            self.theirs_mb.append(sum(map(tree_pss_mb, pids)))
        self._check_and_clear(out)
        return share

    def encrypted(self) -> float:
        """Record with one ffmpeg per camera into an encrypted folder; the encryption counts."""
        with mount_gocryptfs(self.folder) as (out, pid), self._ffmpegs(out) as pids:
            return self._measure([pid, *pids])

    @contextmanager
    def _ffmpegs(self, out: Path) -> Iterator[list[int]]:
        words = ("-c", "copy", "-f", "segment", "-segment_time", "10", "-segment_format", "mpegts", "-y")
        processes = [
            subprocess.Popen(
                ["ffmpeg", "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-an", *words,
                 str(out / f"{number}-%03d.ts")]
            )
            for number, url in enumerate(self.urls)
        ]  # fmt: skip
        try:
            yield [process.pid for process in processes]
        finally:
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                process.wait(10)

    def _check_and_clear(self, out: Path) -> None:
        written = sum(path.stat().st_size for path in out.iterdir())
        if written < _LEAST_SHARE * BITRATE / 8 * self.seconds * len(self.urls):
            raise SystemExit(f"ffmpeg did not get its streams: bytes={written}")
        for path in out.iterdir():
            path.unlink()

    def _measure(self, pids: list[int]) -> float:
        time.sleep(_SETTLE_S)
        before_s, began_s = sum(map(tree_cpu_s, pids)), time.monotonic()
        time.sleep(self.seconds)
        used_s = sum(map(tree_cpu_s, pids)) - before_s
        return used_s / (time.monotonic() - began_s) / len(self.urls)


@contextmanager
def mount_gocryptfs(folder: Path) -> Iterator[tuple[Path, int]]:
    """Mount an encrypted folder for the time of the block; yield it, and the process that encrypts."""
    hidden, shown, password = folder / "hidden", folder / "shown", folder / "password"
    for path in (hidden, shown):
        path.mkdir(exist_ok=True)
    password.write_text("of the benchmark")
    if not (hidden / "gocryptfs.conf").exists():
        subprocess.run(["gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", password, hidden], check=True)
    process = subprocess.Popen(["gocryptfs", "-q", "-fg", "-passfile", password, hidden, shown])
    try:
        deadline = time.monotonic() + 10
        while not shown.is_mount():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("gocryptfs does not mount")
            time.sleep(0.05)
        yield shown, process.pid
        for path in shown.iterdir():
            path.unlink()
    finally:
        subprocess.run(["fusermount3", "-u", shown], check=False)
        process.wait(10)


def measure_count(folder: Path, urls: list[str], seconds: float, runs: int) -> list[Row]:
    """Compare all of them with so many cameras."""
    contest, count = Contest(folder, urls, seconds), len(urls)
    found = alternate(runs, contest.contenders())
    doubt, ratio = found.doubt("ffmpeg"), found["ours"].over(found["ffmpeg"])
    note = f"{ratio}; {found['ours'].median:.2%} against {found['ffmpeg'].median:.2%} of a core per camera"
    rows = [Row(f"CPU, {count} cameras: recorder ÷ ffmpeg", ratio.median, GOAL, "", note, doubt)]
    if "gocryptfs" in found.series:
        beside = found["ours"].over(found["gocryptfs"])
        rows.append(
            Row(f"CPU, {count} cameras: recorder ÷ ffmpeg into gocryptfs", beside.median, None, "", f"{beside}")
        )
    mb, peer_mb = contest.ours_mb, statistics.median(contest.theirs_mb)
    goal_mb = PSS_ONE_MB + PSS_CAMERA_MB * (count - 1)
    return [
        *rows,
        Row(f"PSS, {count} cameras: recorder", statistics.median(mb.recorder), goal_mb, "MB"),
        Row(f"PSS, {count} cameras: picture child", statistics.median(mb.pictures), PICTURE_CHILD_MB, "MB"),
        Row(f"PSS, {count} cameras: whole tree", statistics.median(mb.whole), None, "MB", f"ffmpegs: {peer_mb:.0f} MB"),
    ]


def main() -> int:
    """Run it."""
    args = parse_arguments("recorder", __doc__ or "")
    demand_programs("recorder", "ffmpeg")
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

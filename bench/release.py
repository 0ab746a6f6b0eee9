"""A release against its floor: request → delivered, over ``ffmpeg -c copy | age | curl -T`` of the same minutes.

The whole path is real: an RTCC signs and sends over mosquitto, the releaser, started long before as it is in a house,
judges, bundles, stages and uploads by tus, and the clock stops when the RTCC has verified the ``delivered`` answer with
its key. Cooling-off is zero. Theirs takes plain MP4 segments to the same server. ``BENCH_MINUTES`` says how much, such
as ``1 5``; those of 5 minutes come first.
"""

import compileall
import hashlib
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import edge_agent
from bench.measure import Row, alternate, demand_programs, parse_arguments, report
from bench.recorded import ADDRESS, BLOCK_BYTES, Recorded
from edge_agent.custody.keys import KeyStore
from edge_agent.demo.city import HOST, City
from edge_agent.demo.home import HOUSE_TERMS, LAT, LON, TrialCamera, TrialHome
from edge_agent.protocol.answer import Status
from edge_agent.protocol.request import Category, Incident, Place
from edge_agent.rtcc.deliveries import deliveries, open_delivery
from edge_agent.rtcc.office.home import CLIENT_NAME
from edge_agent.rtcc.office.request import RequestDraft, SignedRequest, sign_request, to_gateway
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs

GOAL, GOAL_MIN, RSS_GOAL_MB = 1.4, 5, 120.0
CAMERA = "front-door"
TERMS = {
    "mode": "auto", "categories": ["robbery"], "window": "2h",
    "requests_per_day": 100, "requests_per_month": 1000, "minutes_per_month": 43200,
}  # fmt: skip
STAGES = {"decide": "request decided", "bundle": "bundle built", "upload": "clip uploaded", "key": ""}
"""What the releaser logs at the end of each stage; the last ends with the answer at the RTCC."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_TIMEOUT_S = 300.0
_LINE = re.compile(r"^(\S+ \S+) \S+ \S+ (.*?) request=\d+", re.MULTILINE)


@dataclass
class Taken:
    """What the runs of one length cost beside their time."""

    stages: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STAGES})
    ours_cpu_s: list[float] = field(default_factory=list)
    theirs_cpu_s: list[float] = field(default_factory=list)

    def stage_note(self) -> str:
        return ", ".join(f"{name} {statistics.median(times):.2f} s" for name, times in self.stages.items())


class Trial:
    """A city, a house with an hour of footage, and one upload server for both contenders."""

    def __init__(self, folder: Path, minutes: int, stack: ExitStack) -> None:
        compileall.compile_dir(Path(edge_agent.__file__).parent, quiet=2)  # as an installation does
        self.folder, self.taken = folder, folder / "taken"
        self._numbers = count(1)
        self.city = stack.enter_context(City(folder / "city"))
        self.city.stop_receiver()  # its place takes a server that costs as little as one in Python can
        self.url = self.city.home.settings.uploads["evidence"]
        self._start_sink(stack)
        camera = TrialCamera(CAMERA, ADDRESS, TERMS)
        ring_mib = 64 + 40 * minutes
        self.home = TrialHome(
            folder / "home", (camera,), HOUSE_TERMS, ring_size=f"{ring_mib}MiB", block_size=f"{BLOCK_BYTES >> 20}MiB"
        )
        stack.callback(self.home.stop)
        self.home.create(self.city)
        config = self.home.config
        start = UtcNs(time.time_ns() // SECOND_NS * SECOND_NS - (minutes + 2) * MINUTE_NS)
        (folder / "plain").mkdir()
        self.recorded = Recorded(config.ring_path(CAMERA, "main"), folder / "plain", CAMERA, start, minutes)
        recorder = KeyStore(config.state_dir, "recorder")
        self.recorded.write(recorder.load_public("vault"), recorder.load_private("recorder"))
        self.home.start("release")
        self.home.wait_ready()
        self.home.sign()
        self.pid = self.home.processes["release"].pid
        self.session = stack.enter_context(RtccSession(self.city.home, watch=True))
        self.child = ChildMemory(self.pid)
        stack.callback(self.child.stop)

    def _start_sink(self, stack: ExitStack) -> None:
        files = (self.taken, self.city.home.ca_path, *self.city.home.tls_paths(HOST))
        port = str(urlsplit(self.url).port)
        command = [sys.executable, "-m", "bench.sink", *map(str, files), port]
        sink = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(sink.kill)
        if sink.stdout is None or sink.stdout.readline().strip() != port:
            raise SystemExit("the upload server does not start")

    def sign(self, minutes: int) -> SignedRequest:
        """Ask for the last minutes of the footage, for an incident that spans just that."""
        window, _ = self.recorded.last(minutes)
        incident = Incident(f"B-{next(self._numbers)}", Category.ROBBERY, window.end, Place(LAT, LON), window)
        draft = RequestDraft(
            to_gateway(self.home.gateway), incident, window, "a benchmark", "desk 1", (CAMERA,),
            release_within_ns=HOUR_NS,
        )  # fmt: skip
        now = UtcNs(time.time_ns())
        return sign_request(self.city.home, draft, now, operator="operator-1", supervisor="supervisor-1")

    def ours(self, minutes: int, taken: Taken) -> float:
        """Release once; the seconds from sending the request to the verified answer with the key."""
        signed, cpu_s = self.sign(minutes), self._cpu_s()
        logged, begun, sent_at = len(self._log()), time.perf_counter(), time.time()
        self.session.send(signed)
        *_, last = self.session.answers(signed.jti, _TIMEOUT_S)
        took_s, ended_at = time.perf_counter() - begun, time.time()
        if last.status is not Status.DELIVERED or last.files[0].sha256 != self._digest_taken():
            raise SystemExit(f"not delivered: {last}\n{self._log()[-2000:]}")
        taken.ours_cpu_s.append(self._cpu_s() - cpu_s)
        for name, stage_s in self._stages(self._log()[logged:], sent_at, ended_at).items():
            taken.stages[name].append(stage_s)
        return took_s

    def theirs(self, minutes: int, taken: Taken) -> float:
        """Pipe the same minutes from plain segments."""
        names = self.recorded.last(minutes)[1]
        (self.recorded.segments / "segments.txt").write_text("".join(f"file '{name}'\n" for name in names))
        home = self.city.home
        certificate, key = home.tls_paths(CLIENT_NAME)
        script = (
            "ffmpeg -v error -f concat -safe 0 -i segments.txt -c copy -f mp4 -movflags frag_keyframe+empty_moov pipe:1"
            f" | age -r {home.recipients()['evidence']} | curl -sS -f -T - --cacert {home.ca_path} --cert {certificate}"
            f" --key {key} {self.url}one"
        )
        used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(["bash", "-o", "pipefail", "-c", script], check=True, cwd=self.recorded.segments)
        took_s, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.theirs_cpu_s.append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
        return took_s

    def open_last(self) -> None:
        """Open what was delivered last as the RTCC does: what was measured is a release that proves itself."""
        digest = self._digest_taken()
        (delivery,) = [each for each in deliveries(self.city.home) if each.file.sha256 == digest]
        received = self.city.home.received_dir / delivery.gateway
        received.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.taken, received / delivery.file.upload)
        findings = open_delivery(self.city.home, delivery, self.folder / "opened")
        if not findings.ok:
            raise SystemExit(findings.as_text())

    def rss_mb(self) -> float:
        """Return the most memory that the releaser has ever had."""
        return _peak_mb(Path(f"/proc/{self.pid}/status"))

    def _digest_taken(self) -> bytes:
        with self.taken.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def _cpu_s(self) -> float:
        """Return what the releaser and the clip children that it has waited for have used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * _TICK_S

    def _log(self) -> str:
        return (self.home.folder / "release.log").read_text()

    @staticmethod
    def _stages(log: str, sent_at: float, ended_at: float) -> dict[str, float]:
        ends = {"key": ended_at}
        for when, what in _LINE.findall(log):
            for name, begins in STAGES.items():
                if begins and what.startswith(begins):
                    ends[name] = datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
        edges = [sent_at, *(ends[name] for name in STAGES)]
        return {name: edges[at + 1] - edges[at] for at, name in enumerate(STAGES)}


class ChildMemory:
    """Looks fifty times a second how much memory the clip child has had: it ends too soon to be asked afterwards."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stop = pid, threading.Event()
        self.peak_mb = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for path in Path(f"/proc/{self._pid}/task").glob("*/children"):
                try:
                    for child in path.read_text().split():
                        if b"cutter_child" in Path(f"/proc/{child}/cmdline").read_bytes():
                            self.peak_mb = max(self.peak_mb, _peak_mb(Path(f"/proc/{child}/status")))
                except OSError:
                    continue


def _peak_mb(status: Path) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) / 1000 if found else 0.0


def measure(trial: Trial, minutes: int, runs: int) -> list[Row]:
    """Measure one length: the ratio, and the memory."""
    taken, name = Taken(), f"{minutes} min"
    trial.child.peak_mb = 0.0
    found = alternate(
        runs, {"ours": lambda: trial.ours(minutes, taken), "theirs": lambda: trial.theirs(minutes, taken)}
    )
    ratio = found["ours"].over(found["theirs"])
    note = (
        f"{ratio}; ours {found['ours'].median:.2f} s ({taken.stage_note()};"
        f" CPU {statistics.median(taken.ours_cpu_s):.2f} s),"
        f" theirs {found['theirs'].median:.2f} s (CPU {statistics.median(taken.theirs_cpu_s):.2f} s), {runs} runs"
    )
    return [
        Row(name, ratio.median, GOAL, note=note, doubt=found.doubt("theirs")),
        Row(f"{name}, RSS of the releaser", trial.rss_mb(), RSS_GOAL_MB, "MB"),
        Row(f"{name}, RSS of the clip child", trial.child.peak_mb, RSS_GOAL_MB, "MB"),
    ]


def main() -> int:
    """Measure all lengths, the short ones first; return the exit code."""
    args = parse_arguments("release", __doc__ or "")
    demand_programs("release", "ffmpeg", "age", "curl")
    lengths = sorted(map(int, os.environ.get("BENCH_MINUTES", "1 5 30 60").split()))
    rows: dict[int, list[Row]] = {}
    with ExitStack() as stack:
        # Unix sockets have short paths.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eb-", dir=os.environ.get("BENCH_DIR"))))
        trial = Trial(folder, lengths[-1], stack)
        trial.ours(lengths[0], Taken())
        trial.open_last()
        for minutes in lengths:
            rows[minutes] = measure(trial, minutes, args.runs)
    ordered = sorted(lengths, key=lambda minutes: minutes != GOAL_MIN)
    return report("release", args, [row for minutes in ordered for row in rows[minutes]])


if __name__ == "__main__":
    sys.exit(main())

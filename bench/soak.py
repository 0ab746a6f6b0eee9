"""Eight cameras for half an hour: six fail in a different way every minute, two are healthy.

The recorder is the real process; so are the two healthy cameras. At the end its rings are read with the vault's key:
every second of every camera must be footage or a GAP whose reason fits what the camera did; the pixels of the healthy
two tell when each picture was taken. ``BENCH_MINUTES`` says how long it lasts (30).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av

from bench.measure import Row, memory_mb, parse_arguments, report
from bench.trial import create_home, read_records
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.read.records import StoredRecord
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.home import TrialCamera
from edge_agent.demo.picture import read_strip
from edge_agent.demo.source import LiveSettings
from edge_agent.errors import EdgeAgentError
from edge_agent.media.commitments import open_payload
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs
from edge_agent.uplink.clip.nut_reader import read_nut

FAILING, HEALTHY = 6, 2
FPS, GOP = 10, 10
LIVE = LiveSettings(fps=FPS, gop=GOP)
FRAME_NS = SECOND_NS // FPS
FAULT_FROM_S, FAULT_TO_S = 8, 32
"""Within each minute; the rest of it is for coming back."""
RSS_GOAL = 1.05
_OPENING = frozenset({"connecting", "ended", "no-answer", "unreachable", "refused", "busy", "stalled", "no-keyframe"})
_STARTING = frozenset({"recorder-stopped", "connecting"})

# What each fault may be told as. Those that cost nothing may leave no hole at all.
FAULTS: dict[str, frozenset[str]] = {
    "frozen": _OPENING | {"stalled"},
    "drop": _OPENING,
    "reboot": _OPENING,
    "jump": _OPENING | {"time-jump"},
    "mute": _OPENING | {"stalled"},
    "burst": _OPENING | {"stalled", "time-jump"},
    "backwards-dts": _OPENING | {"time-jump"},
    "garbage": _OPENING | {"protocol-error", "stalled", "time-jump", "lost-packets"},
    "new-size": _OPENING | {"new-parameters"},
    "loss": _OPENING | {"protocol-error", "stalled", "time-jump", "lost-packets"},
    "frozen-video": _OPENING | {"stalled"},
    "unauthorized": _OPENING | {"unauthorized"},
    "not-found": _OPENING | {"not-found"},
    "slices": _OPENING | {"new-parameters"},
    "no-reports": frozenset(),
    "still": frozenset(),
    "stale-session": _OPENING | {"session-still-open"},
    "clock-off": frozenset(),
}
_NEEDS_NEW_SESSION = frozenset({"unauthorized", "not-found", "stale-session", "drop"})


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of one camera."""

    camera: int
    fault: str
    start: UtcNs
    end: UtcNs


def plan_minute(minute: int) -> list[str]:
    """Return the fault of each failing camera in a minute: all different, and others than in the minute before."""
    names = list(FAULTS)
    return [names[(minute * FAILING + camera) % len(names)] for camera in range(FAILING)]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the recorder holds at the end of a minute."""

    threads: int
    descriptors: int
    rss_mb: float


class Soak:
    """The whole trial in a folder."""

    def __init__(self, folder: Path, minutes: int, stack: ExitStack) -> None:
        self.minutes = minutes
        self.failing = [stack.enter_context(SimulatedCamera(CameraSettings(live=LIVE))) for _ in range(FAILING)]
        urls = [camera.url for camera in self.failing] + [_start_healthy(stack) for _ in range(HEALTHY)]
        cameras = tuple(TrialCamera(f"cam{number}", url, {}) for number, url in enumerate(urls))
        ring_mib = 32 + 4 * minutes
        self.home = create_home(folder, cameras, ring_size=f"{ring_mib}MiB", block_size="1MiB")
        stack.callback(self.home.stop)
        self.planned: list[Planned] = []
        self.samples: list[Sample] = []
        self.began = self.ended = UtcNs(0)

    def run(self) -> None:
        """Record, and let the cameras fail."""
        self.home.start("record")
        self.home.wait_ready()
        self.began = UtcNs(time.time_ns())
        for minute in range(self.minutes):
            faults = plan_minute(minute)
            _sleep_until(self.began + minute * MINUTE_NS + FAULT_FROM_S * SECOND_NS)
            start = UtcNs(time.time_ns())
            for camera, fault in zip(self.failing, faults, strict=True):
                camera.fault(fault)
                if fault in _NEEDS_NEW_SESSION:
                    camera.drop_clients()
            _sleep_until(self.began + minute * MINUTE_NS + FAULT_TO_S * SECOND_NS)
            for camera, fault in zip(self.failing, faults, strict=True):
                camera.fault(fault, False)
            end = UtcNs(time.time_ns())
            self.planned += [Planned(number, fault, start, end) for number, fault in enumerate(faults)]
            _sleep_until(self.began + (minute + 1) * MINUTE_NS)
            self._take_sample()
        self.home.wait_ready(90)
        self._take_sample()
        self.ended = UtcNs(time.time_ns())
        self.home.stop()

    def _take_sample(self) -> None:
        pid = self.home.processes["record"].pid
        # A file that is just being written, a caller who is just being answered: the least of some looks counts.
        looks = []
        for _ in range(10):
            looks.append([len(list(Path(f"/proc/{pid}/{name}").iterdir())) for name in ("task", "fd")])
            time.sleep(0.05)
        threads, descriptors = (min(counts) for counts in zip(*looks, strict=True))
        self.samples.append(Sample(threads, descriptors, memory_mb(pid, "Rss")))

    def records(self, camera: int) -> list[StoredRecord]:
        """Read a camera's ring."""
        return read_records(self.home, f"cam{camera}", UtcNs(self.began - HOUR_NS), UtcNs(self.ended + HOUR_NS))

    def unexplained(self, camera: int) -> list[str]:
        """Return what the account of one camera lacks: holes, overlaps, reasons that do not fit."""
        timed = [record for record in self.records(camera) if record.header.duration_ns]
        spans = sorted((r.header.start_ns, r.header.start_ns + r.header.duration_ns) for r in timed)
        wrong = [f"hole_ns={start - end}" for (_, end), (start, _) in pairwise(spans) if start != end]
        if not spans or spans[-1][1] < self.ended - 5 * SECOND_NS or spans[0][0] > self.began:
            wrong.append("the account does not reach from beginning to end")
        for record in timed:
            if record.header.kind is Kind.GAP and (words := self._judge_gap(camera, record)):
                wrong.append(words)
        return [f"cam{camera}: {words}" for words in wrong]

    def _judge_gap(self, camera: int, gap: StoredRecord) -> str:
        start = gap.header.start_ns
        end = start + gap.header.duration_ns
        reason = json.loads(gap.plaintext)["reason"]
        if end <= self.began + 2 * SECOND_NS:
            return "" if reason in _STARTING else f"before the start: {reason}"
        around = [
            planned
            for planned in self.planned
            # A stall is told ten seconds after it began; coming back may take as long as the back-off has grown.
            if planned.camera == camera and start < planned.end + 40 * SECOND_NS and end > planned.start - SECOND_NS
        ]
        if any(reason in FAULTS[planned.fault] for planned in around):
            return ""
        faults = [planned.fault for planned in around]
        at_s = (start - self.began) / SECOND_NS
        return f"reason={reason} at_s={at_s:.1f} for_s={(end - start) / SECOND_NS:.1f} faults={faults}"

    def errors_ns(self, camera: int) -> list[int]:
        """Return the difference of ring time and pixel time of every picture of a healthy camera."""
        gops = [record for record in self.records(camera) if record.header.kind is Kind.GOP]
        return [abs(ring - pixels) for ring, pixels in _read_pictures(gops)]


def _read_pictures(gops: list[StoredRecord]) -> Iterator[tuple[int, int]]:
    for gop in gops:
        tracks, packets = read_nut(open_payload(gop.plaintext)[1])
        decoder = av.CodecContext.create(tracks[0].codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.extradata = tracks[0].extradata or None
        for packet in packets:
            coded = av.Packet(packet.data)
            coded.pts = gop.header.start_ns + int((packet.pts - packets[0].pts) * tracks[0].time_base * SECOND_NS)
            coded.dts = coded.pts
            for frame in decoder.decode(coded):
                yield int(frame.pts or 0), read_strip(frame.to_ndarray(format="gray"))
        for frame in decoder.decode(None):
            yield int(frame.pts or 0), read_strip(frame.to_ndarray(format="gray"))


def _start_healthy(stack: ExitStack) -> str:
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_agent.demo.camera", "--fps", str(FPS), "--gop", str(GOP)],
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(process.wait, 10)
    stack.callback(process.terminate)
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["url"])


def _sleep_until(utc_ns: int) -> None:
    time.sleep(max(0.0, (utc_ns - time.time_ns()) / SECOND_NS))


def soak(folder: Path, minutes: int) -> tuple[list[Row], list[str]]:
    """Run it; return the rows, and everything that lacks an explanation."""
    with ExitStack() as stack:
        trial = Soak(folder, minutes, stack)
        trial.run()
        wrong = [words for camera in range(FAILING + HEALTHY) for words in trial.unexplained(camera)]
        errors = sorted(error for camera in range(FAILING, FAILING + HEALTHY) for error in trial.errors_ns(camera))
        first, last = trial.samples[0], trial.samples[-1]
        error_ns = errors[len(errors) * 99 // 100]
        rows = [
            Row("ring time against pixel time, 99th percentile ÷ picture", error_ns / FRAME_NS, 1.0,
                note=f"{error_ns / 1e6:.1f} ms of {len(errors)} pictures"),
            Row("holes or reasons without an explanation", len(wrong), 0),
            Row("threads more than after the first minute", last.threads - first.threads, 0, note=f"{last.threads}"),
            Row("descriptors more than after the first minute", last.descriptors - first.descriptors, 0,
                note=f"{last.descriptors}"),
            Row("RSS ÷ after the first minute", last.rss_mb / first.rss_mb, RSS_GOAL, note=f"{last.rss_mb:.0f} MB"),
        ]  # fmt: skip
    return rows, wrong


def main() -> int:
    """Run it."""
    args = parse_arguments("soak", __doc__ or "")
    minutes = int(os.environ.get("BENCH_MINUTES", "30"))
    with tempfile.TemporaryDirectory(prefix="es-") as name:
        rows, wrong = soak(Path(name) / "home", minutes)
    for words in wrong:
        print(words, file=sys.stderr)
    return report("soak", args, rows)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except EdgeAgentError as error:
        raise SystemExit(str(error)) from error

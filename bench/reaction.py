"""How soon a camera is recorded: after the program's start, a connection, an event, and a time without power.

The peer is an ffmpeg started at the very moment: at the event, or when the camera answers again. Nothing that waits for
one or the other can be sooner by more than it takes to start a program. Both times end when the first whole GOP is
stored. Cameras have a keyframe a second and make none on request: nothing can be recorded before the next one, so the
goals of start and connection leave one second more, and runs begin at different moments of it.
"""

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.measure import Row, Series, alternate
from bench.trial import LoopCamera, create_home, make_footage, read_records
from edge_agent.buffer.format.constants import Kind
from edge_agent.capture.rtsp.session import open_own_session
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.demo.broker import HOST, find_free_port, find_mosquitto, start_mosquitto
from edge_agent.demo.home import TrialCamera, TrialHome
from edge_agent.host.clock import SystemClock
from edge_agent.units import UtcNs

START_GOAL_S, CONNECT_GOAL_S, EVENT_GOAL = 0.7, 0.3, 1.2
KEYFRAME_S = 1.0
RATES = (25, 5, 1)
"""Pictures a second."""
OUTAGE_S = 10.0
BACK_S = 2.0
"""A camera that gave no sign of life is asked for one every second or two."""
_TOPIC = "ring/home/camera/front/motion/state"
_LIMIT_S = 60.0
_POLL_S = 0.02


def measure_reactions(folder: Path, footage: Path, runs: int) -> list[Row]:
    """Measure them all."""
    return [
        _measure_start(folder / "start", footage, runs),
        *(_measure_connection(folder, rate, runs) for rate in RATES),
        _measure_event(folder / "event", footage, runs),
        _measure_reboot(folder / "reboot", footage, runs),
    ]


def _measure_start(folder: Path, footage: Path, runs: int) -> Row:
    """Measure from the start of the program to the first picture in the ring, as its record tells it."""
    camera = LoopCamera(footage)
    home = create_home(folder / "home", (TrialCamera("front", camera.url, {}),), ring_size="256MiB", block_size="2MiB")

    waits = _spread(runs)

    def ours() -> float:
        time.sleep(next(waits))
        began_ns = time.time_ns()
        home.start("record")
        try:
            home.wait_for("the recorder", lambda: _facts(home).get("last_record_ns", 0) > began_ns, _LIMIT_S)
        finally:
            home.stop()
        records = read_records(home, "front", UtcNs(began_ns), UtcNs(time.time_ns()))
        return (min(r.header.start_ns for r in records if r.header.kind is Kind.GOP) - began_ns) / 1e9

    try:
        found = alternate(runs, {"ours": ours})["ours"]
    finally:
        camera.close()
    return _row("start of the program → first picture recorded", found, START_GOAL_S)


def _measure_connection(folder: Path, rate: int, runs: int) -> Row:
    """Measure from the connection to the first keyframe that our own reader hands over."""
    footage, clock, waits = folder / f"{rate}.mp4", SystemClock(), _spread(runs)
    make_footage(footage, rate)
    camera = LoopCamera(footage)

    def ours() -> float:
        time.sleep(next(waits))
        began_s = time.monotonic()
        session = open_own_session(Endpoint(camera.url), clock, PacketLoss(clock))
        try:
            next(arrival for arrival in session.read() if arrival.is_keyframe)
            return time.monotonic() - began_s
        finally:
            session.close()

    try:
        found = alternate(runs, {"ours": ours})["ours"]
    finally:
        camera.close()
    return _row(f"connect → first keyframe, {rate} pictures/s", found, CONNECT_GOAL_S)


def _row(name: str, found: Series, goal_s: float) -> Row:
    """Hold the slowest run to the goal: the one that waited for a keyframe for longest."""
    note = f"the slowest; {found}, median {found.median:.2f}; {KEYFRAME_S:g} s of the goal are a keyframe's"
    return Row(name, max(found.values), goal_s + KEYFRAME_S, "s", note)


def _measure_event(folder: Path, footage: Path, runs: int) -> Row:
    camera = LoopCamera(footage)
    trigger = {"kind": "mqtt", "topic": _TOPIC, "for": "5s", "per_hour": 360}
    front = TrialCamera("front", camera.url, {}, extra={"record": "on_event", "triggers": [trigger]})

    begins_s: list[float] = []

    def theirs() -> float:
        time.sleep(next(their_waits))
        return _record_with_ffmpeg(folder, camera.url)

    def ours() -> float:
        home.wait_for("a camera at rest", lambda: _facts(home).get("state") == "waiting")
        time.sleep(next(our_waits))
        happened_ns, began_s = time.time_ns(), time.monotonic()
        tell()
        recorded_s = _wait_for_footage(home, happened_ns)
        records = read_records(home, "front", UtcNs(happened_ns), UtcNs(time.time_ns()))
        begins_s.append(min(r.header.start_ns for r in records if r.header.kind is Kind.GOP) / 1e9 - happened_ns / 1e9)
        return recorded_s - began_s

    with _broker(folder) as (port, tell):
        home = _start_home(folder, front, f"home_broker: {{host: {HOST}, port: {port}}}\n")
        try:
            # Told again until the child that listens has connected; the ring gets its first block by this.
            home.wait_for("the listener", lambda: (tell(), _facts(home))[1].get("state") == "recording")
            our_waits, their_waits = _spread(runs), _spread(runs)
            found = alternate(runs, {"ours": ours, "ffmpeg": theirs})
        finally:
            home.stop()
            camera.close()
    ratio = found["ours"].over(found["ffmpeg"])
    note = f"{ratio}; ours {found['ours'].median:.2f} s, and begins {statistics.median(begins_s):.2f} s after the event"
    return Row("event by MQTT → first GOP recorded ÷ ffmpeg started then", ratio.median, EVENT_GOAL, "", note)


def _measure_reboot(folder: Path, footage: Path, runs: int) -> Row:
    camera = LoopCamera(footage)
    home = _start_home(folder, TrialCamera("front", camera.url, {}))

    def ours() -> float:
        nonlocal camera
        home.wait_ready()
        camera.close()
        time.sleep(OUTAGE_S)
        camera = camera.start_again()
        answers_ns, began_s = time.time_ns(), time.monotonic()
        return _wait_for_footage(home, answers_ns) - began_s

    try:
        found = alternate(runs, {"ours": ours, "ffmpeg": lambda: _record_with_ffmpeg(folder, camera.url)})
    finally:
        home.stop()
        camera.close()
    note = f"{found['ours']}; limit: {BACK_S:g} s and then an ffmpeg, {found['ffmpeg'].median:.1f} s"
    name = f"{OUTAGE_S:.0f} s without power, camera answers → first GOP recorded"
    return Row(name, found["ours"].median, BACK_S + found["ffmpeg"].median, "s", note)


def _spread(runs: int) -> Iterator[float]:
    """Yield how long each run waits, so that they begin at different moments of the second between two keyframes."""
    for number in range(runs):
        yield (number / runs - time.monotonic()) % 1


def _start_home(folder: Path, camera: TrialCamera, more_config: str = "") -> TrialHome:
    home = create_home(folder / "home", (camera,), ring_size="256MiB", block_size="2MiB", more_config=more_config)
    home.start("record")
    home.wait_for("the recorder", lambda: _facts(home))
    return home


def _facts(home: TrialHome) -> dict[str, Any]:
    facts: dict[str, Any] = home.ask("recorder", "status")["cameras"].get("front.main", {})
    return facts


def _wait_for_footage(home: TrialHome, since_ns: int) -> float:
    """Wait until a GOP is stored that ends later than ``since_ns``; return when that was, by the monotonic clock."""
    home.wait_for("footage", lambda: _facts(home).get("last_record_ns", 0) > since_ns, _LIMIT_S)
    return time.monotonic()


def _record_with_ffmpeg(folder: Path, url: str) -> float:
    """Return the seconds from starting ffmpeg until its first GOP is in a file: it cuts at each keyframe."""
    out = folder / "segments"
    out.mkdir()
    words = ("-c", "copy", "-f", "segment", "-segment_time", "0.1", "-segment_format", "mpegts")
    began_s = time.monotonic()
    process = subprocess.Popen(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-an", *words, out / "%d.ts"]
    )
    try:
        while not (out / "1.ts").exists():
            if process.poll() is not None or time.monotonic() - began_s > _LIMIT_S:
                raise SystemExit("ffmpeg recorded nothing")
            time.sleep(_POLL_S)
        return time.monotonic() - began_s
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(out)


@contextmanager
def _broker(folder: Path) -> Iterator[tuple[int, Callable[[], object]]]:
    """Run the home's own broker; yield its port and what tells of an event there."""
    folder.mkdir()
    port, config = find_free_port(), folder / "mosquitto.conf"
    config.write_text(f"listener {port} {HOST}\nallow_anonymous true\n")
    process = start_mosquitto(find_mosquitto(), config, (port,))
    publisher = paho.Client(CallbackAPIVersion.VERSION2)
    try:
        publisher.connect(HOST, port)
        publisher.loop_start()
        yield port, partial(publisher.publish, _TOPIC, "ON", qos=1)
    finally:
        publisher.disconnect()
        publisher.loop_stop()
        process.terminate()
        process.wait(10)

"""The child that looks at pictures, with pictures of a simulated camera; and recording that waits for motion."""

import errno
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_agent.capture.event_window import EventGate
from edge_agent.capture.pictures import analyser
from edge_agent.capture.pictures.analyser import FIRST_SKIP_NS, HEALTH_EVERY_NS, WANTS_HEALTH, PictureWatch, StreamView
from edge_agent.capture.pictures.analyser_child import shrink_luma
from edge_agent.capture.pictures.health import shrink
from edge_agent.capture.recorded_stream import Look
from edge_agent.capture.session.interface import Endpoint
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs
from tests.capture.conftest import Recording, read_pictures, wait_until

pytestmark = pytest.mark.peer


class FastClock(SystemClock):
    """A clock twenty times as fast, so that a keyframe is due with every GOP."""

    def boot(self) -> MonoNs:
        return MonoNs(20 * super().boot())


@pytest.fixture
def watch() -> Iterator[PictureWatch]:
    watch = PictureWatch(FastClock())
    watch.start()
    yield watch
    watch.close()
    assert watch.child_pid is None


def view_of(name: str, number: int = 0) -> StreamView:
    return StreamView(number, name, looks_at_health=True, on_motion=None)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_health_of_a_cameras_pictures_is_seen(codec: str, watch: PictureWatch) -> None:
    """Keyframes of every codec are decoded; a picture that stands still is told, and its end too."""
    view = view_of("door.main")
    look = Look(partial(watch.offer, view))
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(codec, gop=5))) as camera,
        Recording(Endpoint(camera.url), look=look),
    ):
        wait_until(lambda: view.health is not None and view.health[0] == "ok")
        camera.fault("still")
        wait_until(lambda: view.health is not None and view.health[0] == "frozen")
        camera.fault("still", False)
        wait_until(lambda: view.health is not None and view.health[0] == "ok")


def test_killed_child_is_started_again_and_costs_no_recording(watch: PictureWatch) -> None:
    """The child's death interrupts the looking alone: one run, and later looks come from its successor."""
    view = view_of("door.main")
    look = Look(partial(watch.offer, view))
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=5))) as camera,
        Recording(Endpoint(camera.url), look=look) as recording,
    ):
        wait_until(lambda: view.health is not None)
        first = watch.child_pid
        assert first is not None
        assert os.getpriority(os.PRIO_PROCESS, first) == 19
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: watch.child_pid not in (None, first))
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 2)
    assert len(recording.sink.runs) == 1


def test_machine_that_is_full_for_once_does_not_end_the_looking(
    monkeypatch: pytest.MonkeyPatch, watch: PictureWatch
) -> None:
    """No process can be started at the first keyframe: the next child looks, and motion can be seen again."""
    real, calls = subprocess.Popen, list[object]()

    def start(*args: Any, **options: Any) -> Any:
        if args[0] == analyser._CHILD:
            calls.append(args)
            if len(calls) == 1:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    view = view_of("door.main")
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=5))) as camera,
        Recording(Endpoint(camera.url), look=Look(partial(watch.offer, view))),
    ):
        wait_until(lambda: view.health is not None, 20)


def test_child_that_decodes_strangers_pictures_is_confined(watch: PictureWatch) -> None:
    """It has no privilege to gain, can open nothing, has one thread (Landlock binds no other) and no environment."""
    view = view_of("door.main")
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=5))) as camera,
        Recording(Endpoint(camera.url), look=Look(partial(watch.offer, view))),
    ):
        wait_until(lambda: view.health is not None)
        child = Path(f"/proc/{watch.child_pid}")
        wait_until(lambda: len(list((child / "task").iterdir())) == 1)  # a library's may be about to end
        facts = dict(line.split(":", 1) for line in (child / "status").read_text().splitlines())
        limits = (child / "limits").read_text()
        assert (facts["NoNewPrivs"].strip(), facts["Threads"].strip()) == ("1", "1")
        assert re.search(r"Max open files +0 +0", limits)
        assert re.search(r"Max file size +0 +0", limits)
        names = {entry.partition(b"=")[0] for entry in (child / "environ").read_bytes().split(b"\0")}
        assert names <= {b"OPENBLAS_NUM_THREADS", b"LC_CTYPE", b""}


def test_child_that_looks_at_pictures_holds_little_memory(watch: PictureWatch) -> None:
    """Between two looks it has given back what loading its libraries and decoding took: less than 60 MB, of 90."""
    view = view_of("door.main")

    def pss_mb() -> float:
        rollup = Path(f"/proc/{watch.child_pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1000

    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=5))) as camera,
        Recording(Endpoint(camera.url), look=Look(partial(watch.offer, view))),
    ):
        wait_until(lambda: view.health is not None)
        wait_until(lambda: pss_mb() < 60)


def test_hanging_child_blocks_no_camera(watch: PictureWatch) -> None:
    """While the child is stopped, keyframes are dropped; nobody waits for it, and nothing piles up."""
    view, clock = view_of("door.main"), SystemClock()
    watch.offer(view, "mjpeg", b"", b"no picture")
    wait_until(lambda: watch.child_pid is not None)
    assert watch.child_pid is not None
    os.kill(watch.child_pid, signal.SIGSTOP)
    began = clock.boot()
    views = [view_of(f"cam{number}.main", number) for number in range(1, 9)]
    for _ in range(50):
        for each in views:
            watch.offer(each, "mjpeg", b"", bytes(1 << 20))
    assert clock.boot() - began < SECOND_NS


def test_view_over_which_the_child_fell_is_left_alone() -> None:
    """A stream whose picture kills the child is not looked at for a minute, then two, up to an hour."""
    view, now = view_of("door.main"), MonoNs(MINUTE_NS)
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        assert view.wants(now) == WANTS_HEALTH
        view.skip(now)
        assert view.wants(MonoNs(now + minutes * FIRST_SKIP_NS - 1)) == 0
        now = MonoNs(now + minutes * FIRST_SKIP_NS)
    view.note_sent(WANTS_HEALTH, now)
    assert view.wants(MonoNs(now + HEALTH_EVERY_NS - 1)) == 0


def test_motion_opens_a_camera_that_was_only_watched(watch: PictureWatch) -> None:
    """The session is open and nothing is recorded until something moves; then the moment before is recorded too."""
    clock, gate = SystemClock(), EventGate()
    moved: list[float] = []

    def on_motion(percent: float) -> None:
        moved.append(percent)
        if percent >= 0.5:
            gate.fire(clock.boot(), 4 * SECOND_NS)

    view = StreamView(0, "door.main", looks_at_health=False, on_motion=on_motion)
    look = Look(partial(watch.offer, view), keeps_open=True, before_ns=2 * SECOND_NS)
    with SimulatedCamera() as camera:
        camera.fault("still")
        hold = lambda: "" if gate.is_open(clock.boot()) else "not-by-rule"  # noqa: E731
        with Recording(Endpoint(camera.url), hold=hold, look=look) as recording:
            wait_until(lambda: recording.status.state == "waiting" and len(moved) > 3)
            assert camera.has_players()
            assert not recording.sink.gops
            moved_at = clock.utc()
            camera.fault("still", False)
            recording.wait_for_gops(3)
            camera.fault("still")
            wait_until(lambda: recording.status.state == "waiting")
            assert camera.has_players()
    assert recording.sink.gops[0].start_ns < moved_at
    assert {gap.reason for gap in recording.sink.gaps} <= {"not-by-rule", "connecting", "recorder-stopped", "stalled"}
    assert read_pictures(recording.sink.gops)


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "yuv422p", "yuv420p10le", "gray"])
@pytest.mark.parametrize("width", [640, 642], ids=["rows without padding", "rows with padding"])
def test_luma_is_as_ffmpeg_converts_it(form: str, width: int) -> None:
    """Whatever the form of a picture and the range of its luma: black is 0 and white is 255."""
    shades = np.linspace(0, 255, width, dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(np.tile(shades, (360, 1)), format="gray").reformat(format=form)
    expected = shrink(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
    seen = shrink_luma(frame)
    assert seen.shape == expected.shape
    assert np.abs(seen.astype(int) - expected.astype(int)).max() <= 2
    assert (seen.min(), seen.max()) == (expected.min(), expected.max())

"""A camera thread against the misbehaving camera: one real RTSP session for each thing that cameras do."""

import gc
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edge_agent.capture import camera as camera_module
from edge_agent.capture.event_window import EventGate
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.recorded_stream import Look
from edge_agent.capture.rtsp.session import OwnSession
from edge_agent.capture.run.open_run import Run, RunBreakError
from edge_agent.capture.run.records import Gap, Gop
from edge_agent.capture.session import reader
from edge_agent.capture.session.ffmpeg_process import ProcessSession
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.opening import open_session
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.session.reader import Feed
from edge_agent.capture.status import list_warnings
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.rtsp_login import Account
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from edge_agent.media.commitments import Track, Unit, open_payload, record_commitment
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, ClockState, MonoNs, UtcNs

from .conftest import (
    ON_EACH_READER,
    READER,
    MemorySink,
    Recording,
    read_pictures,
    running_hub,
    unpack,
    wait_until,
    with_reader,
)

pytestmark = [pytest.mark.peer, pytest.mark.slow, *ON_EACH_READER]

GOP = 8
"""Of half a second: the tests wait for GOPs most of their time."""
QUICK = CameraSettings(live=LiveSettings(gop=GOP))
WATCHDOG_NS = 2 * SECOND_NS

LIVE = {
    "h264 over tcp": (LiveSettings(gop=GOP), "tcp"),
    "h264 over udp": (LiveSettings(gop=GOP), "udp"),
    "h264 with long GOPs": (LiveSettings(fps=10, gop=25), "tcp"),
    "h264 with B-frames": (LiveSettings(gop=GOP, bframes=2), "tcp"),
    "h265": (LiveSettings("hevc", gop=GOP), "tcp"),
    "h265 with B-frames": (LiveSettings("hevc", gop=GOP, bframes=2), "udp"),
    "mjpeg": (LiveSettings("mjpeg", gop=GOP), "tcp"),
    "h264 and aac": (LiveSettings(gop=GOP, audio="aac"), "tcp"),
    "h264 and G.711": (LiveSettings(gop=GOP, audio="pcm_mulaw"), "udp"),
    "h264 and opus": (LiveSettings(gop=GOP, audio="opus"), "tcp"),
}
ENCODER_DELAY_NS = 600_000_000
"""What an encoder with B-frames keeps back; no gateway can know it from arrivals."""


def endpoint(camera: SimulatedCamera, **options: object) -> Endpoint:
    return with_reader(Endpoint(camera.url, **options))  # type: ignore[arg-type]


def spans(sink: MemorySink) -> list[tuple[int, int]]:
    timed = [record for record in sink.records if isinstance(record, Gop | Gap)]
    return sorted((record.start_ns, record.start_ns + record.duration_ns) for record in timed)


def assert_tiled(sink: MemorySink) -> None:
    """Footage and gaps follow each other without hole or overlap."""
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans(sink)))


def reasons(sink: MemorySink) -> set[str]:
    return {gap.reason for gap in sink.gaps}


@pytest.mark.parametrize(("live", "transport"), LIVE.values(), ids=LIVE.keys())
def test_every_picture_is_recorded_and_timed(live: LiveSettings, transport: str) -> None:
    """No picture is missing between the first and the last, and each is timed to within one picture's length."""
    with (
        SimulatedCamera(CameraSettings(live=live)) as camera,
        Recording(endpoint(camera, transport=transport, audio=True)) as recording,
    ):
        recording.wait_for_gops(4)
    # The last record ends where the test stopped: pictures that lead its keyframe may be missing.
    pictures = read_pictures(recording.sink.gops[:-1])
    step_ns = SECOND_NS // live.fps
    assert {round((b - a) / step_ns) for (_, a), (_, b) in itertools.pairwise(pictures)} == {1}
    allowed_ns = step_ns + (ENCODER_DELAY_NS if live.bframes else 0)
    late = [ring - pixels for ring, pixels in pictures]
    assert -step_ns <= min(late)
    assert max(late) <= allowed_ns
    # Late by the same for every picture, the session's first one included.
    assert max(late) - min(late) < step_ns
    assert_tiled(recording.sink)


@pytest.mark.parametrize("audio", ["", "aac", "pcm_alaw", "opus"])
def test_commitment_covers_what_the_payload_holds(audio: str) -> None:
    """A reader of the NUT file computes the commitment that was made while recording."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=GOP, audio=audio))) as camera,
        Recording(endpoint(camera, audio=True)) as recording,
    ):
        recording.wait_for_gops(2)
    for gop in recording.sink.gops:
        tracks, packets = unpack(gop)
        assert len(tracks) == (2 if audio else 1)
        described = [Track(track.index, track.codec, track.time_base, track.extradata) for track in tracks]
        units = [Unit(packet.track, packet.pts, packet.data) for packet in packets]
        assert record_commitment(open_payload(gop.payload)[0], described, units) == gop.commitment


def test_audio_is_not_asked_for_unless_it_is_wanted() -> None:
    """Without ``audio`` the camera's sound is never set up."""
    with SimulatedCamera(CameraSettings(live=LiveSettings(gop=GOP, audio="aac"))) as camera:
        with Recording(endpoint(camera)) as recording:
            recording.wait_for_gops(1)
        assert {len(unpack(gop)[0]) for gop in recording.sink.gops} == {1}


def test_session_is_recorded_from_its_first_picture_on() -> None:
    """The keyframe that the camera makes for a new session is footage: it is the only one for a minute."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=60 * 15))) as camera,
        Recording(endpoint(camera)) as recording,
    ):
        recording.wait_for_gops(2)
    assert [gop.continues for gop in recording.sink.gops[:2]] == [False, True]
    assert_tiled(recording.sink)


DOWN = {
    "unauthorized": ("unauthorized", "status=401"),
    "not-found": ("not-found", "status=404"),
    "busy": ("busy", "status=453"),
    "not-now": ("refused", "status=455"),
    "no-tcp": ("transport-refused", "status=461"),
    "sha256-only": ("digest-sha256-only", ""),
    "md5-then-sha256": ("digest-sha256-only", ""),
    "other-transport": ("transport-refused", "it sets up another one than it was asked for"),
    "wrong-codec": ("unsupported-codec", "codec=THEORA"),
    "mute": ("no-answer", ""),
    "reboot": ("no-answer", ""),
}


@pytest.mark.parametrize(("fault", "reason", "detail"), [(fault, *told) for fault, told in DOWN.items()])
def test_refusals_are_told_apart(fault: str, reason: str, detail: str) -> None:
    """Each way to be refused has its own reason in the status, what is known besides, and no word of the password."""
    if READER.get() == "own" and reason == "digest-sha256-only":
        pytest.xfail("our own reader can answer that")
    account = Account("owner", "secret-word")
    with SimulatedCamera(CameraSettings(live=QUICK.live, account=account)) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, username="owner", password="secret-word")) as recording:
            wait_until(lambda: recording.status.state == "down")
            told = recording.status.snapshot()
    assert (told["reason"], told["detail"]) == (reason, detail)


@pytest.mark.parametrize("fault", ["sha256-then-md5", "stale-nonce", "sha256-only", "md5-then-sha256"])
def test_login_of_many_offers_is_taken(fault: str) -> None:
    """The best Digest offer is found among others, and a nonce that has become stale is answered anew."""
    if READER.get() == "ffmpeg" and DOWN.get(fault):
        pytest.xfail("FFmpeg cannot answer that")
    account = Account("owner", "secret-word")
    with SimulatedCamera(CameraSettings(live=QUICK.live, account=account)) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, username="owner", password="secret-word")) as recording:
            recording.wait_for_gops(1)
        assert not camera.wrong_logins


@pytest.mark.parametrize("fault", ["unauthorized", "sha256-only", "md5-then-sha256"])
def test_wrong_password_is_told_as_that_after_one_try(fault: str) -> None:
    """Whatever a camera offers: a password that it refuses is wrong, and was sent once."""
    account = Account("owner", "secret-word")
    with SimulatedCamera(CameraSettings(live=QUICK.live, account=account)) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, username="owner", password="another")) as recording:
            wait_until(lambda: recording.status.snapshot()["reason"] == "unauthorized")
        assert camera.wrong_logins == 1


def test_slow_bridge_is_waited_for() -> None:
    """A bridge that wakes its camera for longer than is usual is recorded if the endpoint gives it the time."""
    with SimulatedCamera(QUICK) as camera:
        camera.fault("slow-open")
        with Recording(endpoint(camera, open_timeout_s=30)) as recording:
            recording.wait_for_gops(1, 40)


SOUNDS = {
    "not known": ("unknown-sound", "pcm_alaw", "not known here (codec=g726"),
    "not offered": ("drift", "", "the camera offers none"),
    "not sent": ("silent-audio", "aac", "none has come"),
}


@pytest.mark.parametrize(("fault", "audio", "words"), SOUNDS.values(), ids=SOUNDS.keys())
def test_sound_that_is_not_recorded_is_told(fault: str, audio: str, words: str) -> None:
    """Where sound is wanted and none can be recorded, the status says why; the pictures are recorded."""
    with SimulatedCamera(CameraSettings(live=LiveSettings(gop=GOP, audio=audio))) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, audio=True)) as recording:
            recording.wait_for_gops(2)
            wait_until(lambda: any(words in each.lower() for each in list_warnings(recording.status.snapshot())), 30)
            camera.fault(fault, False)
            if fault == "silent-audio":
                wait_until(lambda: not recording.status.snapshot()["silence"])
    assert_tiled(recording.sink)


def test_repeated_refusal_keeps_its_reason() -> None:
    """The second and third time that a camera is busy are told as the first."""
    with SimulatedCamera(QUICK) as camera:
        camera.fault("busy")
        told = []
        for _ in range(3):
            with pytest.raises(CaptureError) as raised:
                open_session(endpoint(camera), SystemClock(), PacketLoss(SystemClock()))
            told.append((raised.value.reason, raised.value.detail))
    assert told == [("busy", "status=453")] * 3


def test_detail_ends_with_its_reason() -> None:
    """A camera that is recorded again shows nothing of why it was down."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        camera.fault("busy")
        camera.drop_clients()
        wait_until(lambda: recording.status.snapshot()["detail"] == "status=453")
        camera.fault("busy", False)
        wait_until(lambda: recording.status.state == "recording")
        assert recording.status.snapshot()["detail"] == ""


def test_reboot_is_survived_and_told() -> None:
    """A camera that goes away and comes back leaves a GAP of just that length, and footage after it."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        recording.wait_for_gops(2)
        camera.fault("reboot")
        wait_until(lambda: recording.status.state == "down")
        camera.fault("reboot", False)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 2)
    assert_tiled(recording.sink)
    assert reasons(recording.sink) <= {"connecting", "ended", "no-answer", "unreachable", "stalled"}
    assert len(recording.sink.runs) == 2


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_watchdog_ends_a_session_without_pictures(transport: str) -> None:
    """A session that is up and silent is given up, told as stalled, and opened again."""
    with (
        SimulatedCamera(QUICK) as camera,
        Recording(endpoint(camera, transport=transport), watchdog_ns=WATCHDOG_NS) as recording,
    ):
        recording.wait_for_gops(1)
        camera.fault("frozen")
        wait_until(lambda: recording.status.snapshot()["reason"] == "stalled")
        camera.fault("frozen", False)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 2)
    assert_tiled(recording.sink)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_session_that_began_without_a_picture_is_recorded(codec: str) -> None:
    """A session that is opened while the camera sends nothing has no picture size: the first keyframe tells it."""
    with SimulatedCamera(CameraSettings(live=LiveSettings(codec, gop=GOP))) as camera:
        camera.fault("frozen")
        with Recording(endpoint(camera)) as recording:
            wait_until(camera.has_players)
            wait_seconds(3)
            camera.fault("frozen", False)
            recording.wait_for_gops(2)
            assert recording.status.snapshot()["width"] == 320
    assert read_pictures(recording.sink.gops)
    assert_tiled(recording.sink)
    assert "internal-error" not in reasons(recording.sink)


def test_sound_does_not_feed_the_watchdog() -> None:
    """Audio that goes on while the video track is dead does not keep the session."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=GOP, audio="pcm_alaw"))) as camera,
        Recording(endpoint(camera, audio=True), watchdog_ns=WATCHDOG_NS) as recording,
    ):
        recording.wait_for_gops(1)
        camera.fault("frozen-video")
        wait_until(lambda: recording.status.snapshot()["reason"] == "stalled")


def test_burst_after_a_stall_keeps_its_times() -> None:
    """Pictures that were held back for three seconds and then came at once are timed as they were taken."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        recording.wait_for_gops(3)
        camera.fault("burst")
        wait_seconds(3)
        camera.fault("burst", False)
        recording.wait_for_gops(8)
    step_ns = SECOND_NS // 15
    assert "time-jump" not in {gap.reason for gap in recording.sink.gaps}
    assert all(abs(ring - pixels) <= step_ns for ring, pixels in read_pictures(recording.sink.gops))


def wait_seconds(seconds: int) -> None:
    """Let the camera go on for a while."""
    started = SystemClock().boot()
    wait_until(lambda: SystemClock().boot() - started > seconds * SECOND_NS)


def hesitate(camera: SimulatedCamera, seconds: int) -> None:
    """Let the camera stop in the middle of an access unit, and go on after so long."""
    camera.fault("hesitate")
    wait_seconds(seconds)
    camera.fault("hesitate", False)


def test_hesitation_in_the_middle_of_a_picture_costs_nothing() -> None:
    """A Wi-Fi that stops for seconds within a packet, again and again, loses no picture and moves no time."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        recording.wait_for_gops(3)
        for seconds in (1, 2, 1):
            hesitate(camera, seconds)
            recording.wait_for_gops(len(recording.sink.gops) + 4)
    pictures = read_pictures(recording.sink.gops)
    step_ns = SECOND_NS // 15
    assert {round((b - a) / step_ns) for (_, a), (_, b) in itertools.pairwise(pictures)} == {1}
    assert all(abs(ring - pixels) <= step_ns for ring, pixels in pictures)
    assert len(recording.sink.runs) == 1


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_session_that_hesitates_for_too_long_is_given_up(codec: str) -> None:
    """Where a read is given up in the middle of a picture, nothing of it is recorded and nothing read on from there."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(codec, gop=GOP))) as camera,
        Recording(endpoint(camera), watchdog_ns=WATCHDOG_NS) as recording,
    ):
        recording.wait_for_gops(2)
        hesitate(camera, 3)
        wait_until(lambda: len(recording.sink.runs) == 2)
        recording.wait_for_gops(len(recording.sink.gops) + 2)
    step_ns = SECOND_NS // 15
    for gop in recording.sink.gops:
        assert all(abs(ring - pixels) <= step_ns for ring, pixels in read_pictures([gop]))
    assert "stalled" in reasons(recording.sink)
    assert_tiled(recording.sink)


def test_camera_that_is_silent_holds_up_nobody() -> None:
    """While FFmpeg waits for a picture the ring is synced, and the thread ends at once and stores what it has."""
    with SimulatedCamera(QUICK) as camera:
        recording = Recording(endpoint(camera))
        recording.thread.start(running_hub())
        recording.wait_for_gops(2)
        camera.fault("frozen")
        ticks = recording.sink.ticks
        wait_until(lambda: recording.sink.ticks >= ticks + 4)
        recording.stop.set()
        recording.thread.join(2)
        stored = [unpack(gop)[1] for gop in recording.sink.gops]
        assert sum(map(len, stored)) > 2 * GOP
        assert not [each for each in threading.enumerate() if each.name == "camera-door.main"]
        camera.close()
        assert recording.thread.join(5)


def test_session_that_nobody_wants_any_more_is_not_opened() -> None:
    """Orders that were given up while the feed waited in a silent session cost the one that is wanted no time."""
    clock = SystemClock()
    with SimulatedCamera(QUICK) as camera:
        feed = Feed("door.main", clock, PacketLoss(clock), 10.0)
        lines = [feed.order(endpoint(camera), lambda: "") for _ in range(5)]
        for line in lines[:-1]:
            line.release()
        feed.start(running_hub())
        wait_until(lambda: lines[-1].wait_open() is not None)
        opened = camera.requests
        lines[-1].release()
        feed.close()
        assert feed.join(5)
    assert opened <= 5, "one session of OPTIONS, DESCRIBE, SETUP and PLAY"


class StuckSink(MemorySink):
    """A disk that does not answer while ``stuck`` is set; ``waits`` tells that somebody has asked it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck, self.waits = threading.Event(), threading.Event()

    def gop(self, gop: Gop) -> None:
        while self.stuck.is_set():
            self.waits.set()
            wait_until(lambda: not self.stuck.is_set(), 30)
        super().gop(gop)


class DueSink(MemorySink):
    """Wants every record synced soon after it; ``synced`` tells that it was asked when it was due."""

    def __init__(self) -> None:
        super().__init__()
        self.synced = threading.Event()

    def gop(self, gop: Gop) -> None:
        super().gop(gop)
        self.sync_due = MonoNs(SystemClock().boot() + SECOND_NS // 5)

    def tick(self) -> None:
        super().tick()
        if self.sync_due is not None and SystemClock().boot() >= self.sync_due:
            self.sync_due = None
            self.synced.set()


def test_sync_is_asked_for_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """FORMAT 7.2: a camera that falls silent does not keep what it sent before from the disk."""
    monkeypatch.setattr(reader, "POLL_S", 60.0)
    monkeypatch.setattr(reader, "_BEGINNING_POLL_S", 60.0)
    sink = DueSink()
    # Longer than the test: nothing else wakes the thread.
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera), sink=sink, watchdog_ns=MINUTE_NS) as recording:
        recording.wait_for_gops(1)
        camera.fault("frozen")
        wait_seconds(2)
        sink.synced.clear()
        sink.sync_due = MonoNs(0)
        recording.thread.notice_stop()  # wakes it once, so that it sees what is due
        assert sink.synced.wait(10)
        sink.synced.clear()
        sink.sync_due = MonoNs(SystemClock().boot() + SECOND_NS)
        recording.thread.notice_stop()
        assert sink.synced.wait(20)


def test_what_has_arrived_when_recording_stops_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a reload or an update the pictures in the queue are stored, not forgotten."""
    monkeypatch.setattr(reader, "POLL_S", 60.0)
    monkeypatch.setattr(reader, "_LIES_NS", MINUTE_NS)
    live = LiveSettings(fps=10, gop=300)  # no keyframe after the first wakes the thread
    with SimulatedCamera(CameraSettings(live=live)) as camera, Recording(endpoint(camera)) as recording:
        wait_until(lambda: recording.status.state == "recording")
        wait_seconds(6)
    assert sum(gop.duration_ns for gop in recording.sink.gops) > 5 * SECOND_NS


ORDERS = {"the pause ends first": ("resume", "answer"), "the disk answers first": ("answer", "resume")}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_pause_while_the_disk_is_stuck_is_kept(order: tuple[str, str]) -> None:
    """What the camera sent while the owner had paused recording is not recorded when the disk answers again.

    It is told as a pause from its beginning to its end, and what came before it is recorded.
    """
    paused, sink, clock = threading.Event(), StuckSink(), SystemClock()
    acts = {"resume": paused.clear, "answer": sink.stuck.clear}
    with (
        SimulatedCamera(QUICK) as camera,
        Recording(endpoint(camera), hold=lambda: "paused" if paused.is_set() else "", sink=sink) as recording,
    ):
        recording.wait_for_gops(2)
        sink.stuck.set()
        wait_until(sink.waits.is_set)
        wait_seconds(1)
        paused.set()
        begun = clock.utc()
        wait_seconds(3)
        moments = {}
        for act in order:
            moments[act] = clock.utc()
            acts[act]()
            wait_seconds(2)
        wait_until(lambda: any(gop.start_ns > max(moments.values()) for gop in sink.gops))
    ended = moments["resume"]
    pictures = [pixels for gop in sink.gops for _, pixels in read_pictures([gop])]
    assert not [at for at in pictures if begun + SECOND_NS // 2 < at < ended]
    assert [at for at in pictures if begun - SECOND_NS < at < begun]
    pauses = [gap for gap in sink.gaps if gap.reason == "paused"]
    assert abs(min(gap.start_ns for gap in pauses) - begun) < SECOND_NS
    assert abs(max(gap.start_ns + gap.duration_ns for gap in pauses) - ended) < SECOND_NS
    assert reasons(sink) == {"connecting", "paused"}
    assert_tiled(sink)


def test_no_gap_is_told_over_what_waits_for_the_disk() -> None:
    """A jump while the disk does not answer: what came after it is footage, at its own time, and no hole."""
    sink = StuckSink()
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera), sink=sink) as recording:
        recording.wait_for_gops(2)
        sink.stuck.set()
        wait_seconds(2)
        camera.fault("jump")
        wait_seconds(11)
        sink.stuck.clear()
        recording.wait_for_gops(len(sink.gops) + 4)
    assert_tiled(sink)
    assert all(abs(ring - pixels) <= SECOND_NS // 15 for ring, pixels in read_pictures(sink.gops))


def test_session_that_ended_holds_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    """What a session had is given back when it ends, not when a collector comes by: sessions end for months."""
    caplog.set_level("CRITICAL")  # pytest keeps what is logged, and the errors in it
    gc.collect()
    gc.disable()
    try:
        with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
            for sessions in range(1, 4):
                wait_until(lambda sessions=sessions: len(recording.sink.runs) == sessions)
                camera.drop_clients()
            recording.sink.records.clear()
            wait_until(lambda: bool(recording.sink.gops))
            held = sum(isinstance(each, ProcessSession | OwnSession) for each in gc.get_objects())
    finally:
        gc.enable()
    assert held == 1


def test_backwards_dts_is_put_right() -> None:
    """Pictures that carry an old time stay in the record, in their place."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        camera.fault("backwards-dts")
        recording.wait_for_gops(5)
    step_ns = SECOND_NS // 15
    pictures = read_pictures(recording.sink.gops)
    assert {round((b - a) / step_ns) for (_, a), (_, b) in itertools.pairwise(pictures)} == {1}
    assert all(abs(ring - pixels) <= step_ns for ring, pixels in pictures)
    assert recording.status.snapshot()["repaired_pts"] > 0


def test_jump_of_the_cameras_time_begins_a_run() -> None:
    """RTP time that jumps by an hour ends the run; the next pictures have the right UTC."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        recording.wait_for_gops(2)
        camera.fault("jump")
        wait_until(lambda: len(recording.sink.runs) == 2)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 2)
    assert all(abs(ring - pixels) <= SECOND_NS // 15 for ring, pixels in read_pictures(recording.sink.gops))
    assert_tiled(recording.sink)


@pytest.mark.parametrize("codec", ["mjpeg"])
def test_jump_costs_no_picture_that_can_stand_alone(codec: str) -> None:
    """The picture at which a run ends begins the next one."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(codec))) as camera,
        Recording(endpoint(camera)) as recording,
    ):
        recording.wait_for_gops(2)
        camera.fault("jump")
        wait_until(lambda: len(recording.sink.runs) == 2)
        recording.wait_for_gops(len(recording.sink.gops) + 2)
    pictures = [pixels for gop in recording.sink.gops for _, pixels in read_pictures([gop])]
    assert {round((b - a) / (SECOND_NS // 15)) for a, b in itertools.pairwise(pictures)} == {1}


def test_run_that_broke_far_from_a_keyframe_is_followed_by_another_session() -> None:
    """A camera that makes keyframes for new sessions only is recorded again after a jump."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(gop=60 * 15))) as camera,
        Recording(endpoint(camera), watchdog_ns=WATCHDOG_NS) as recording,
    ):
        recording.wait_for_gops(2)
        camera.fault("jump")
        wait_until(lambda: len(recording.sink.runs) == 2)
        recording.wait_for_gops(len(recording.sink.gops) + 1)
    assert "time-jump" in reasons(recording.sink)
    assert_tiled(recording.sink)


def test_silence_within_a_session_is_a_hole() -> None:
    """A camera that sends nothing for four seconds and then goes on has no footage of them."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        recording.wait_for_gops(3)
        camera.fault("frozen")
        wait_seconds(4)
        camera.fault("frozen", False)
        recording.wait_for_gops(len(recording.sink.gops) + 3)
    (hole,) = [gap for gap in recording.sink.gaps if gap.duration_ns > SECOND_NS]
    assert hole.reason == "stalled"
    assert 3.5 * SECOND_NS < hole.duration_ns < 4.5 * SECOND_NS
    assert max(gop.duration_ns for gop in recording.sink.gops) <= 2 * SECOND_NS
    assert_tiled(recording.sink)


def test_jump_just_before_an_event_costs_nothing_of_what_came_before_it() -> None:
    """What was kept in memory is recorded as two runs."""
    held = threading.Event()
    look = Look(lambda *_: None, keeps_open=True, before_ns=20 * SECOND_NS)
    with SimulatedCamera(QUICK) as camera:
        recording = Recording(endpoint(camera), hold=lambda: "" if held.is_set() else "not-by-rule", look=look)
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            wait_seconds(3)
            camera.fault("jump")
            wait_seconds(3)
            event = SystemClock().utc()
            held.set()
            wait_until(lambda: len(recording.sink.runs) == 2)
            recording.wait_for_gops(len(recording.sink.gops) + 2)
    before = sum(gop.duration_ns for gop in recording.sink.gops if gop.start_ns < event)
    assert before > 4 * SECOND_NS
    assert_tiled(recording.sink)


def test_event_without_a_keyframe_is_no_rule() -> None:
    """What is missing from the event on, until a picture can be decoded, is not told as left out by rule."""
    held = threading.Event()
    look = Look(lambda *_: None, keeps_open=True, before_ns=20 * SECOND_NS)
    with SimulatedCamera(QUICK) as camera:
        camera.fault("no-keyframes")
        with Recording(
            endpoint(camera), hold=lambda: "" if held.is_set() else "not-by-rule", look=look, watchdog_ns=60 * SECOND_NS
        ) as recording:
            wait_until(lambda: recording.status.state == "waiting")
            wait_seconds(1)  # the thread has that state to come to: an event of that very moment began before it
            event = SystemClock().utc()
            held.set()
            wait_seconds(3)
            camera.fault("no-keyframes", False)
            recording.wait_for_gops(1)
    missing = [gap for gap in recording.sink.gaps if gap.start_ns >= event]
    assert {gap.reason for gap in missing} == {"no-keyframe"}
    assert sum(gap.duration_ns for gap in missing) > SECOND_NS
    assert_tiled(recording.sink)


def test_watched_camera_without_a_keyframe_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing can be recorded of it at an event: it is down, and stays so, for its owner to hear."""
    caplog.set_level(logging.INFO)
    look = Look(lambda *_: None, keeps_open=True, before_ns=0)
    with SimulatedCamera(QUICK) as camera:
        camera.fault("no-keyframes")
        with Recording(endpoint(camera), hold=lambda: "not-by-rule", look=look, watchdog_ns=3 * SECOND_NS) as recording:
            wait_until(lambda: recording.status.state == "down", 20)
            wait_seconds(5)
            assert recording.status.snapshot()["reason"] == "no-keyframe"
            camera.fault("no-keyframes", False)
            wait_until(lambda: recording.status.state == "waiting", 20)
    assert len([each for each in caplog.messages if "camera is down" in each]) == 1
    assert len(recording.sink.gaps) < 6
    assert_tiled(recording.sink)


def test_break_in_an_event_costs_the_next_one_nothing() -> None:
    """A jump of the camera's clock, long past and recorded: the next event begins with what was before it."""
    held = threading.Event()
    look = Look(lambda *_: None, keeps_open=True, before_ns=5 * SECOND_NS)
    with SimulatedCamera(QUICK) as camera:
        recording = Recording(
            endpoint(camera), hold=lambda: "" if held.is_set() else "not-by-rule", look=look, watchdog_ns=4 * SECOND_NS
        )
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            held.set()
            recording.wait_for_gops(2)
            camera.fault("jump")
            wait_until(lambda: len(recording.sink.runs) == 2)
            recording.wait_for_gops(len(recording.sink.gops) + 2)
            held.clear()
            wait_seconds(8)
            event = SystemClock().utc()
            held.set()
            wait_seconds(6)
    assert any(event - 6 * SECOND_NS < gop.start_ns < event - 2 * SECOND_NS for gop in recording.sink.gops)
    assert "stalled" not in reasons(recording.sink)
    assert_tiled(recording.sink)


def test_session_of_which_no_event_can_be_recorded_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs break at once, and no event lasts for a watchdog's time: the next one finds another session."""
    is_bad, held = threading.Event(), threading.Event()

    class BadRun(Run):
        def push(self, *given: Any) -> None:
            if is_bad.is_set():
                raise RunBreakError("no-parameter-sets", "none in this session")
            super().push(*given)

    monkeypatch.setattr(camera_module, "Run", BadRun)
    look = Look(lambda *_: None, keeps_open=True, before_ns=0)
    with SimulatedCamera(QUICK) as camera:
        recording = Recording(endpoint(camera), hold=lambda: "" if held.is_set() else "not-by-rule", look=look)
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            is_bad.set()
            held.set()
            wait_seconds(2)
            held.clear()
            wait_until(lambda: recording.status.state == "down")
            assert recording.status.snapshot()["reason"] == "no-parameter-sets"
            is_bad.clear()
            wait_until(lambda: recording.status.state == "waiting")
            held.set()
            recording.wait_for_gops(2)
    assert_tiled(recording.sink)


def test_break_that_was_recorded_through_is_no_fault_of_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event begins while the last record of the one before is stored, long after a clock step in that one."""
    breaks, held, again = threading.Event(), threading.Event(), threading.Event()

    class StepRun(Run):
        def push(self, *given: Any) -> None:
            if breaks.is_set() and self.records:
                breaks.clear()
                raise RunBreakError("clock-step", "by_ns=1")
            super().push(*given)

        def finish(self) -> None:
            super().finish()
            if again.is_set():
                again.clear()
                held.set()

    monkeypatch.setattr(camera_module, "Run", StepRun)
    look = Look(lambda *_: None, keeps_open=True, before_ns=0)
    with SimulatedCamera(QUICK) as camera:
        recording = Recording(
            endpoint(camera), hold=lambda: "" if held.is_set() else "not-by-rule", look=look, watchdog_ns=2 * SECOND_NS
        )
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            held.set()
            recording.wait_for_gops(2)
            breaks.set()
            wait_until(lambda: len(recording.sink.runs) == 2)
            recording.wait_for_gops(len(recording.sink.gops) + 6)  # for longer than a watchdog
            again.set()
            held.clear()
            wait_until(lambda: len(recording.sink.runs) == 3)
            recording.wait_for_gops(len(recording.sink.gops) + 2)
            assert recording.status.state == "recording"
    assert len([gap for gap in recording.sink.gaps if gap.reason == "clock-step"]) <= 1


class BlockedSink(MemorySink):
    """A ring whose disk hangs for a while, once."""

    blocked_s = 0.0

    def gop(self, gop: Gop) -> None:
        blocked_s, self.blocked_s = self.blocked_s, 0.0
        wait_seconds(blocked_s)
        super().gop(gop)


@pytest.mark.parametrize("keeps_open", [True, False])
def test_disk_that_hangs_as_an_event_ends_costs_nothing_of_it(keeps_open: bool) -> None:
    """By when the pictures came, not by when the disk took them: all of the event, and not much more."""
    clock, gate, sink = SystemClock(), EventGate(), BlockedSink()
    look = Look(lambda *_: None, keeps_open=keeps_open, before_ns=0)
    with SimulatedCamera(QUICK) as camera:
        recording = Recording(
            endpoint(camera), hold=lambda: "" if gate.is_open(clock.boot()) else "not-by-rule", look=look, sink=sink
        )
        with recording:
            wait_until(lambda: recording.status.state == "waiting")
            wait_seconds(3)
            gate.fire(clock.boot(), 10 * SECOND_NS)
            event = clock.utc()
            recording.wait_for_gops(2)
            sink.blocked_s = 10.0
            wait_seconds(15)
    end = max(gop.start_ns + gop.duration_ns for gop in sink.gops)
    assert 8 * SECOND_NS < end - event < 11.5 * SECOND_NS
    assert "stalled" not in reasons(sink)
    assert_tiled(sink)


def test_end_of_an_event_is_no_fault_of_the_camera() -> None:
    """The camera went on sending: what follows the event is left out by rule, from its first picture on."""
    held = threading.Event()
    look = Look(lambda *_: None, keeps_open=True, before_ns=0)
    with SimulatedCamera(CameraSettings(live=LiveSettings(fps=10, gop=40))) as camera:
        recording = Recording(endpoint(camera), hold=lambda: "not-by-rule" if held.is_set() else "", look=look)
        with recording:
            recording.wait_for_gops(2)
            wait_seconds(1)
            held.set()
            wait_until(lambda: recording.status.state == "waiting")
            wait_seconds(1)
    assert "not-by-rule" in reasons(recording.sink)
    assert "stalled" not in reasons(recording.sink)
    assert_tiled(recording.sink)


def test_camera_an_hour_off_is_noted_and_not_believed() -> None:
    """Sender reports an hour late change no time, and stand beside it in the CLOCK note."""
    with SimulatedCamera(QUICK) as camera:
        camera.fault("clock-off")
        with Recording(endpoint(camera)) as recording:
            wait_until(lambda: any("camera_offset_ns" in note.facts for note in recording.sink.notes))
            recording.wait_for_gops(3)
    assert all(abs(ring - pixels) <= SECOND_NS // 15 for ring, pixels in read_pictures(recording.sink.gops))
    facts = next(note.facts for note in recording.sink.notes if "camera_offset_ns" in note.facts)
    assert abs(facts["camera_offset_ns"] + HOUR_NS) < SECOND_NS
    assert "sender_report" in facts


class SteppingClock:
    """The system's clocks with a wall clock that a test can set."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.ahead_ns = 0

    def utc(self) -> UtcNs:
        return UtcNs(self._clock.utc() + self.ahead_ns)

    def boot(self) -> MonoNs:
        return self._clock.boot()

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS], ids=["forward", "backward"])
def test_step_of_the_gateways_clock_begins_a_run(step_ns: int) -> None:
    """After a step the next record has the new time, and no GAP claims the hour that never was."""
    clock = SteppingClock()
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera), clock) as recording:
        recording.wait_for_gops(2)
        clock.ahead_ns = step_ns
        wait_until(lambda: len(recording.sink.runs) == 2)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 2)
    last = recording.sink.gops[-1]
    assert abs(last.start_ns - clock.utc()) < 20 * SECOND_NS
    assert all(gap.duration_ns < 20 * SECOND_NS for gap in recording.sink.gaps)


@pytest.mark.parametrize("step_ns", [4 * SECOND_NS // 10, -9 * SECOND_NS // 10], ids=["forward", "backward"])
def test_small_step_of_the_gateways_clock_begins_a_run(step_ns: int) -> None:
    """Time services step from 0.4 s on: what comes then has the new time at once, not after half an hour of slewing."""
    clock = SteppingClock()
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera), clock) as recording:
        recording.wait_for_gops(2)
        clock.ahead_ns = step_ns
        wait_until(lambda: len(recording.sink.runs) == 2)
        recording.wait_for_gops(len(recording.sink.gops) + 2)
    begun = recording.sink.records.index(recording.sink.runs[1])
    pictures = read_pictures([each for each in recording.sink.records[begun:] if isinstance(each, Gop)])
    assert all(abs(ring - pixels - step_ns) <= SECOND_NS // 15 for ring, pixels in pictures)


CHANGES: dict[str, Callable[[list[tuple[int, int]]], bool]] = {
    "new-size": lambda sizes: sizes[0] == (320, 180) and sizes[-1] == (160, 90),
    "new-parameters": lambda sizes: set(sizes) == {(320, 180)},
}


@pytest.mark.parametrize("fault", CHANGES)
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_new_parameters_begin_a_run_without_a_hole(codec: str, fault: str) -> None:
    """When the encoder is set anew, records before and after each carry their own parameters; no picture is lost."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(codec, gop=GOP))) as camera,
        Recording(endpoint(camera)) as recording,
    ):
        recording.wait_for_gops(2)
        camera.fault(fault)
        wait_until(lambda: len(recording.sink.runs) == 2)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 2)
    tracks = [unpack(gop)[0][0] for gop in recording.sink.gops]
    assert CHANGES[fault]([(track.width, track.height) for track in tracks])
    assert len({track.extradata for track in tracks}) == 2
    assert_tiled(recording.sink)
    assert all(gap.start_ns < recording.sink.gops[0].start_ns for gap in recording.sink.gaps)


HARMLESS = ["slices", "mid-gop", "no-reports", "silent-audio", "drift"]


@pytest.mark.parametrize("fault", HARMLESS)
def test_oddities_cost_nothing(fault: str) -> None:
    """Slices, a start in mid-GOP, no sender reports, sound that never comes: one run, every picture."""
    with SimulatedCamera(CameraSettings(live=LiveSettings(gop=GOP, audio="pcm_alaw"))) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, audio=True)) as recording:
            recording.wait_for_gops(3)
    pictures = read_pictures(recording.sink.gops)
    assert {round((b - a) * 15 / SECOND_NS) for (_, a), (_, b) in itertools.pairwise(pictures)} == {1}
    assert len(recording.sink.runs) == 1


@pytest.mark.parametrize("fault", ["loss", "garbage"])
def test_damage_on_the_way_does_not_end_the_recording(fault: str) -> None:
    """Lost and garbled packets cost pictures, never the camera."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera, transport="udp")) as recording:
        recording.wait_for_gops(1)
        camera.fault(fault)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 3)
    assert recording.thread.join(1)


def test_stale_session_is_waited_for() -> None:
    """A camera that refuses until its dropped session has timed out is asked again, and recorded."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        recording.wait_for_gops(1)
        camera.fault("stale-session")
        camera.drop_clients()
        wait_until(lambda: recording.status.snapshot()["reason"] == "session-still-open")
        camera.fault("stale-session", False)
        before = len(recording.sink.gops)
        recording.wait_for_gops(before + 1)


OUTAGES = {
    "connections are closed": "reboot",
    "nothing is answered": "mute",
    "busy": "busy",
    "no such path": "not-found",
}


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES.keys())
def test_camera_that_is_back_is_recorded_at_once(fault: str) -> None:
    """However long it was away: within two seconds, the time of an opening, and a keyframe's."""
    with SimulatedCamera(QUICK) as camera, Recording(endpoint(camera)) as recording:
        recording.wait_for_gops(1)
        camera.fault(fault)
        camera.drop_clients()
        wait_seconds(14)
        assert recording.status.state == "down"
        camera.fault(fault, False)
        back, before = SystemClock().utc(), len(recording.sink.gops)
        recording.wait_for_gops(before + 1)
    assert recording.sink.gops[before].start_ns - back < 4 * SECOND_NS
    assert_tiled(recording.sink)


def test_camera_that_a_bridge_wakes_is_not_tried_every_second() -> None:
    """A patient recording asks at growing intervals, and never for a sign of life."""
    with SimulatedCamera(QUICK) as camera:
        camera.fault("busy")
        with Recording(endpoint(camera, is_patient=True)):
            wait_seconds(10)
        # At 0, 1, 3 and 7 s, a quarter more or less: four requests each at most.
        assert camera.requests <= 5 * 4


def test_wrong_password_is_tried_seldom() -> None:
    """Cameras lock a user after a few wrong passwords: there are not even two attempts in ten seconds."""
    account = Account("owner", "secret-word")
    with SimulatedCamera(CameraSettings(live=QUICK.live, account=account)) as camera:
        with Recording(endpoint(camera, username="owner", password="another")) as recording:
            wait_until(lambda: recording.status.snapshot()["reason"] == "unauthorized")
            wait_seconds(8)
        assert camera.wrong_logins == 1


def test_run_record_names_the_source_without_credentials() -> None:
    """The RUN record tells codec, time base and address, and neither login nor query."""
    with SimulatedCamera(CameraSettings(live=QUICK.live, account=Account("owner", "secret-word"))) as camera:
        login = {"username": "owner", "password": "secret-word"}
        with Recording(Endpoint(camera.url + "?user=x&key=secret", **login)) as recording:
            recording.wait_for_gops(1)
    facts = recording.sink.runs[0].facts
    assert facts["source"] == camera.url
    assert facts["reader"] == READER.get()
    # FFmpeg tells no RTP timestamps.
    assert ("rtp_timestamp" in facts["clock_map"]) == (READER.get() == "own")
    assert facts["tracks"][0] == {
        "index": 0, "kind": "video", "codec": "h264", "time_base": "1/90000", "width": 320, "height": 180,
    }  # fmt: skip
    assert "secret" not in repr(recording.sink.runs)


PARTIAL_SETS = {
    "PPS only": ("pps-only", "h264", "tcp"),
    "SPS only": ("sps-only", "h264", "tcp"),
    "PPS only, H.265": ("pps-only", "hevc", "tcp"),
    "SPS only, H.265": ("sps-only", "hevc", "udp"),
    "one packet lost": ("lost-sps", "h264", "udp"),
    "an RTP source for each GOP": ("new-ssrc", "h264", "tcp"),
    "an RTP source for each GOP, UDP": ("new-ssrc", "h264", "udp"),
}


@pytest.mark.parametrize(("fault", "codec", "transport"), PARTIAL_SETS.values(), ids=PARTIAL_SETS.keys())
def test_part_of_the_parameter_sets_changes_that_part(fault: str, codec: str, transport: str) -> None:
    """A keyframe that brings a part of its parameter sets leaves the others in force: each record can be decoded."""
    with (
        SimulatedCamera(CameraSettings(live=LiveSettings(codec, gop=GOP))) as camera,
        Recording(endpoint(camera, transport=transport)) as recording,
    ):
        camera.fault(fault)
        recording.wait_for_gops(5)
    gops = recording.sink.gops[:-1]
    for gop in gops:
        assert len(read_pictures([gop])) == sum(packet.track == 0 for packet in unpack(gop)[1])
    assert len(recording.sink.runs) == 1
    assert_tiled(recording.sink)


@pytest.mark.parametrize("audio", ["", "aac"])
@pytest.mark.parametrize("fault", ["slow-ticks", "fast-ticks"])
def test_media_clock_at_another_rate_costs_no_picture(fault: str, audio: str) -> None:
    """Pictures stamped for another rate than they come at are all recorded, timed by their arrival, and it is said."""
    with SimulatedCamera(CameraSettings(live=LiveSettings(gop=GOP, audio=audio))) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, audio=True)) as recording:
            wait_until(lambda: recording.status.snapshot().get("clock_rate_ppm", 0), 30)
            recording.wait_for_gops(len(recording.sink.gops) + 10, 40)
            assert any(each.startswith("clock-rate") for each in list_warnings(recording.status.snapshot()))
    pictures = read_pictures(recording.sink.gops)
    assert {round((b - a) * 15 / SECOND_NS) for (_, a), (_, b) in itertools.pairwise(pictures)} == {1}
    assert all(abs(ring - pixels) <= 2 * SECOND_NS // 15 for ring, pixels in pictures)
    assert len(recording.sink.runs) == 1
    assert_tiled(recording.sink)
    # The PTS of the records go on as their times do: a clip is made of them.
    firsts = [next(packet.pts for packet in unpack(gop)[1] if not packet.track) for gop in recording.sink.gops]
    for (a, one), (b, two) in itertools.pairwise(zip(recording.sink.gops, firsts, strict=True)):
        assert abs((two - one) * SECOND_NS // 90_000 - (b.start_ns - a.start_ns)) < 1_000_000


STANDING = {
    "H.264": ("still-ticks", LiveSettings(gop=GOP), 2),
    "H.265": ("still-ticks", LiveSettings("hevc", gop=GOP), 2),
    "MJPEG": ("still-ticks", LiveSettings("mjpeg", gop=GOP), 10),
    "beside sound": ("still-ticks", LiveSettings(gop=GOP, audio="aac"), 2),
    "beside sound, G.711": ("still-ticks", LiveSettings(gop=GOP, audio="pcm_alaw"), 2),
    "from keyframe to keyframe": ("gop-ticks", LiveSettings(gop=GOP), 2),
    "one picture a second": ("still-ticks", LiveSettings(fps=1, gop=1), 2),
}


@pytest.mark.parametrize(("fault", "live", "steps"), STANDING.values(), ids=STANDING.keys())
def test_rtp_time_that_stands_still_costs_no_picture(fault: str, live: LiveSettings, steps: int) -> None:
    """Pictures without a time are all recorded, in one run, timed by their arrival; sound too; and it is said.

    How long an MJPEG picture lasts nobody tells, and FFmpeg holds seconds of them back: those come a while late.
    """
    with SimulatedCamera(CameraSettings(live=live)) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, audio=True)) as recording:
            recording.wait_for_gops(2)
            wait_seconds(9)
            facts = recording.status.snapshot()
            assert any(each.startswith("clock-stands") for each in list_warnings(facts)), facts
    pictures = read_pictures(recording.sink.gops)
    step_ns = SECOND_NS // live.fps
    assert {round((b - a) / step_ns) for (_, a), (_, b) in itertools.pairwise(pictures)} == {1}
    late = [abs(ring - pixels) for ring, pixels in pictures]
    assert max(late[-5 * live.fps :] if live.codec == "mjpeg" else late) <= steps * step_ns
    assert len(recording.sink.runs) == 1
    assert any(note.facts.get("clock_stands") for note in recording.sink.notes)
    assert_tiled(recording.sink)
    if live.audio:
        packets = [packet for gop in recording.sink.gops for packet in unpack(gop)[1] if packet.track]
        span_s = (recording.sink.gops[-1].start_ns - recording.sink.gops[0].start_ns) / SECOND_NS
        per_second = 8000 / 160 if live.audio == "pcm_alaw" else 48_000 / 1024
        assert len(packets) > 0.9 * span_s * per_second


REPORTS = {
    "NTP 0": ("zero-ntp", LiveSettings(gop=GOP, audio="pcm_alaw"), "tcp"),
    "NTP 0, H.265 over UDP": ("zero-ntp", LiveSettings("hevc", gop=GOP, audio="aac"), "udp"),
    "another clock": ("foreign-reports", LiveSettings(gop=GOP, audio="aac"), "tcp"),
    "another clock, MJPEG": ("foreign-reports", LiveSettings("mjpeg", gop=GOP, audio="pcm_mulaw"), "tcp"),
    "another clock, B-frames": ("foreign-reports", LiveSettings(gop=GOP, bframes=2, audio="opus"), "udp"),
    "honest": ("mid-gop", LiveSettings(gop=GOP, audio="aac"), "tcp"),
}


@pytest.mark.parametrize(("fault", "live", "transport"), REPORTS.values(), ids=REPORTS.keys())
def test_no_sender_report_moves_a_picture(fault: str, live: LiveSettings, transport: str) -> None:
    """Beside sound, with reports that say anything: one run, every picture at its time, and sound with it."""
    with SimulatedCamera(CameraSettings(live=live)) as camera:
        camera.fault(fault)
        with Recording(endpoint(camera, transport=transport, audio=True)) as recording:
            recording.wait_for_gops(2)
            wait_seconds(9)
    pictures = read_pictures(recording.sink.gops[:-1])
    step_ns = SECOND_NS // live.fps
    assert {round((b - a) / step_ns) for (_, a), (_, b) in itertools.pairwise(pictures)} == {1}
    late = [ring - pixels for ring, pixels in pictures]
    assert -step_ns <= min(late)
    assert max(late) <= 2 * step_ns + (ENCODER_DELAY_NS if live.bframes else 0)
    assert len(recording.sink.runs) == 1
    assert_tiled(recording.sink)
    spans_s = []
    for gop in recording.sink.gops[1:-1]:
        tracks, packets = unpack(gop)
        assert any(packet.track for packet in packets)
        first = next(packet.pts for packet in packets if not packet.track) * tracks[0].time_base
        spans_s += [abs(packet.pts * tracks[1].time_base - first) for packet in packets if packet.track]
    assert max(spans_s) < 2


OBSTACLES = {
    "another payload type": ("wrong-payload", "h264", "wrong-payload", "payload=97 described=96"),
    "no keyframe": ("no-keyframes", "h264", "no-keyframe", ""),
    "no keyframe, H.265": ("no-keyframes", "hevc", "no-keyframe", ""),
    "no parameter sets": ("no-sets", "h264", "no-parameter-sets", ""),
    "no parameter sets, H.265": ("no-sets", "hevc", "no-parameter-sets", ""),
}


@pytest.mark.parametrize(("fault", "codec", "reason", "detail"), OBSTACLES.values(), ids=OBSTACLES.keys())
def test_media_without_a_picture_is_told_as_what_it_is(fault: str, codec: str, reason: str, detail: str) -> None:
    """A camera that sends, and of whose packets nobody can make a picture, is down for that reason; no footage."""
    account = Account("owner", "secret-word")
    with SimulatedCamera(CameraSettings(live=LiveSettings(codec, gop=GOP), account=account)) as camera:
        camera.fault(fault)
        login = {"username": "owner", "password": "secret-word"}
        with Recording(endpoint(camera, **login), watchdog_ns=WATCHDOG_NS) as recording:
            wait_until(lambda: recording.status.snapshot()["reason"] == reason, 60)
            told = recording.status.snapshot()
            assert (told["state"], told["detail"] if detail else "") == ("down", detail)
            assert not recording.sink.gops
            camera.fault(fault, False)
            recording.wait_for_gops(2, 60)
    assert reason in reasons(recording.sink)
    assert_tiled(recording.sink)


def test_codec_that_nobody_knows_is_told_by_its_name() -> None:
    """The name is the one of the description, where FFmpeg has none."""
    with SimulatedCamera(QUICK) as camera:
        camera.fault("unknown-codec")
        with Recording(endpoint(camera)) as recording:
            wait_until(lambda: recording.status.snapshot()["detail"] == "codec=X-SMART", 30)
            assert recording.status.snapshot()["reason"] == "unsupported-codec"

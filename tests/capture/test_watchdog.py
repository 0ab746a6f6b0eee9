"""The watchdog of a camera whose pictures lie far apart, by a clock that the test moves."""

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest

from edge_agent.capture.camera import CameraThread
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.recorded_stream import WATCHDOG_NS, RecordedStream
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.reader import POLL_S, Line
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import SECOND_NS, MonoNs, UtcNs
from tests.support.fakes import FakeClock

from .conftest import MemorySink
from .rtsp.test_sdp import PPS, SPS

STEP_NS = SECOND_NS // 2
START = b"\0\0\0\1"
KEYFRAME = START + SPS + START + PPS + START + b"\x65\x88" + b"\x99" * 50
TRACK = TrackTemplate(0, "video", "h264", Fraction(1, 90_000), START + SPS + START + PPS, 320, 240, 0, 0, Fraction(0))


class SlowLine(Line):
    """A session and its line: it hands a picture over when the next one begins, and has nothing else to say.

    Args:
        clock: Moved by what is read.
        apart_ns: How far pictures lie apart.
        count: So many come; then nothing.
    """

    reorders, silence, tracks = False, "", (TRACK,)

    def __init__(self, clock: FakeClock, apart_ns: int, count: int) -> None:
        super().__init__(Endpoint("rtsp://camera/x", reader="own"), lambda: "")
        self._clock, self._apart_ns, self._count = clock, apart_ns, count
        self.has_keyframe = True
        self.handed_over = MonoNs(0)

    def read(self, left_s: Callable[[], float] = lambda: POLL_S) -> Iterator[Arrival | None]:
        """Yield what comes, by a clock that moves on as it is read; it waits for nobody."""
        del left_s
        began, told = (self._clock.utc(), self._clock.boot()), 0
        for passed in range(0, (self._count + 9) * self._apart_ns, STEP_NS):
            if passed // self._apart_ns > told < self._count:
                at = told * self._apart_ns
                utc, boot, ticks = UtcNs(began[0] + at), MonoNs(began[1] + at), at * 90_000 // SECOND_NS
                self.handed_over = self._clock.boot()
                yield Arrival(0, ticks, 0, True, KEYFRAME, utc, boot, None, None, rtp=ticks)
                told += 1
            else:
                yield None
            self._clock.advance(STEP_NS)


@pytest.mark.parametrize("apart_s", [4, 6, 8, 9])
def test_camera_with_a_picture_in_eight_seconds_is_recorded(apart_s: int) -> None:
    """Until no more comes: a unit is held until the next begins, so its arrival is as old as pictures lie apart."""
    clock, sink = FakeClock(), MemorySink()
    line = SlowLine(clock, apart_s * SECOND_NS, 9)
    thread = CameraThread(RecordedStream("porch.main", lambda: line.endpoint), sink, clock, threading.Event())
    with pytest.raises(CaptureError, match="no picture arrives"):
        thread._record_runs(line, line)  # type: ignore[arg-type]  # without its threads
    assert len(sink.gops) >= 8
    assert WATCHDOG_NS < clock.boot() - line.handed_over <= WATCHDOG_NS + 2 * STEP_NS


def test_sync_is_not_late_because_a_session_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The records before it are made durable in time, however long a camera takes to answer."""
    clock, stop, waits = FakeClock(), threading.Event(), list[float]()

    class StoppingSink(MemorySink):
        def tick(self) -> None:
            super().tick()
            stop.set()

    line, sink = Line(Endpoint("rtsp://camera/x"), lambda: ""), StoppingSink(sync_due=MonoNs(clock.boot() + STEP_NS))

    def wait_open(left_s: float = 60.0) -> None:
        waits.append(left_s)
        clock.advance(int(left_s * SECOND_NS))

    monkeypatch.setattr(line, "wait_open", wait_open)
    thread = CameraThread(RecordedStream("porch.main", lambda: line.endpoint), sink, clock, stop)
    assert thread._wait_open(line) is None
    assert waits[0] == STEP_NS / SECOND_NS
    assert sink.ticks == 1


def test_sync_is_not_late_between_two_sessions() -> None:
    """While a camera is waited for before it is tried again, what it sent before is made durable in time."""
    clock = FakeClock()
    due, synced = MonoNs(clock.boot() + STEP_NS), list[MonoNs]()

    class TurningEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock.advance(int((timeout or 0) * SECOND_NS))
            return False

    class SyncingSink(MemorySink):
        def tick(self) -> None:
            super().tick()
            if self.sync_due is not None and clock.boot() >= self.sync_due:
                synced.append(clock.boot())
                self.sync_due = None

    clock.advance(STEP_NS // 2)  # not in step with the waits
    stream, sink = RecordedStream("porch.main", lambda: Endpoint("rtsp://camera/x")), SyncingSink(sync_due=due)
    CameraThread(stream, sink, clock, TurningEvent())._wait(10 * SECOND_NS)
    assert synced == [due]


def test_stop_while_the_address_is_looked_up_is_not_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """It came before there was a line to be hurried: the new one is, before anybody waits for it."""
    stop, hurried = threading.Event(), list[bool]()

    def look_up() -> Endpoint:
        stop.set()
        thread.notice_stop()
        return Endpoint("rtsp://camera/x")

    monkeypatch.setattr(Line, "wait_open", lambda line, _left_s: hurried.append(line._changed.is_set()))
    thread = CameraThread(RecordedStream("porch.main", look_up), MemorySink(), FakeClock(), stop)
    thread._record_session()
    assert hurried == [True]


def test_what_has_arrived_when_recording_stops_is_recorded_across_a_jump_of_time() -> None:
    """A run that breaks while the rest of a stopped stream is taken does not cost what waits behind the break."""
    clock, sink, stop = FakeClock(), MemorySink(), threading.Event()
    line = SlowLine(clock, 0, 0)
    thread = CameraThread(RecordedStream("porch.main", lambda: line.endpoint), sink, clock, stop)
    for number in range(16):
        utc, boot = UtcNs(clock.utc() + number * STEP_NS), MonoNs(clock.boot() + number * STEP_NS)
        ticks = number * 45_000 + (number >= 8) * 3600 * 90_000
        line.take(Arrival(0, ticks, 0, True, KEYFRAME, utc, boot, None, None, rtp=ticks), "")
    thread._line = line
    clock.advance(16 * STEP_NS)
    stop.set()
    line.read = lambda left_s: Line.read(line, left_s)  # type: ignore[method-assign]
    thread._record_runs(line, line)  # type: ignore[arg-type]  # without its threads
    assert len(sink.runs) == 2
    assert sum(gop.duration_ns for gop in sink.gops) >= 15 * STEP_NS

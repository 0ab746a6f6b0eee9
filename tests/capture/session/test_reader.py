"""The bounded queue between a reader and whoever records: what of a pause comes into it."""

import contextlib
import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import pytest

from edge_agent.buffer.write.writer import WAITS_NS
from edge_agent.buffer.write.writer_settings import WriterSettings
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.run.gop import MAX_RECORD_NS
from edge_agent.capture.session import hub, reader
from edge_agent.capture.session.hub import Hub
from edge_agent.capture.session.interface import Arrival, Endpoint, RoundSession
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.session.reader import HeldError, Line
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import SECOND_NS, MonoNs, UtcNs
from tests.support.fakes import FakeClock

from ..conftest import wait_until

NOW = UtcNs(1_800_000_000_000_000_000)


class _Stream:
    """A session that has a packet whenever it is asked, and waits for nothing."""

    tracks: tuple[TrackTemplate, ...] = ()
    reorders, silence = False, ""

    def __init__(self) -> None:
        self.count = 0

    def read(self) -> Iterator[Arrival]:
        while True:
            self.count += 1
            at = self.count
            yield Arrival(0, at, 1, at == 1, b"%d" % at, UtcNs(NOW + at), MonoNs(at), None, None)

    def close(self) -> None:
        pass


class _RoundStream(_Stream):
    """The same, read by the hub: one packet a round."""

    is_hurried = may_wait = False

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[bool] = []

    def look(self) -> Iterator[Arrival]:
        yield next(self.read())

    def stand(self) -> None:
        pass

    def fileno(self) -> int:
        return -1

    def wait(self, *, is_hurried: bool) -> None:
        self.waits.append(is_hurried)
        time.sleep(0.01)


def test_rounds_are_told_from_streams() -> None:
    """Or the tests below would read all of them in the same way."""
    assert [isinstance(each(), RoundSession) for each in (_Stream, _RoundStream)] == [False, True]


class _EncryptedStream(_RoundStream):
    """One that is read by a thread of its own: OpenSSL does not return while there is something that holds no data."""

    may_wait = True
    returns = threading.Event()

    def look(self) -> Iterator[Arrival]:
        assert self.returns.wait(20)
        return super().look()


@pytest.fixture(autouse=True)
def openssl_returns() -> Iterator[threading.Event]:
    _EncryptedStream.returns.set()
    yield _EncryptedStream.returns
    _EncryptedStream.returns.set()


def test_camera_that_has_its_reader_wait_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, openssl_returns: threading.Event
) -> None:
    """A flood of new keys over TLS: the hub reads the others, and lives."""
    openssl_returns.clear()
    monkeypatch.setattr(reader, "open_session", lambda endpoint, *_: streams[endpoint.url])
    streams = {"rtsps://camera/x": _EncryptedStream(), "rtsp://camera/y": _RoundStream()}
    lines = [Line(Endpoint(url), lambda: "") for url in streams]
    clock, hub = FakeClock(), Hub()
    hub.start()
    feeders = [
        threading.Thread(target=line.serve, args=(hub, clock, PacketLoss(clock), 1.0), daemon=True) for line in lines
    ]
    for feeder in feeders:
        feeder.start()
    try:
        wait_until(lambda: streams["rtsp://camera/y"].count >= 3)
        assert hub.is_alive()
        assert streams["rtsps://camera/x"].count == 0
        openssl_returns.set()
        wait_until(lambda: streams["rtsps://camera/x"].count >= 3)
    finally:
        openssl_returns.set()
        for line in lines:
            line.release()
        for feeder in feeders:
            feeder.join(10)
        hub.close()
    assert not any(feeder.is_alive() for feeder in feeders)


def test_thread_of_its_own_does_not_spin_while_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that nobody reads would wake it again and again."""
    stream = _EncryptedStream()
    stream.is_hurried = True
    monkeypatch.setattr(reader, "open_session", lambda *_: stream)
    monkeypatch.setattr(reader, "MOST_PACKETS", 2)
    line, clock, hub = Line(Endpoint("rtsps://camera/x"), lambda: ""), FakeClock(), Hub()
    feeder = threading.Thread(target=line.serve, args=(hub, clock, PacketLoss(clock), 1.0), daemon=True)
    feeder.start()
    try:
        wait_until(lambda: len(stream.waits) >= 5)
    finally:
        line.release()
        feeder.join(10)
        hub.close()
    assert stream.waits[:2] == [True, False]
    assert not any(stream.waits[2:])


@pytest.mark.parametrize("make_stream", [_Stream, _RoundStream, _EncryptedStream])
def test_nothing_of_a_pause_that_ends_before_there_is_room_is_taken(
    monkeypatch: pytest.MonkeyPatch, make_stream: type[_Stream]
) -> None:
    """A disk holds up the taker, a pause begins and ends meanwhile: the queue ends with what came before it."""
    stream, reasons, is_paused = make_stream(), iter(["", "", "paused"]), threading.Event()

    def hold() -> str:
        reason = next(reasons, "")
        if reason:
            is_paused.set()
        return reason

    monkeypatch.setattr(reader, "open_session", lambda *_: stream)
    monkeypatch.setattr(reader, "MOST_PACKETS", 2)
    line, clock, hub, taken = Line(Endpoint("rtsp://127.0.0.1:9/"), hold), FakeClock(), Hub(), []
    hub.start()
    feeder = threading.Thread(target=line.serve, args=(hub, clock, PacketLoss(clock), 1.0), daemon=True)
    feeder.start()
    try:
        assert is_paused.wait(10)
        with pytest.raises(HeldError) as held:
            taken.extend(line.read())
    finally:
        line.release()
        hub.close()
        feeder.join(10)
    assert [arrival.data for arrival in taken if arrival is not None] == [b"1", b"2"]
    assert (held.value.reason, held.value.since) == ("paused", (clock.utc(), clock.boot()))


def test_what_the_taker_gives_up_for_is_how_the_session_ended() -> None:
    """A session that is up and sends no picture has no end of its own; one that ended has."""
    line = Line(Endpoint("rtsp://camera/x"), lambda: "")
    assert line.refusal == ("", "")
    line.give_up("stalled", "")
    assert line.refusal == ("stalled", "")
    line.tell_end("ended", "EOF")
    assert line.refusal == ("ended", "EOF")


def test_no_more_than_five_seconds_are_lost() -> None:
    """FORMAT 7.2: a record's own time, the time in the queue, and the time until its sync are five seconds at most."""
    sync_after_ns = WriterSettings("").sync_every_ns - WAITS_NS
    assert (hub._ROUND_S + reader.POLL_S) * SECOND_NS < WAITS_NS  # a round, a write and a sync take a moment, too
    assert reader._LIES_NS + hub._ROUND_S * SECOND_NS <= WAITS_NS
    assert MAX_RECORD_NS + WAITS_NS + sync_after_ns <= 5 * SECOND_NS


def test_taker_looks_up_when_something_is_due() -> None:
    """A sync that is due is not waited for until a packet comes, nor asked for before."""
    line, left_s = Line(Endpoint("rtsp://camera/x"), lambda: ""), iter([0.01, 0.0])
    packets = line.read(lambda: next(left_s))
    assert next(packets) is None
    assert next(packets) is None
    line.take(Arrival(0, 0, 1, True, b"", NOW, MonoNs(1), None, None), "")
    assert next(packets) is not None
    with pytest.raises(StopIteration):
        next(left_s)


@pytest.mark.timeout(20)
def test_taker_that_is_hurried_before_it_waits_looks_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop may be told just after the taker has asked whether to stop: it asks once more."""
    for name in ("POLL_S", "_BEGINNING_POLL_S"):
        monkeypatch.setattr(reader, name, 60.0)
    line, left_s = Line(Endpoint("rtsp://camera/x"), lambda: ""), iter([0.0, 60.0])
    packets = line.read(lambda: next(left_s))
    assert next(packets) is None
    line.hurry()
    assert next(packets) is None


def test_taker_is_woken_for_packets_that_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a keyframe for long, pictures are taken all the same as soon as a second of them has come."""
    for name in ("POLL_S", "_BEGINNING_POLL_S"):
        monkeypatch.setattr(reader, name, 60.0)
    line, taken = Line(Endpoint("rtsp://camera/x"), lambda: ""), SimpleQueue[int]()

    def take() -> None:
        with contextlib.suppress(CaptureError):
            for arrival in line.read(lambda: 60.0):
                taken.put(-1 if arrival is None else arrival.pts)

    def put(pts: int, at_ns: int) -> None:
        line.take(Arrival(0, pts, 1, False, b"", NOW, MonoNs(at_ns), None, None), "")
        line.hand_over()

    thread = threading.Thread(target=take, daemon=True)
    put(0, 0)  # not due: it is found because nobody waits yet
    thread.start()
    assert taken.get(timeout=10) == 0
    put(1, SECOND_NS // 10)
    put(2, SECOND_NS)
    with pytest.raises(Empty):
        taken.get(timeout=0.3)
    put(3, SECOND_NS // 10 + reader._LIES_NS)
    assert [taken.get(timeout=10) for _ in range(3)] == [1, 2, 3]
    line.tell_end("ended", "")
    thread.join(10)


def test_taker_is_woken_before_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera of many megabits a second, whose next keyframe is far away, does not have to wait for its taker."""
    for name in ("POLL_S", "_BEGINNING_POLL_S"):
        monkeypatch.setattr(reader, name, 60.0)
    line = Line(Endpoint("rtsp://camera/x"), lambda: "")
    has_key, has_big = threading.Event(), threading.Event()

    def take() -> None:
        with contextlib.suppress(CaptureError):
            for arrival in line.read():
                (has_big if arrival is not None and arrival.data else has_key).set()

    thread = threading.Thread(target=take, daemon=True)
    line.take(Arrival(0, 0, 1, True, b"", NOW, MonoNs(1), None, None), "")
    thread.start()
    assert has_key.wait(10)
    line.take(Arrival(0, 1, 1, False, bytes(reader.MOST_BYTES // 2), NOW, MonoNs(2), None, None), "")
    line.hand_over()
    assert not line.is_full
    assert has_big.wait(10)
    line.tell_end("ended", "")
    thread.join(10)

"""The bounded queue between a reader and whoever records: what of a pause comes into it."""

import contextlib
import threading
from collections.abc import Iterator

import pytest

from edge_agent.capture import camera
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session import reader
from edge_agent.capture.session.hub import Hub
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.session.reader import HeldError, Line
from edge_agent.units import SECOND_NS, MonoNs, UtcNs
from tests.support.fakes import FakeClock

NOW = UtcNs(1_800_000_000_000_000_000)


class _Stream:
    """A session that has a packet whenever it is asked, and waits for nothing."""

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

    is_hurried = False

    def look(self) -> Iterator[Arrival]:
        yield next(self.read())

    def stand(self) -> None:
        pass

    def fileno(self) -> int:
        return -1


@pytest.mark.parametrize("make_stream", [_Stream, _RoundStream])
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


def test_a_sync_is_asked_for_every_second() -> None:
    """FORMAT 7.2: whoever takes packets looks at the ring at most a tick after it woke, and it wakes that often."""
    assert reader.POLL_S + camera._TICK_NS / SECOND_NS <= 1


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
    assert not line.is_full
    assert has_big.wait(10)
    line.tell_end("ended", "")
    thread.join(10)

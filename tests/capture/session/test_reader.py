"""The bounded queue between a reader and whoever records: what of a pause comes into it."""

import threading
from collections.abc import Iterator

import pytest

from edge_agent.capture.session import reader
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.capture.session.reader import HeldError, Line
from edge_agent.units import MonoNs, UtcNs
from tests.support.fakes import FakeClock

NOW = UtcNs(1_800_000_000_000_000_000)


class _Stream:
    """A session whose packets a test lets come."""

    def __init__(self) -> None:
        self.count = 0

    def read(self) -> Iterator[Arrival]:
        while True:
            self.count += 1
            at = self.count
            yield Arrival(0, at, 1, at == 1, b"%d" % at, UtcNs(NOW + at), MonoNs(at), None, None)

    def close(self) -> None:
        pass


def test_nothing_of_a_pause_that_ends_before_there_is_room_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk holds up the taker, a pause begins and ends meanwhile: the queue ends with what came before it."""
    stream, reasons, is_paused = _Stream(), iter(["", "", "", "", "paused"]), threading.Event()

    def hold() -> str:
        reason = next(reasons, "")
        if reason:
            is_paused.set()
        return reason

    monkeypatch.setattr(reader, "open_session", lambda *_: stream)
    monkeypatch.setattr(reader, "MOST_PACKETS", 2)
    line, clock, taken = Line(Endpoint("rtsp://127.0.0.1:9/"), hold), FakeClock(), []
    feeder = threading.Thread(target=line.serve, args=(clock, PacketLoss(clock), 1.0), daemon=True)
    feeder.start()
    try:
        assert is_paused.wait(10)
        with pytest.raises(HeldError) as held:
            taken.extend(line.read())
    finally:
        line.release()
        feeder.join(10)
    assert [arrival.data for arrival in taken if arrival is not None] == [b"1", b"2", b"3"]
    assert (held.value.reason, held.value.since) == ("paused", (clock.utc(), clock.boot()))

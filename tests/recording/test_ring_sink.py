"""What the status tells of a ring whose disk keeps everybody waiting."""

import threading
from typing import cast

import pytest

from edge_agent.buffer.write.writer import RingWriter
from edge_agent.errors import RingError
from edge_agent.recording.ring_sink import RingSink
from edge_agent.units import SECOND_NS
from tests.support.fakes import FakeClock


def test_disk_that_does_not_answer_is_told_and_its_return_too() -> None:
    """A moment's wait is none of the owner's business; ten seconds without an answer are, whatever was said last."""
    clock, entered, answers = FakeClock(), threading.Event(), threading.Event()

    def open_writer() -> RingWriter:
        entered.set()
        assert answers.wait(20)
        raise RingError("the disk is back, the ring is not")

    sink = RingSink("door.main", open_writer, clock)
    thread = threading.Thread(target=sink.open)
    thread.start()
    try:
        assert entered.wait(20)
        assert sink.facts()["storage"] == "ring is not open yet"
        clock.advance(9 * SECOND_NS)
        assert sink.facts()["storage"] == "ring is not open yet"
        clock.advance(SECOND_NS)
        assert sink.facts()["storage"] == "ring's disk does not answer"
    finally:
        answers.set()
        thread.join(20)
    assert sink.facts()["storage"] == "the disk is back, the ring is not"


class Writer:
    """A ring whose sync waits for its disk."""

    def __init__(self) -> None:
        self.entered, self.answers, self.is_closed = threading.Event(), threading.Event(), False
        self.newest_ns = 0

    def tick(self) -> None:
        self.entered.set()
        assert self.answers.wait(20)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("waits", ["opening", "writing"])
def test_ring_that_could_not_be_closed_in_time_is_let_go_of_when_its_disk_answers(waits: str) -> None:
    """The sink that follows in the same process opens it: a ring is never locked until the next restart."""
    writer = Writer()

    def open_writer() -> RingWriter:
        if waits == "opening":
            writer.tick()
        return cast(RingWriter, writer)

    sink = RingSink("door.main", open_writer, FakeClock())
    if waits == "writing":
        sink.open()
    thread = threading.Thread(target=sink.open if waits == "opening" else sink.tick)
    thread.start()
    try:
        assert writer.entered.wait(20)
        assert not sink.close(0.05)
        assert not writer.is_closed
    finally:
        writer.answers.set()
        thread.join(20)
    assert writer.is_closed
    assert sink.close(5)
    assert sink.open() is None

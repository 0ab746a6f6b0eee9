"""What the status tells of a ring whose disk keeps everybody waiting."""

import threading

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

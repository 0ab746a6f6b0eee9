"""The start of the recorder waits for rings, and for no disk for ever."""

import threading

import pytest

from edge_agent.errors import RingError
from edge_agent.recording.first_opening import ALL_WITHIN_NS, FirstOpening
from edge_agent.units import UtcNs
from tests.support.fakes import FakeClock


def test_opening_returns_what_was_found() -> None:
    """A ring whose disk answers is open when its camera begins."""
    assert FirstOpening(FakeClock()).open("door.main", lambda: UtcNs(7)) == 7


def test_error_of_an_opening_is_its_callers() -> None:
    """What keeps a ring from opening is not swallowed."""

    def fail() -> UtcNs | None:
        raise RingError("broken")

    with pytest.raises(RingError, match="broken"):
        FirstOpening(FakeClock()).open("door.main", fail)


def test_disk_that_does_not_answer_is_left_behind() -> None:
    """Once the time is up nobody waits; the opening itself goes on, and ends when the disk answers."""
    clock, answers, ended = FakeClock(), threading.Event(), threading.Event()

    def hang() -> UtcNs | None:
        answers.wait(30)
        ended.set()
        return UtcNs(7)

    opening = FirstOpening(clock)
    clock.advance(ALL_WITHIN_NS)
    assert opening.open("door.main", hang) is None
    assert not ended.is_set()
    answers.set()
    assert ended.wait(30)

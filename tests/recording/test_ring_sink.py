"""A stream's records on their way into a ring: disks that fail, go away and come back, and what is told of it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.capture.run.gap_account import GapKeeper
from edge_agent.capture.run.records import Gop, RunInfo
from edge_agent.errors import DurabilityError, RingError
from edge_agent.recording.ring_sink import RingSink
from edge_agent.units import DAY_NS, SECOND_NS, ClockState, MonoNs, UtcNs, Window
from tests.buffer.rig import Keys, Rig
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


class Stream:
    """A camera that records a GOP a second into a ring, which is away while ``fault`` says so."""

    def __init__(self, folder: Path, open_writer: Callable[[Rig], RingWriter] = Rig.writer) -> None:
        self.rig, self.fault = Rig(folder, Keys()), ""
        self.rig.create(blocks=64, block_bytes=4 << 20)
        self._open_writer = open_writer
        self.start()

    def start(self) -> None:
        self.sink = RingSink("door.main", self._open, self.rig.clock)
        covered = self.sink.open()
        self.gaps = GapKeeper(self.sink, covered or self.rig.clock.utc(), "recorder-stopped")

    def stop(self) -> None:
        self.gaps.end(self.rig.clock.utc(), self.rig.clock.boot())
        assert self.sink.close(5)

    def _open(self) -> RingWriter:
        if self.fault:
            raise RingError(self.fault)
        return self._open_writer(self.rig)

    def record(self, seconds: int) -> None:
        clock = self.rig.clock
        for _ in range(seconds):
            clock.run(SECOND_NS)
            start, boot = UtcNs(clock.utc_ns - SECOND_NS), MonoNs(clock.boot_ns - SECOND_NS)
            self.gaps.footage(start, clock.utc(), boot)
            self.sink.gop(Gop(start, SECOND_NS, boot, os.urandom(3000), os.urandom(32), continues=False))
            self.sink.tick()

    def coverage(self, since: UtcNs) -> list[tuple[str, str | None, int]]:
        """Return kind, reason and seconds of what a reader finds from a time on."""
        with self.rig.reader() as reader:
            spans = reader.coverage(Window(since, self.rig.clock.utc()))
            return [(span.kind, span.reason, span.window.duration_ns // SECOND_NS) for span in spans]


@pytest.mark.parametrize("case", ["stopped in one boot", "stopped over a reboot", "the ring was away"])
def test_what_is_recorded_after_a_long_outage_does_not_go_with_it(tmp_path: Path, case: str) -> None:
    """A hole longer than ``keep_for`` is old by its beginning; the footage behind it is not."""
    stream = Stream(tmp_path)
    stream.record(60)
    if case == "the ring was away":
        stream.fault = "no such disk"
        stream.sink._fail(DurabilityError("input/output error"))
        stream.rig.clock.run(4 * DAY_NS)
        stream.record(1)
        stream.fault = ""
    else:
        stream.stop()
        stream.rig.clock.run(4 * DAY_NS)
        if case == "stopped over a reboot":
            stream.rig.clock.boot_ns, stream.rig.boot_id = 30 * SECOND_NS, b"boot-another-one"
        stream.start()
    stream.record(60)
    stream.sink.confirm_clock(stream.rig.clock.utc_ns - stream.rig.clock.boot_ns)
    since = stream.rig.clock.utc()
    stream.record(700)
    assert stream.coverage(since) == [("footage", None, 700)]


def test_footage_of_an_unknown_time_does_not_go_with_the_hole_behind_it(tmp_path: Path) -> None:
    """A gateway that was off for weeks wakes with the clock of then, records, and starts again before it is set."""
    stream = Stream(tmp_path)
    rig = stream.rig
    for boot_id, state, away_ns in ((b"boot-of-old-time", ClockState.FLOOR_ONLY, 0), (b"boot-of-its-time", None, 40)):
        stream.stop()
        rig.clock.utc_ns += away_ns * DAY_NS
        rig.clock.boot_ns, rig.boot_id = 30 * SECOND_NS, boot_id
        rig.clock.state_now = state or ClockState.SYNCHRONISED
        stream.start()
        stream.record(60)
    stream.sink.confirm_clock(rig.clock.utc_ns - rig.clock.boot_ns)
    stream.record(60)
    with rig.reader() as reader:
        unknown = [page for page in reader.pages() if page.clock_state is ClockState.FLOOR_ONLY]
    assert [bool(page.tombstone) for page in unknown] == [False]


@pytest.mark.parametrize("minutes", [5, 15, 30])
def test_hole_before_a_block_that_is_open_has_its_reason(tmp_path: Path, minutes: int) -> None:
    """The run is told first, as of now, and the hole that began before it lies in the same block."""
    stream = Stream(tmp_path)
    stream.sink.run(RunInfo(stream.rig.clock.utc(), stream.rig.clock.boot(), {"codec": "h264"}))
    stream.record(60)
    stream.fault = "no such disk"
    stream.sink._fail(DurabilityError("input/output error"))
    hole = stream.rig.clock.utc()
    stream.record(minutes * 60)
    stream.fault = ""
    stream.record(90)
    within = Window(UtcNs(hole + 60 * SECOND_NS), UtcNs(hole + 120 * SECOND_NS))
    with stream.rig.reader() as reader:
        assert [(span.kind, span.reason) for span in reader.coverage(within)] == [("gap", "storage")]


def test_run_that_began_long_ago_is_told_again_beside_what_follows(tmp_path: Path) -> None:
    """When its ring is opened anew: as of now, so that a disk that fails now and then costs one block each time."""
    stream, facts = Stream(tmp_path), {"codec": "h264"}
    stream.sink.run(RunInfo(stream.rig.clock.utc(), stream.rig.clock.boot(), facts))
    stream.rig.clock.run(4 * DAY_NS)
    stream.record(30)
    before = stream.sink.facts()["seq"]
    stream.sink._fail(DurabilityError("input/output error"))
    stream.record(30)
    assert stream.sink.facts()["seq"] == before + 1


@pytest.mark.parametrize("days", [2, 100, -1])
def test_clock_that_is_set_while_the_ring_is_away_makes_no_hole(tmp_path: Path, days: int) -> None:
    """What is missing is as long as the ring was away, whatever the clock said before."""
    stream = Stream(tmp_path)
    clock = stream.rig.clock
    stream.stop()
    clock.utc_ns -= days * DAY_NS
    clock.state_now, stream.fault = ClockState.FLOOR_ONLY, "no such disk"
    stream.start()
    stream.record(20)
    clock.utc_ns, clock.state_now = clock.utc_ns + days * DAY_NS, ClockState.SYNCHRONISED
    stream.gaps.follow(clock.utc(), clock.boot())
    stream.record(20)
    stream.fault, since = "", clock.utc()
    stream.record(700)
    day_before = UtcNs(since - DAY_NS)
    holes = [span for span in stream.coverage(day_before) if span[1] == "storage"]
    assert len(holes) == 1
    assert 40 <= holes[0][2] <= 40 + 61  # and until the ring was tried again
    assert ("footage", None) in {span[:2] for span in stream.coverage(since)}


@pytest.mark.parametrize("is_all", [True, False], ids=["all of it", "a span"])
def test_what_is_on_its_way_while_the_owner_erases_does_not_come_after(tmp_path: Path, *, is_all: bool) -> None:
    """A record that waits, for a keyframe or for a disk, is of what the owner has destroyed; it is told as that."""
    stream = Stream(tmp_path)
    since, clock = stream.rig.clock.utc(), stream.rig.clock
    stream.record(10)
    clock.run(SECOND_NS)
    stream.sink.erase(None if is_all else Window(UtcNs(clock.utc_ns - 3 * SECOND_NS), clock.utc()))
    clock.utc_ns, clock.boot_ns = clock.utc_ns - SECOND_NS, clock.boot_ns - SECOND_NS
    stream.record(5)  # the first of them began before
    assert stream.coverage(since) == [("gap", "erased", 10), ("gap", "erased", 1), ("footage", None, 4)]


def test_erasure_means_footage_on_its_way_whose_time_is_not_believed(tmp_path: Path) -> None:
    """Whatever span is erased, as a block of such a time goes whole."""
    stream = Stream(tmp_path)
    clock = stream.rig.clock
    clock.state_now = ClockState.FLOOR_ONLY
    stream.record(10)
    began, boot = clock.utc(), clock.boot()
    clock.run(SECOND_NS)
    clock.utc_ns, clock.state_now = clock.utc_ns + 3600 * SECOND_NS, ClockState.SYNCHRONISED
    stream.sink.erase(Window(UtcNs(clock.utc_ns - 60 * SECOND_NS), clock.utc()))
    erased = clock.utc()
    stream.sink.gop(Gop(began, SECOND_NS, boot, os.urandom(3000), os.urandom(32), continues=False))
    stream.record(4)
    footage = [span for span in stream.coverage(UtcNs(erased - 20 * SECOND_NS)) if span[0] == "footage"]
    assert footage == [("footage", None, 4)]


class ForgetfulDisk:
    """Loses what was not synced when a sync fails."""

    def __init__(self, disk: FileDisk) -> None:
        self._disk, self.is_bad = disk, False
        self._before: list[tuple[int, bytes]] = []
        self.name, self.pread, self.size, self.close = disk.name, disk.pread, disk.size, disk.close

    def pwrite(self, data: bytes, offset: int) -> None:
        self._before.append((offset, self._disk.pread(len(data), offset)))
        self._disk.pwrite(data, offset)

    def fdatasync(self) -> None:
        if self.is_bad:
            for offset, before in reversed(self._before):
                self._disk.pwrite(before, offset)
            raise DurabilityError("input/output error")
        self._disk.fdatasync()
        self._before.clear()


def test_hole_that_was_told_to_a_disk_that_forgot_it_is_told_again(tmp_path: Path) -> None:
    """A disk that fails twice in a row: the first hole keeps its reason."""
    disks: list[ForgetfulDisk] = []

    def open_writer(rig: Rig) -> RingWriter:
        disks.append(ForgetfulDisk(FileDisk.open(rig.path, writable=True)))
        return rig.writer_on(disks[-1])  # type: ignore[arg-type]

    stream = Stream(tmp_path, open_writer)
    since = stream.rig.clock.utc()
    stream.record(20)
    for _ in range(2):
        disks[-1].is_bad = True
        failures = len(disks)
        while len(disks) == failures:
            stream.record(1)
    stream.record(30)
    assert {reason for _, reason, _ in stream.coverage(since)} == {None, "storage"}

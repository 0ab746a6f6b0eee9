"""A reader gets the written records back, and no other."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from edge_agent.buffer.disk import Disk, FileDisk
from edge_agent.buffer.format.constants import FLAG_CONTINUES, Kind
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.write.open_block import borrow_buffer
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.errors import IntegrityError, RecordTooLargeError, RingBusyError, RingError
from edge_agent.protocol.verdict import Ask
from edge_agent.units import DAY_NS, HOUR_NS, SECOND_NS, ClockState, MonoNs, UtcNs, Window
from tests.buffer.rig import START, Keys, Rig, everything, make_grant, make_order, read_all


def test_read_yields_what_was_appended_in_order(rig: Rig) -> None:
    """Payloads, times, commitments and flags come back as they were given."""
    rig.create()
    with_notes = rig.writer()
    rig.clock.run(SECOND_NS)
    drafts = [
        rig.note(Kind.RUN, b"{}"),
        rig.gop(20_000),
        rig.gop(1, flags=FLAG_CONTINUES),
        rig.note(Kind.GAP, duration_ns=SECOND_NS),
        rig.note(Kind.CLOCK, b"{}"),
    ]
    for draft in drafts:
        with_notes.append(draft)
    with_notes.close()
    with rig.reader() as reader:
        records = read_all(reader)
    assert [(each.header.kind, each.plaintext, each.header.commitment) for each in records] == [
        (draft.kind, draft.payload, draft.commitment) for draft in drafts
    ]
    assert [each.header.flags for each in records] == [0, 0, FLAG_CONTINUES, 0, 0]
    assert [each.index for each in records] == list(range(5))


def test_read_survives_many_laps(rig: Rig) -> None:
    """After wrapping around, exactly the newest blocks are there, each whole, each attested but the last.

    I6: the file is as long, and takes as much of the disk, as on its first day.
    """
    rig.create(blocks=4)
    size = rig.path.stat().st_size, rig.path.stat().st_blocks
    writer = rig.writer()
    drafts = rig.record(writer, 200)
    writer.close()
    assert (rig.path.stat().st_size, rig.path.stat().st_blocks) == size
    with rig.reader() as reader:
        records = read_all(reader)
    assert len(records) > 20
    assert [each.plaintext for each in records] == [draft.payload for draft in drafts[-len(records) :]]
    last = max(each.seq for each in records)
    assert {each.seq for each in records if not each.attested} == {last}
    assert {each.seq for each in records} == set(range(last - 3, last + 1))


def test_read_yields_only_the_window(rig: Rig) -> None:
    """A record outside every granted window is not decrypted."""
    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 60)
    window = Window(UtcNs(START + 20 * SECOND_NS), UtcNs(START + 25 * SECOND_NS))
    with rig.reader() as reader:
        records = read_all(reader, window)
    assert [(each.start_ns - START) // SECOND_NS for each in records] == [20, 21, 22, 23, 24]


def test_read_follows_a_writer_beside_it(rig: Rig) -> None:
    """A reader that is open sees new records and new blocks without being opened again."""
    rig.create(blocks=16)
    writer = rig.writer()
    with rig.reader() as reader:
        assert read_all(reader) == []
        rig.record(writer, 3)
        assert len(read_all(reader)) == 3
        rig.record(writer, 30)
        assert len(read_all(reader)) == 33


class OvertakenDisk:
    """A disk on which somebody writes just before the reader's nth read."""

    def __init__(self, disk: FileDisk, at: int, write: Callable[[], object]) -> None:
        self._disk, self._at, self._write = disk, at, write
        self.reads = 0

    def pread(self, length: int, offset: int) -> bytes:
        self.reads += 1
        if self.reads == self._at:
            self._write()
        return self._disk.pread(length, offset)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


def record_and_sync(rig: Rig, writer: RingWriter) -> None:
    rig.record(writer, 3, 9000)
    writer.sync()
    rig.record(writer, 1, 9000)  # says that those before it are synced


def test_writer_that_overtakes_a_reader_looks_like_no_damage(tmp_path: Path, keys: Keys) -> None:
    """Whenever a writer appends and syncs while a reader looks for the end, all that was there before is read."""
    for at in itertools.count(1):
        rig = Rig(tmp_path, keys)
        rig.path.unlink(missing_ok=True)
        rig.create(blocks=4, block_bytes=256 << 10)
        writer = rig.writer()
        drafts = rig.record(writer, 3, 9000)
        writer.sync()
        disk = OvertakenDisk(FileDisk.open(rig.path), at, partial(record_and_sync, rig, writer))
        reader = RingReader(cast("Disk", disk), rig.keys.vault, rig.keys.recorder.public_key())
        records = read_all(reader)
        reader.close()
        writer.close()
        assert [each.plaintext for each in records[:3]] == [draft.payload for draft in drafts]
        if disk.reads < at:
            break
    assert at > 60


def test_restart_begins_a_new_block(rig: Rig) -> None:
    """After a restart the chain goes on, in a new block; everything from before is there."""
    rig.create(blocks=16)
    drafts = []
    for _ in range(5):
        writer = rig.writer()
        drafts += rig.record(writer, 3)
        writer.close()
    with rig.reader() as reader:
        records = read_all(reader)
    assert [each.plaintext for each in records] == [draft.payload for draft in drafts]
    assert {each.seq for each in records} == {1, 2, 3, 4, 5}


def test_read_needs_a_grant(rig: Rig) -> None:
    """Neither an ask nor a grant for another camera opens anything."""
    rig.create()
    rig.record(rig.writer(), 3)
    with rig.reader() as reader:
        grant = make_grant(reader)
        with pytest.raises(TypeError):
            reader.read(Ask(grant.request, grant.cameras, (), START, START), "door")  # type: ignore[arg-type]
        with pytest.raises(RingError, match="not in the grant"):
            reader.read(grant, "yard")
        with pytest.raises(RingError, match="another camera"):
            reader.read(make_grant(reader, camera="yard"), "yard")


def test_append_refuses_what_does_not_fit(rig: Rig) -> None:
    """A payload larger than a block is refused before anything is written, and recording goes on."""
    rig.create()
    writer = rig.writer()
    with pytest.raises(RecordTooLargeError):
        writer.append(rig.gop(writer.max_payload_bytes + 1))
    writer.append(rig.gop(writer.max_payload_bytes))
    with rig.reader() as reader:
        assert len(read_all(reader)) == 1


def test_second_writer_is_refused(rig: Rig) -> None:
    """One ring has one writer."""
    rig.create()
    writer = rig.writer()
    with pytest.raises(RingBusyError):
        rig.writer()
    writer.close()
    rig.writer().close()


def test_floor_only_footage_is_rebased_once_the_boot_synchronises(rig: Rig) -> None:
    """Floor-only records match no window as written; once the boot has synchronised they match by boot time."""
    rig.create(blocks=16)
    rig.clock.state_now, rig.clock.utc_ns = ClockState.FLOOR_ONLY, 5 * SECOND_NS
    writer = rig.writer()
    rig.record(writer, 5)
    with rig.reader() as reader:
        assert read_all(reader) == []
        assert len(list(reader.read_own(make_order(everything())))) == 5
    rig.clock.state_now, rig.clock.utc_ns = ClockState.SYNCHRONISED, START
    rig.record(writer, 2)
    window = Window(UtcNs(START - 3 * SECOND_NS), UtcNs(START))
    with rig.reader() as reader:
        records = read_all(reader, window)
    assert [each.rebased for each in records] == [True] * 3
    assert [each.start_ns - START for each in records] == [-3 * SECOND_NS, -2 * SECOND_NS, -SECOND_NS]


def test_two_runs_that_claim_the_same_time_are_not_released(rig: Rig) -> None:
    """After the clock went back, what both runs claim is a conflict, what one claims alone is released."""
    rig.create(blocks=32)
    writer = rig.writer()
    rig.record(writer, 30)
    rig.clock.utc_ns -= 10 * SECOND_NS
    writer.append(rig.note(Kind.RUN, b"{}"))
    rig.record(writer, 30)
    lost = []
    with rig.reader() as reader:
        records = [each for each in read_all(reader, on_loss=lost.append) if each.header.kind is Kind.GOP]
        spans = reader.coverage(Window(START, UtcNs(START + 50 * SECOND_NS)))
    assert {each.reason for each in lost} == {"clock-conflict"}
    assert len(lost) == 20
    assert [(each.start_ns - START) // SECOND_NS for each in records] == [*range(20), *range(30, 50)]
    assert [(span.kind, span.reason, span.window.duration_ns // SECOND_NS) for span in spans] == [
        ("footage", None, 20),
        ("gap", "clock-conflict", 10),
        ("footage", None, 20),
    ]


def test_coverage_tells_gaps_and_their_reasons(rig: Rig) -> None:
    """A recorded gap keeps its reason, an unexplained one is called not-recorded."""
    rig.create(blocks=32)
    writer = rig.writer()
    rig.record(writer, 10)
    rig.clock.run(20 * SECOND_NS)
    writer.append(rig.note(Kind.GAP, duration_ns=20 * SECOND_NS))
    rig.record(writer, 10)
    rig.clock.run(HOUR_NS)
    with rig.reader() as reader:
        spans = reader.coverage(Window(START, UtcNs(START + 60 * SECOND_NS)))
    assert [(span.kind, span.reason, span.window.duration_ns // SECOND_NS) for span in spans] == [
        ("footage", None, 10),
        ("gap", "camera-down", 20),
        ("footage", None, 10),
        ("gap", "not-recorded", 20),
    ]


def test_evidence_walks_the_chain_from_page_to_page(rig: Rig) -> None:
    """Header bytes and body digests alone lead from a block's page to the value that the next page signs."""
    from edge_agent.buffer.format.page import chain_start, parse_page
    from edge_agent.buffer.format.record import next_chain, record_digest

    rig.create(blocks=16)
    rig.record(rig.writer(), 40)
    with rig.reader() as reader:
        blocks = list(reader.evidence(make_grant(reader), "door"))
    assert len(blocks) > 3
    for block in blocks:
        chain = chain_start(block.page_bytes)
        for record in block.records:
            chain = next_chain(chain, record_digest(record.header_bytes, record.body_sha256))
        if block.next_page_bytes is not None:
            assert parse_page(block.next_page_bytes).previous.chain == chain
    assert [block.next_page_bytes is None for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_reader_refuses_another_recorders_pages(rig: Rig) -> None:
    """Pages that another key signed are damage, even where that key is in the superblock."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edge_agent.buffer.read.reader import RingReader

    rig.create()
    rig.record(rig.writer(), 3)
    pinned = Ed25519PrivateKey.generate().public_key()
    with RingReader.open(rig.path, rig.keys.vault, pinned) as reader, pytest.raises(IntegrityError):
        read_all(reader)


def test_writer_knows_where_the_ring_ends(rig: Rig) -> None:
    """The newest end of a record is told while the block is open, after a close, and after a restart."""
    rig.create()
    writer = rig.writer()
    assert writer.newest_ns == 0
    rig.record(writer, 10)
    assert writer.newest_ns == rig.clock.utc_ns
    writer.close()
    assert rig.writer().newest_ns == START + 10 * SECOND_NS


def test_footage_from_after_the_clock_lost_its_source_is_found(rig: Rig) -> None:
    """Records that became floor-only are rebased on the time before, and found by it."""
    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 3)
    rig.clock.state_now = ClockState.FLOOR_ONLY
    rig.record(writer, 12)
    window = Window(UtcNs(START + 4 * SECOND_NS), UtcNs(START + 6 * SECOND_NS))
    with rig.reader() as reader:
        records = read_all(reader, window)
    assert [(each.start_ns - START) // SECOND_NS for each in records] == [4, 5]
    assert all(each.rebased for each in records)


def test_erasure_finds_footage_from_after_the_clock_lost_its_source(rig: Rig) -> None:
    """No block holds both: the span that a page tells is that of all of its records, or of none to rely on."""
    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 3)
    rig.clock.state_now = ClockState.FLOOR_ONLY
    rig.record(writer, 3)
    writer.erase(Window(UtcNs(START + 4 * SECOND_NS), UtcNs(START + 5 * SECOND_NS)))
    with rig.reader() as reader:
        left = read_all(reader, on_loss=lambda loss: None)
    assert [(each.start_ns - START) // SECOND_NS for each in left] == [0, 1, 2]


@pytest.mark.parametrize("away_ns", [3 * DAY_NS, -3 * DAY_NS], ids=["clock was slow", "clock was fast"])
@pytest.mark.parametrize("before", [0, 3], ids=["first record of the block", "in the middle of the block"])
def test_record_that_was_timed_before_the_clock_was_set_is_floor_only(rig: Rig, before: int, away_ns: int) -> None:
    """A record that a wrong clock timed and a right one stored claims no time of its own, and dates no other record."""
    rig.create(blocks=16)
    rig.clock.state_now, rig.clock.utc_ns = ClockState.FLOOR_ONLY, START - away_ns
    writer = rig.writer()
    rig.record(writer, before)
    rig.clock.run(SECOND_NS)
    late = rig.gop()
    rig.clock.state_now = ClockState.SYNCHRONISED
    rig.clock.utc_ns += away_ns
    writer.append(late)
    rig.record(writer, 2)
    with rig.reader() as reader:
        records = read_all(reader)
        wrong = read_all(reader, Window(late.start_ns, UtcNs(late.start_ns + SECOND_NS)))
    assert wrong == []
    assert [each.rebased for each in records] == [True] * (before + 1) + [False] * 2
    assert [(each.start_ns - START) // SECOND_NS for each in records] == list(range(before + 3))


def test_hole_that_began_before_a_floor_only_boot_claims_no_time(rig: Rig) -> None:
    """Its start is of another boot, and its end was not known: boot time dates neither."""
    rig.create(blocks=16)
    rig.clock.state_now, rig.clock.boot_ns = ClockState.FLOOR_ONLY, 20 * SECOND_NS
    writer = rig.writer()
    hole = replace(rig.note(Kind.GAP, duration_ns=HOUR_NS), boot_ns=MonoNs(0))
    writer.append(hole)
    rig.record(writer, 2)
    rig.clock.state_now = ClockState.SYNCHRONISED
    rig.clock.utc_ns += DAY_NS
    rig.record(writer, 2)
    with rig.reader() as reader:
        records = read_all(reader)
    assert [each.header.kind for each in records] == [Kind.GOP] * 4
    assert [(each.start_ns - START - DAY_NS) // SECOND_NS for each in records] == list(range(4))


def test_two_rings_never_hold_the_same_buffer() -> None:
    """A ring whose disk hangs keeps its buffer; a longer record gets one that is long enough."""
    with borrow_buffer(100) as first, borrow_buffer(100) as second:
        assert first is not second
    with borrow_buffer(1 << 20) as longer:
        assert len(longer) >= 1 << 20

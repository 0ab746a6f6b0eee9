"""Footage that is due goes, in time and permanently; no other does."""

import pytest

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.format.page import parse_page
from edge_agent.buffer.ring import read_superblock
from edge_agent.buffer.write.retention import anchor_clock
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, ClockState, UtcNs, Window
from tests.buffer.rig import START, Rig, read_all


def sealed_keys(rig: Rig) -> dict[int, bytes]:
    with rig.reader() as reader:
        return {page.seq: page.sealed_key for page in reader.pages() if not page.tombstone}


def run_ticking(rig: Rig, writer, duration_ns: int, step_ns: int = MINUTE_NS) -> None:
    for _ in range(duration_ns // step_ns):
        rig.clock.run(step_ns)
        writer.tick()


def test_block_goes_within_a_minute_of_its_oldest_records_time(rig: Rig) -> None:
    """At ``keep_for`` after its oldest record, and not before, a block's key is overwritten."""
    rig.create(blocks=64)
    writer = rig.writer(keep_for_ns=HOUR_NS)
    rig.record(writer, 40)
    before = sealed_keys(rig)
    run_ticking(rig, writer, HOUR_NS - 41 * SECOND_NS, SECOND_NS)
    assert len(sealed_keys(rig)) == len(before)
    run_ticking(rig, writer, MINUTE_NS, SECOND_NS)
    assert set(sealed_keys(rig)) <= {max(before)}
    run_ticking(rig, writer, MINUTE_NS, SECOND_NS)
    raw = rig.path.read_bytes()
    assert not any(key in raw for key in before.values())
    assert read_all(rig.reader()) == []


def test_open_block_is_closed_after_ten_minutes(rig: Rig) -> None:
    """A camera that records little does not keep its first record because its block never fills."""
    rig.create(blocks=64)
    writer = rig.writer()
    for _ in range(30):
        rig.clock.run(MINUTE_NS)
        writer.append(rig.gop(10))
        writer.tick()
    assert writer.head[0] in (3, 4)


def test_forward_step_erases_nothing_until_boot_time_confirms(rig: Rig) -> None:
    """A wall clock that jumps a week ahead costs no footage; boot time goes on, and ages it as it should."""
    rig.create(blocks=64)
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    drafts = rig.record(writer, 20)
    rig.clock.utc_ns += 7 * DAY_NS
    run_ticking(rig, writer, HOUR_NS)
    assert writer.is_clock_held_back
    assert len(read_all(rig.reader())) == len(drafts)
    run_ticking(rig, writer, 6 * HOUR_NS)
    assert read_all(rig.reader()) == []


def test_forward_step_survives_restarts_of_the_recorder(rig: Rig) -> None:
    """A step, footage at the stepped time, and a restart do not make the step believed."""
    rig.create(blocks=64)
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    rig.record(writer, 20)
    rig.clock.utc_ns += 7 * DAY_NS
    for _ in range(3):
        rig.record(writer, 5)
        run_ticking(rig, writer, 2 * MINUTE_NS, SECOND_NS)
        writer.close()
        writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    assert len(read_all(rig.reader())) == 35


def test_owner_confirms_a_step(rig: Rig) -> None:
    """After the owner said that the clock is right, what is too old goes at once."""
    rig.create(blocks=64)
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    rig.record(writer, 20)
    writer.close()
    rig.boot_id, rig.clock.boot_ns = b"the-boot-after-.", 5 * SECOND_NS
    rig.clock.utc_ns += 7 * DAY_NS
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    writer.tick()
    assert writer.is_clock_held_back
    assert len(read_all(rig.reader())) == 20
    writer.confirm_clock(rig.clock.utc_ns - rig.clock.boot_ns)
    run_ticking(rig, writer, MINUTE_NS, SECOND_NS)
    assert read_all(rig.reader()) == []


def test_second_boot_after_a_pause_believes_the_first(rig: Rig) -> None:
    """What an earlier boot wrote anchors the next: a pause delays retention by one boot, not indefinitely."""
    rig.create(blocks=64)
    for number in range(3):
        rig.boot_id, rig.clock.boot_ns = bytes([number]) * 16, 5 * SECOND_NS
        writer = rig.writer(keep_for_ns=6 * HOUR_NS)
        rig.record(writer, 2)
        run_ticking(rig, writer, MINUTE_NS, SECOND_NS)
        writer.close()
        rig.clock.utc_ns += DAY_NS
    with rig.reader() as reader:
        assert [entry.tombstone for entry in reader.index.entries()] == [True, False, False]


def test_floor_only_blocks_age_by_boot_time(rig: Rig) -> None:
    """Footage from before the clock was set is not thrown away when the clock is set, and goes when it is old."""
    rig.create(blocks=64)
    rig.clock.state_now, rig.clock.utc_ns = ClockState.FLOOR_ONLY, START - 400 * DAY_NS
    writer = rig.writer(keep_for_ns=HOUR_NS)
    rig.record(writer, 10)
    rig.clock.state_now, rig.clock.utc_ns = ClockState.SYNCHRONISED, START
    run_ticking(rig, writer, 30 * MINUTE_NS)
    rig.record(writer, 1)
    assert len(read_all(rig.reader())) == 11
    run_ticking(rig, writer, 40 * MINUTE_NS)
    assert len(read_all(rig.reader())) == 1


def test_erase_takes_whole_blocks_and_says_which(rig: Rig) -> None:
    """A span of three seconds takes the blocks that it touches; their spans are returned, and are what is gone."""
    rig.create(blocks=64)
    writer = rig.writer()
    drafts = rig.record(writer, 60)
    window = Window(UtcNs(START + 20 * SECOND_NS), UtcNs(START + 23 * SECOND_NS))
    erased = writer.erase(window)
    assert erased
    assert all(each.window is not None and each.window.intersect(window) for each in erased)
    left = {each.plaintext for each in read_all(rig.reader(), on_loss=lambda loss: None)}
    spans = [each.window for each in erased if each.window]
    gone = [draft for draft in drafts if draft.payload not in left]
    assert gone
    for draft in drafts:
        span = Window(draft.start_ns, UtcNs(draft.start_ns + draft.duration_ns))
        assert (draft in gone) == any(span.intersect(each) for each in spans)
    assert writer.erase(window) == []


def test_erase_of_everything_includes_the_open_block(rig: Rig) -> None:
    """After ``erase(None)`` no sealed key of before is in the file, recording goes on, and the chain holds."""
    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 12)
    before = sealed_keys(rig)
    writer.erase(None)
    raw = rig.path.read_bytes()
    assert not any(key in raw for key in before.values())
    drafts = rig.record(writer, 12)
    writer.close()
    drafts += rig.record(rig.writer(), 3)
    assert [each.plaintext for each in read_all(rig.reader())] == [draft.payload for draft in drafts]


def test_erase_takes_the_keys_of_damaged_pages(rig: Rig) -> None:
    """Such a page does not tell its block's time: its key goes with any erasure, and the rest stays to be seen."""
    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 12)
    writer.close()
    key = sealed_keys(rig)[2]
    with FileDisk.open(rig.path, writable=True) as disk:
        disk.pwrite(b"damage", read_superblock(disk).superblock.page_offset(2) + 64)
    writer = rig.writer()
    assert key in rig.path.read_bytes()
    writer.erase(Window(START, UtcNs(START + 1)))
    raw = rig.path.read_bytes()
    assert key not in raw
    assert b"damage" in raw


def test_tombstone_of_the_newest_block_keeps_the_chain_over_a_restart(rig: Rig) -> None:
    """An erased newest block still tells the next process how it ended."""
    from edge_agent.buffer.disk import FileDisk
    from edge_agent.buffer.read.check import check_ring

    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 3)
    head = writer.head
    writer.erase(None)
    writer.close()
    again = rig.writer()
    assert again.head == head
    rig.record(again, 1)
    with rig.reader() as reader:
        assert parse_page(reader.index.read_page(2)).previous.chain == head[1]
    assert check_ring(FileDisk.open(rig.path), rig.keys.recorder.public_key()).findings == ()


def test_reader_is_told_of_an_erasure_while_it_reads(rig: Rig) -> None:
    """An erasure takes effect on a reader that is in the middle of the block: the next record is not handed out."""
    rig.create(blocks=16)
    writer = rig.writer()
    rig.record(writer, 5)
    lost: list = []
    from tests.buffer.rig import make_grant

    reader = rig.reader()
    records = reader.read(make_grant(reader), "door", on_loss=lost.append)
    next(records)
    writer.erase(None)
    assert list(records) == []
    assert {each.reason for each in lost} == {"erased"}


def test_restarts_cost_at_most_a_block_each(rig: Rig) -> None:
    """66 restarts, the most that the back-off allows in an hour, use up at most 66 blocks, and none without footage."""
    delays = [min(2**number, 60) for number in range(200)]
    most = next(count for count in range(200) if sum(delays[:count]) > 3600)
    assert most <= 66
    rig.create(blocks=128)
    for _ in range(most):
        writer = rig.writer()
        rig.record(writer, 1)
        writer.close()
    assert rig.writer_head() <= most
    for _ in range(10):
        rig.writer().close()
    assert rig.writer_head() <= most


@pytest.mark.parametrize("stepped_ns", [0, 2 * HOUR_NS, 7 * DAY_NS])
def test_retention_never_runs_ahead_of_what_is_vouched_for(rig: Rig, stepped_ns: int) -> None:
    """Retention acts on the wall clock, or on one hour ahead of the newest time in the pages, whichever is less."""
    rig.create()
    writer = rig.writer()
    rig.record(writer, 3)
    writer.close()
    rig.boot_id = b"the-boot-after-."
    opened = START + SECOND_NS
    rig.clock.utc_ns += stepped_ns
    with rig.reader() as reader:
        clock = anchor_clock(reader.index, rig.boot_id, rig.clock.utc(), rig.clock.boot())
    assert clock.now(rig.clock.utc(), rig.clock.boot()) == min(rig.clock.utc_ns, opened + HOUR_NS)


@pytest.mark.parametrize("same_boot", [True, False], ids=["in its boot", "in a later boot"])
def test_footage_of_a_time_to_come_does_not_stay_until_then(rig: Rig, same_boot: bool) -> None:
    """What was recorded by a clock in 2100 goes when it is old by boot time, or with the next footage that is."""
    rig.create(blocks=64)
    rig.clock.utc_ns += 75 * 365 * DAY_NS
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    rig.record(writer, 20)
    rig.clock.utc_ns = START + MINUTE_NS
    if not same_boot:
        writer.close()
        rig.boot_id, rig.clock.boot_ns = b"the-boot-after-.", 5 * SECOND_NS
        writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    rig.record(writer, 5)
    run_ticking(rig, writer, 5 * HOUR_NS)
    assert len(sealed_keys(rig)) == len(range(1, writer.head[0] + 1))
    run_ticking(rig, writer, 2 * HOUR_NS)
    assert sealed_keys(rig) == {}


def test_footage_of_a_time_to_come_vouches_for_no_step(rig: Rig) -> None:
    """A clock that was in 2100 once is no reason to believe that it is next week."""
    rig.create(blocks=64)
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    rig.record(writer, 20)
    rig.clock.utc_ns += 75 * 365 * DAY_NS
    rig.record(writer, 5)
    writer.close()
    before = sealed_keys(rig)
    rig.boot_id, rig.clock.boot_ns = b"the-boot-after-.", 5 * SECOND_NS
    rig.clock.utc_ns = START + 7 * DAY_NS
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    run_ticking(rig, writer, HOUR_NS)
    assert writer.is_clock_held_back
    assert sealed_keys(rig) == before


def test_owners_word_counts_for_a_ring_that_is_opened_later(rig: Rig) -> None:
    """Told again at every opening of its boot, the confirmed offset keeps retention at the wall clock."""
    rig.create(blocks=64)
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    rig.record(writer, 20)
    writer.close()
    rig.boot_id, rig.clock.boot_ns = b"the-boot-after-.", 5 * SECOND_NS
    rig.clock.utc_ns += 7 * DAY_NS
    offset_ns = rig.clock.utc_ns - rig.clock.boot_ns
    rig.clock.run(2 * HOUR_NS)
    for _ in range(2):
        writer = rig.writer(keep_for_ns=6 * HOUR_NS)
        assert writer.is_clock_held_back
        writer.confirm_clock(offset_ns)
        assert not writer.is_clock_held_back
        rig.record(writer, 1)
        writer.close()
    writer = rig.writer(keep_for_ns=6 * HOUR_NS)
    writer.confirm_clock(offset_ns)
    rig.clock.utc_ns += 2 * HOUR_NS  # a step after the owner's word is doubted as any other
    assert writer.is_clock_held_back

"""Power loss at any moment, on the fake disk."""

import logging
import zlib

import pytest

from edge_agent.buffer.format.constants import PAGE_BYTES
from edge_agent.buffer.format.page import parse_page
from tests.buffer.rig import Keys
from tests.crash.explore import BLOCKS, CrashState, Explorer, explore

SEEDS = range(12)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute of computing by itself, and three tests share two cores
def test_every_state_after_power_loss_holds(keys: Keys) -> None:
    """In thousands of crash states what was synced is there, nothing else pretends to be, and recording goes on."""
    logging.disable(logging.ERROR)
    try:
        assert sum(explore(seed, 2000, keys) for seed in SEEDS) > 4000
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", SEEDS)
def test_page_is_durable_before_its_records_and_records_never_change(seed: int, keys: Keys) -> None:
    """I3 and I5, from the log of writes: page, sync, records; a synced record is only ever written again alike."""
    work = Explorer(seed, keys).work
    durable_pages: dict[int, int] = {}
    pending_pages: dict[int, int] = {}
    durable_data: dict[int, tuple[int, bytes]] = {}
    pending_data: dict[int, tuple[int, bytes]] = {}
    for entry in work.disk.log:
        if entry is None:
            durable_pages |= pending_pages
            durable_data |= pending_data
            pending_pages, pending_data = {}, {}
            continue
        offset, data = entry
        if offset < work.superblock.data_offset:
            if offset >= 2 * PAGE_BYTES:
                page = parse_page(data)
                pending_pages[work.superblock.slot(page.seq)] = page.seq
            continue
        slot = (offset - work.superblock.data_offset) // work.superblock.block_bytes
        seq = int.from_bytes(data[8:16], "little")
        assert durable_pages[slot] == seq
        for at in range(0, len(data), PAGE_BYTES):
            old = durable_data.get(offset + at)
            if old is not None and old[0] == seq:
                assert zlib.crc32(old[1]) == zlib.crc32(data[at : at + PAGE_BYTES])
            pending_data[offset + at] = (seq, data[at : at + PAGE_BYTES])


def test_no_block_number_has_two_keys(keys: Keys) -> None:
    """I4: over restarts, every block number has one sealed key, and each index is written with one body."""
    for seed in SEEDS:
        work = Explorer(seed, keys).work
        bodies: dict[tuple[bytes, bytes], bytes] = {}
        sealed: dict[int, bytes] = {}
        for offset, data in (entry for entry in work.disk.log if entry is not None):
            if offset >= work.superblock.data_offset:
                seq = int.from_bytes(data[8:16], "little")
                place = sealed[seq], data[16:20]
                assert bodies.setdefault(place, data) == data
            elif offset >= 2 * PAGE_BYTES and not parse_page(data).tombstone:
                page = parse_page(data)
                assert page.seq not in sealed
                sealed[page.seq] = page.sealed_key
        assert len(sealed) > BLOCKS


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


def test_judge_notices_a_lost_record(keys: Keys) -> None:
    """The judge is not blind: a disk on which a synced record is missing is not let through."""
    explorer = Explorer(1, keys)
    early = next(state for state in explorer.states() if state.at > 20)
    claimed = CrashState(len(explorer.work.disk.log), early.content, torn=False)
    with pytest.raises(AssertionError, match="synced record is gone"):
        explorer.judge(claimed)

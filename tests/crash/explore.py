"""Power loss, explored: every state in which a disk may be left by a workload, and what must hold in each.

    python -m tests.crash.explore [SEED] [STATES]      goes on as long as is wanted

The workload runs on a ``FakeDisk``, which logs every write and every sync. A crash after the n-th entry of the log
leaves everything up to the last sync, and of the pages written since any subset, one of them perhaps torn (FORMAT
1.2, D2).
"""

import itertools
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.buffer.crypt import sign_superblock
from edge_agent.buffer.format.constants import PAGE_BYTES
from edge_agent.buffer.format.page import Page, is_blank, parse_page
from edge_agent.buffer.format.record import parse_header
from edge_agent.buffer.format.superblock import Superblock
from edge_agent.buffer.read.check import check_ring
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.ring import plan_superblock
from edge_agent.buffer.write.writer import RecordRef, RingWriter
from edge_agent.errors import RingError
from edge_agent.units import HOUR_NS, SECOND_NS
from tests.buffer.fake_disk import FakeDisk
from tests.buffer.rig import Keys, Rig, make_grant

BLOCKS, BLOCK_BYTES = 5, 4 * PAGE_BYTES
MOST_SUBSET_PAGES = 5
"""Up to so many unsynced pages every subset is tried, beyond that a sample of as many."""
TORN_AT = (1, 512, 2048, 4095)


@dataclass
class Appended:
    ref: RecordRef
    payload: bytes
    logged_at: int


@dataclass
class Workload:
    """What was done to the disk, and what was promised."""

    blank: bytes
    superblock: Superblock
    disk: FakeDisk
    appended: list[Appended] = field(default_factory=list)


@dataclass(frozen=True)
class CrashState:
    """The disk as a crash left it."""

    at: int
    content: bytes
    torn: bool


class Explorer:
    """Runs one workload and judges the states that it can end in."""

    def __init__(self, seed: int, keys: Keys) -> None:
        self.random = random.Random(seed)
        self.rig = Rig(Path("unused"), keys)
        self.rig.boot_id = seed.to_bytes(16, "little")
        self.work = self._run()

    def _run(self) -> Workload:
        """Append, sync, wrap around, expire, erase, close, and open again, at random."""
        superblock = plan_superblock(
            camera="door",
            quality="main",
            size_bytes=(2 + BLOCKS) * PAGE_BYTES + BLOCKS * BLOCK_BYTES,
            block_size=BLOCK_BYTES,
            recorder_public=self.rig.keys.recorder.public_key().public_bytes_raw(),
            now=self.rig.clock.utc(),
        )
        blank = (sign_superblock(superblock, self.rig.keys.recorder) * 2).ljust(superblock.file_bytes, b"\0")
        work = Workload(blank, superblock, FakeDisk(blank))
        writer = self._open(work)
        for _ in range(45):
            writer = self._step(work, writer)
        return work

    def _open(self, work: Workload) -> RingWriter:
        return self.rig.writer_on(work.disk, keep_for_ns=HOUR_NS)

    def _step(self, work: Workload, writer: RingWriter) -> RingWriter:
        what = self.random.choices(("append", "sync", "wait", "erase", "reopen"), (30, 6, 3, 1, 2))[0]
        if what == "append":
            self.rig.clock.run(SECOND_NS)
            draft = self.rig.gop(self.random.choice((100, 3000, 5000)))
            work.appended.append(Appended(writer.append(draft), draft.payload, len(work.disk.log)))
        elif what == "sync":
            writer.sync()
        elif what == "wait":
            self.rig.clock.run(self.random.choice((SECOND_NS, 11 * 60 * SECOND_NS)))
            writer.tick()
        elif what == "erase":
            writer.erase(None)
        else:
            if self.random.random() < 0.5:
                writer.close()
            return self._open(work)
        return writer

    def states(self) -> Iterator[CrashState]:
        """Yield every prefix of the log, with every subset of its unsynced pages, each page torn once."""
        durable = bytearray(self.work.blank)
        pending: list[tuple[int, bytes]] = []
        for at, entry in enumerate([*self.work.disk.log, None]):
            yield from self._states_at(at, durable, pending)
            if entry is None:
                for offset, data in pending:
                    durable[offset : offset + len(data)] = data
                pending = []
            else:
                offset, data = entry
                pending += [
                    (offset + at_page, data[at_page : at_page + PAGE_BYTES])
                    for at_page in range(0, len(data), PAGE_BYTES)
                ]

    def _states_at(self, at: int, durable: bytearray, pages: list[tuple[int, bytes]]) -> Iterator[CrashState]:
        for subset in self._subsets(len(pages)):
            content = bytearray(durable)
            for page in subset:
                offset, data = pages[page]
                content[offset : offset + len(data)] = data
            yield CrashState(at, bytes(content), torn=False)
            if subset:
                offset, data = pages[subset[-1]]
                cut = self.random.choice(TORN_AT)
                content[offset + cut : offset + PAGE_BYTES] = durable[offset + cut : offset + PAGE_BYTES]
                yield CrashState(at, bytes(content), torn=True)

    def _subsets(self, pages: int) -> Iterator[tuple[int, ...]]:
        if pages <= MOST_SUBSET_PAGES:
            for size in range(pages + 1):
                yield from itertools.combinations(range(pages), size)
            return
        yield ()
        yield tuple(range(pages))
        for _ in range(2**MOST_SUBSET_PAGES):
            yield tuple(page for page in range(pages) if self.random.random() < 0.5)

    def judge(self, state: CrashState) -> None:
        """Reopen the disk as it was left; AssertionError where an invariant of FORMAT 8 does not hold."""
        before = self._promised(state)
        used = _block_numbers_of_records(state.content, self.work.superblock)
        disk = FakeDisk(state.content)
        self._judge_reading(disk, before)
        writer = self.rig.writer_on(disk, keep_for_ns=1000 * HOUR_NS)
        self._judge_reading(disk, before)
        self._judge_check(disk, state)
        self.rig.clock.run(SECOND_NS)
        draft = self.rig.gop(200)
        ref = writer.append(draft)
        writer.sync()
        # I4: a number that records on the disk bear already is not used for others.
        assert ref.seq not in used, f"block {ref.seq} used again"
        kept = {place: payload for place, payload in before.items() if place[0] > ref.seq - BLOCKS}
        found = self._judge_reading(disk, kept)
        assert found[ref.seq, ref.index] == draft.payload
        self._judge_check(disk, state)

    def _promised(self, state: CrashState) -> dict[tuple[int, int], bytes]:
        """Return what must be readable (I1): synced, and no later write aims at its block's page."""
        log = self.work.disk.log[: state.at]
        synced = max((at for at, entry in enumerate(log) if entry is None), default=-1)
        doomed: set[int] = set()
        for entry in log:
            if entry is not None:
                doomed |= self._dooms(entry)
        return {
            (each.ref.seq, each.ref.index): each.payload
            for each in self.work.appended
            # `append` may have synced behind its own write; the write is what counts.
            if self._written_at(each) <= synced and each.ref.seq not in doomed
        }

    def _written_at(self, appended: Appended) -> int:
        at = appended.logged_at - 1
        while self.work.disk.log[at] is None:
            at -= 1
        return at

    def _dooms(self, entry: tuple[int, bytes]) -> set[int]:
        page = _page_in(entry, self.work.superblock)
        if page is None:
            return set()
        return {page.seq} if page.tombstone else {page.seq - BLOCKS}

    def _judge_reading(self, disk: FakeDisk, promised: dict[tuple[int, int], bytes]) -> dict[tuple[int, int], bytes]:
        everything = {(each.ref.seq, each.ref.index, each.payload) for each in self.work.appended}
        reader = RingReader(disk, self.rig.keys.vault, self.rig.keys.recorder.public_key())
        lost: list[object] = []
        records = list(reader.read(make_grant(reader), "door", on_loss=lost.append))
        found = {(each.seq, each.index): each.plaintext for each in records}
        for place, payload in promised.items():
            assert found.get(place) == payload, f"synced record is gone: {place}"
        for (seq, index), payload in found.items():
            # I2, except for what the judge itself has appended.
            assert (seq, index, payload) in everything or len(payload) == 200, f"a stranger: {seq} {index}"
        return found

    def _judge_check(self, disk: FakeDisk, state: CrashState) -> None:
        report = check_ring(disk, self.rig.keys.recorder.public_key())
        for finding in report.findings:
            # A torn page costs its block (of the newest block's tombstone: the chain's end); nothing else may be found.
            assert state.torn, finding
            assert finding.index is None, finding
            assert any(text in finding.text for text in ("header page", "missing", "without a readable page")), finding


def _page_in(entry: tuple[int, bytes], superblock: Superblock) -> Page | None:
    offset, data = entry
    if not 2 * PAGE_BYTES <= offset < superblock.data_offset or is_blank(data):
        return None
    return parse_page(data)


def _block_numbers_of_records(content: bytes, superblock: Superblock) -> set[int]:
    found = set()
    for offset in range(superblock.data_offset, superblock.file_bytes, PAGE_BYTES):
        try:
            found.add(parse_header(content[offset : offset + 128]).seq)
        except RingError:
            continue
    return found


def explore(seed: int, most_states: int, keys: Keys) -> int:
    """Judge up to so many states of the workload of one seed; return how many there were."""
    explorer = Explorer(seed, keys)
    count = 0
    for state in itertools.islice(explorer.states(), most_states):
        try:
            explorer.judge(state)
        except Exception as error:
            raise AssertionError(f"seed={seed} state={count} at={state.at}: {error!r}") from error
        count += 1
    return count


if __name__ == "__main__":
    first = int(sys.argv[1]) if len(sys.argv) > 1 else int.from_bytes(os.urandom(3))
    left = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    shared = Keys()
    for number in itertools.count(first):
        left -= explore(number, left, shared)
        print(f"seed {number}: all states hold; {left} to go", flush=True)
        if left <= 0:
            break

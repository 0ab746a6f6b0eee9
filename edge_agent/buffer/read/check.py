"""``ring check``: read every byte of a ring with public keys only, and name every part that is not as written.

Owns the list of findings. Works on a copied file and beside a writer. Must never need, or ask for, a private key.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.buffer.block_scan import BlockWalk, LocatedRecord, is_body_good
from edge_agent.buffer.crypt import verify_page, verify_superblock
from edge_agent.buffer.disk import Disk
from edge_agent.buffer.format.constants import (
    DIGEST_BYTES,
    HEADER_BYTES,
    PAGE_BYTES,
    SUPERBLOCK_COPIES,
    TAG_BYTES,
    State,
)
from edge_agent.buffer.format.page import Page, chain_start, parse_page
from edge_agent.buffer.format.record import chain_genesis
from edge_agent.buffer.format.superblock import parse_superblock
from edge_agent.buffer.index import RingIndex
from edge_agent.buffer.ring import read_superblock
from edge_agent.errors import IntegrityError, RingError


@dataclass(frozen=True, slots=True)
class RingFinding:
    """A part that is not as it was written, and its cost."""

    seq: int | None
    index: int | None
    text: str
    cost: str
    """``nothing``, ``one record``, ``one block``, or that it cannot be told."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The extent of a check, and its findings."""

    ring_id: bytes
    camera: str
    quality: str
    blocks: int
    tombstones: int
    records: int
    bytes_checked: int
    signed_records: int
    """Records in blocks whose end a later header page signs."""
    head: tuple[int, bytes]
    findings: tuple[RingFinding, ...]

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing was found."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The end of a ring as the ledger knew it: its newest block, and a chain value that was durable in it."""

    ring_id: bytes
    seq: int
    chain: bytes

    @classmethod
    def parse(cls, text: str) -> "KnownHead":
        """Read ``<ring id>:<block>:<chain>``, the ledger's form; ValueError for anything else."""
        ring_id, seq, chain = text.split(":")
        return cls(bytes.fromhex(ring_id), int(seq), bytes.fromhex(chain))


class _Checker:
    def __init__(
        self,
        disk: Disk,
        recorder: Ed25519PublicKey | None,
        progress: Callable[[int, int], None],
        known: KnownHead | None,
    ) -> None:
        self._disk, self._known = disk, known
        loaded = read_superblock(disk)
        self._superblock, self._damaged_copies = loaded.superblock, loaded.damaged_copies
        self._recorder = recorder or Ed25519PublicKey.from_public_bytes(self._superblock.recorder_public)
        self._progress = progress
        self._index = RingIndex(disk, self._superblock)
        self._index.load()
        self.findings: list[RingFinding] = []
        self._records = self._signed = self._bytes = 0
        self._head = (0, chain_genesis(self._superblock.ring_id))

    def run(self) -> CheckReport:
        self._check_superblocks()
        for slot, text in sorted(self._index.bad_slots.items()):
            self._note(None, None, f"slot={slot}: {text}", "one block")
        entries = self._index.entries()
        previous: Page | None = None
        for at, entry in enumerate(entries):
            self._progress(at, len(entries))
            previous = self._check_block(entry.seq, previous)
        self._progress(len(entries), len(entries))
        self._check_known()
        return CheckReport(
            ring_id=self._superblock.ring_id,
            camera=self._superblock.camera,
            quality=self._superblock.quality,
            blocks=len(entries),
            tombstones=sum(entry.tombstone for entry in entries),
            records=self._records,
            bytes_checked=self._bytes,
            signed_records=self._signed,
            head=self._head,
            findings=tuple(self.findings),
        )

    def _note(self, seq: int | None, index: int | None, text: str, cost: str) -> None:
        self.findings.append(RingFinding(seq, index, text, cost))

    def _check_known(self) -> None:
        """Hold the ring's end against the ledger: newest blocks that were cut off leave no other trace (FORMAT 8)."""
        known = self._known
        if known is None:
            return
        if known.ring_id != self._superblock.ring_id:
            self._note(None, None, "the ledger tells of another ring in this one's place", "that ring")
        elif self._index.newest_seq < known.seq:
            text = f"the ledger knew block {known.seq}, the ring ends at {self._index.newest_seq}: an older copy?"
            self._note(None, None, text, "the blocks since then")

    def _check_superblocks(self) -> None:
        for copy in self._damaged_copies:
            self._note(None, None, f"superblock copy={copy} is damaged; the recorder mends it", "nothing")
        if self._superblock.state is State.EXCERPT:
            return
        for copy in set(range(SUPERBLOCK_COPIES)) - set(self._damaged_copies):
            raw = self._disk.pread(PAGE_BYTES, copy * PAGE_BYTES)
            try:
                verify_superblock(raw, parse_superblock(raw), self._recorder)
            except IntegrityError as error:
                self._note(None, None, f"copy={copy}: {error}", "the ring's identity is not proved")

    def _check_block(self, seq: int, previous: Page | None) -> Page | None:
        raw = self._index.read_page(seq)
        try:
            page = parse_page(raw)
            verify_page(raw, page, self._recorder)
        except IntegrityError as error:
            # The same on a second look: damage, and no page that was read while its writer wrote
            # it.
            if raw == self._index.read_page(seq):
                self._note(seq, None, str(error), "one block")
            return None
        if page.seq != seq:
            return None  # Overwritten while we looked: a writer is beside us.
        if previous is not None and page.seq != previous.seq + 1:
            self._note(seq, None, f"blocks {previous.seq + 1}..{page.seq - 1} are missing", "those blocks")
        if page.previous_lost:
            self._note(seq, None, "the recorder found the block before without a readable page", "the chain's unity")
        if not page.tombstone:
            self._check_records(page, raw)
        elif page.final_accepted_bytes:
            self._head = (seq, page.final_chain)
        return page

    def _check_records(self, page: Page, raw: bytes) -> None:
        seq = page.seq
        following = self._next_page(seq)
        limit = following.previous.accepted_bytes if following else None
        scan = BlockWalk(self._disk, self._superblock, seq, chain_start(raw), limit).scan()
        if following is None:
            scan = scan.without_torn_tail()
        findings = [RingFinding(seq, each.index, f"{each.reason} is damaged", "one record") for each in scan.damage]
        if following and scan.chain != following.previous.chain and not findings:
            last = scan.records[-1].header.index if scan.records else None
            findings.append(RingFinding(seq, last, "chain ends otherwise than the next page signs", "one record"))
        known = self._known
        if known is not None and known.seq == seq and known.ring_id == page.ring_id:
            chains = {chain_start(raw), *(record.chain for record in scan.records)}
            # Only in a whole block: damage would hide the chain value as well.
            if known.chain not in chains and not findings:
                findings.append(RingFinding(seq, None, "block was another when the ledger noted it", "one block"))
        for record in scan.records:
            wrong = self._check_record(record)
            if wrong is None:
                continue
            if following is None and record.header.index >= scan.durable:
                break  # On its way to the disk, or a torn tail: the recorder will not accept it.
            findings.append(RingFinding(seq, record.header.index, wrong[0], wrong[1]))
        if self._index.read_page(seq) != raw:
            return  # A writer beside us took the block: what was read is a mixture.
        self.findings += findings
        self._records += len(scan.records)
        self._signed += len(scan.records) if following else 0
        self._head = (seq, scan.chain)

    def _check_record(self, record: LocatedRecord) -> tuple[str, str] | None:
        """Hash a body and look at its padding; return the faults and their costs."""
        start = self._superblock.block_offset(record.header.seq) + record.offset
        raw = memoryview(self._disk.pread(record.end_offset - record.offset, start))
        self._bytes += len(raw)
        end = HEADER_BYTES + record.header.length + TAG_BYTES
        if not is_body_good(record, raw[HEADER_BYTES:end]):
            return "record digest mismatch", "one record"
        if any(raw[end + DIGEST_BYTES :]):
            return "padding is not zero", "nothing"
        return None

    def _next_page(self, seq: int) -> Page | None:
        raw = self._index.read_page(seq + 1)
        try:
            page = parse_page(raw)
            verify_page(raw, page, self._recorder)
        except RingError:
            return None
        same_ring = page.ring_id == self._superblock.ring_id
        return page if same_ring and page.seq == seq + 1 and not page.previous_lost else None


def check_ring(
    disk: Disk,
    recorder_public: Ed25519PublicKey | None = None,
    progress: Callable[[int, int], None] | None = None,
    known: KnownHead | None = None,
) -> CheckReport:
    """Check superblocks, pages, signatures, chain, accepted lengths, every record's digest and padding.

    Args:
        disk: The ring, or a copy of it.
        recorder_public: The pinned key; None believes the one in the superblock, which a forger could have put there.
        progress: Called with blocks done and blocks in all.
        known: The end of the ring as the ledger knew it; None compares nothing.

    Raises:
        UnsupportedVersionError: A newer program wrote it.
        RingError: It is no ring, or the disk fails.
    """
    return _Checker(disk, recorder_public, progress or _silent, known).run()


def _silent(_done: int, _total: int) -> None:
    return None


def dump_ring(disk: Disk) -> Iterator[dict[str, object]]:
    """Yield superblock, header pages and record headers as plain values, for a developer; no key is needed."""
    superblock = read_superblock(disk).superblock
    yield {
        "superblock": superblock.ring_id.hex(),
        "camera": superblock.camera,
        "quality": superblock.quality,
        "state": superblock.state.name.lower(),
        "blocks": superblock.blocks,
        "block_bytes": superblock.block_bytes,
        "created_utc_ns": superblock.created_utc_ns,
        "recorder_public": superblock.recorder_public.hex(),
    }
    index = RingIndex(disk, superblock)
    index.load()
    for slot, text in sorted(index.bad_slots.items()):
        yield {"slot": slot, "damaged": text}
    for entry in index.entries():
        raw = index.read_page(entry.seq)
        try:
            page = parse_page(raw)
        except IntegrityError:
            continue
        yield _describe_page(page, superblock.slot(page.seq))
        if not page.tombstone:
            limit = entry.accepted_bytes if entry.ended else None
            for record in BlockWalk(disk, superblock, page.seq, chain_start(raw), limit).scan().records:
                yield _describe_record(record)


def _describe_page(page: Page, slot: int) -> dict[str, object]:
    return {
        "block": page.seq,
        "slot": slot,
        "erased": page.erased.name.lower() if page.tombstone else None,
        "boot_id": page.boot_id.hex(),
        "run_id": page.run_id.hex(),
        "opened_utc_ns": page.opened_utc_ns,
        "opened_boot_ns": page.opened_boot_ns,
        "clock": page.clock_state.value,
        "vault_key_id": page.vault_key_id.hex(),
        "previous_accepted_bytes": page.previous.accepted_bytes,
        "previous_records": page.previous.records,
        "previous_chain": page.previous.chain.hex(),
        "previous_lost": page.previous_lost,
    }


def _describe_record(record: LocatedRecord) -> dict[str, object]:
    header = record.header
    return {
        "block": header.seq,
        "index": header.index,
        "offset": record.offset,
        "kind": header.kind.name,
        "flags": header.flags,
        "start_ns": header.start_ns,
        "duration_ns": header.duration_ns,
        "boot_ns": header.boot_ns,
        "length": header.length,
        "durable": header.durable,
        "commitment": header.commitment.hex(),
        "chain": record.chain.hex(),
    }

"""Blocks read beside a writer, without locks: another page afterwards means another block.

Owns the procedure of FORMAT 7.7, the cache of blocks whose end is signed, and the sieve from windows to blocks. Is
handed a block's cipher; holds no key of its own.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.buffer.block_scan import BlockScan, BlockWalk, LocatedRecord, is_body_good, read_body
from edge_agent.buffer.crypt import BlockCipher, verify_page
from edge_agent.buffer.format.constants import FLAG_FLOOR_ONLY, Kind
from edge_agent.buffer.format.page import Page, chain_start, parse_page
from edge_agent.buffer.index import BlockEntry, RingIndex
from edge_agent.buffer.read.timeline import time_records
from edge_agent.errors import IntegrityError, OverwrittenError, RingError
from edge_agent.units import MINUTE_NS, ClockState, UtcNs, Window

_ATTEMPTS = 3
"""FORMAT 7.7: a mismatch under an unchanged page is read again twice, then it is damage."""
_CACHED_BLOCKS = 16
_OPEN_BLOCK_SLACK_NS = 12 * MINUTE_NS
"""A block is closed after 10 minutes (FORMAT 7.2); the rest is for its last record."""
_START_SLACK_NS = MINUTE_NS
_SPAN_NS = 20 * MINUTE_NS
"""Records of a synchronised block begin within so much of its oldest (FORMAT 7.2)."""
_FAR = 1 << 62
NOTE_REACH_NS = 2 * MINUTE_NS
"""So far before a window the last note about the clocks may lie: the recorder makes one every minute."""


@dataclass(frozen=True, slots=True)
class LoadedBlock:
    """A block's pages and headers, read while its page stayed the same."""

    page: Page
    page_bytes: bytes
    next_page_bytes: bytes | None
    """Bounds the block and signs its end; None while it is open, or if that page is damaged."""
    scan: BlockScan


class BlockReader:
    """Reads the blocks of one ring."""

    def __init__(self, index: RingIndex, recorder: Ed25519PublicKey) -> None:
        self._disk, self._superblock, self._index, self._recorder = index.disk, index.superblock, index, recorder
        self._cache: OrderedDict[bytes, LoadedBlock] = OrderedDict()

    def load(self, seq: int) -> LoadedBlock:
        """Read a block's pages and headers; twice the same page around them, or it is not this block any more."""
        for attempt in range(_ATTEMPTS):
            raw = self._index.read_page(seq)
            cached = self._cache.get(raw)
            # Only a block whose end is signed: an open one still grows.
            if cached is not None and cached.next_page_bytes is not None:
                self._cache.move_to_end(raw)
                return cached
            try:
                page = parse_page(raw)
            except IntegrityError:
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue  # Perhaps read in the middle of being written.
            if page.seq != seq or page.tombstone or page.ring_id != self._superblock.ring_id:
                raise OverwrittenError(f"{self._what_became(raw, seq)}: block={seq}")
            verify_page(raw, page, self._recorder)
            next_raw, limit = self._next_page(seq)
            scan = self._scan(seq, raw, limit)
            if next_raw is None:
                scan = scan.without_torn_tail()
            block = LoadedBlock(page, raw, next_raw, scan)
            self.demand_unchanged(block)
            self._cache[raw] = block
            while len(self._cache) > _CACHED_BLOCKS:
                self._cache.popitem(last=False)
            return block
        raise AssertionError("unreachable")

    def _scan(self, seq: int, raw: bytes, limit: int | None) -> BlockScan:
        """Walk a block's headers; if its end is open, believe no damage that a second walk does not find.

        A writer that appends and syncs while the walk searches behind the open end lets it find a later record, and
        what was just being written looks like a hole among what is synced.
        """
        scan = BlockWalk(self._disk, self._superblock, seq, chain_start(raw), limit).scan()
        for _ in range(_ATTEMPTS):
            if limit is not None or not scan.damage:
                break
            before, scan = scan, BlockWalk(self._disk, self._superblock, seq, chain_start(raw)).scan()
            if scan.damage[: len(before.damage)] == before.damage:
                break
        return scan

    def open_record(self, block: LoadedBlock, cipher: BlockCipher, place: LocatedRecord) -> tuple[bytes, bytes]:
        """Read, check and decrypt one record; then see that its block is still the same (FORMAT 7.7)."""
        for attempt in range(_ATTEMPTS):
            try:
                body = read_body(self._disk, self._superblock, place)
                if not is_body_good(place, body):
                    raise IntegrityError(
                        f"record digest mismatch: ring={self._disk.name} block={block.page.seq}"
                        f" index={place.header.index}"
                    )
                plaintext = cipher.decrypt_record(place.header, place.header_bytes, body)
            except IntegrityError:
                self.demand_unchanged(block)
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            # FORMAT 7.7, step 5: after the decryption too, so that no footage is handed out that was just erased.
            self.demand_unchanged(block)
            return plaintext, place.body_sha256
        raise AssertionError("unreachable")

    def demand_unchanged(self, block: LoadedBlock) -> None:
        """Read the block's page again; OverwrittenError if it is another."""
        raw = self._index.read_page(block.page.seq)
        if raw != block.page_bytes:
            raise OverwrittenError(f"{self._what_became(raw, block.page.seq)}: block={block.page.seq}")

    def _what_became(self, raw: bytes, seq: int) -> str:
        try:
            page = parse_page(raw)
        except IntegrityError:
            return "overwritten"
        return "erased" if page.seq == seq and page.tombstone else "overwritten"

    def _next_page(self, seq: int) -> tuple[bytes | None, int | None]:
        """Return the page that signs the end of block ``seq`` and the length that it accepts, if there is one."""
        raw = self._index.read_page(seq + 1)
        try:
            page = parse_page(raw)
            # A page of an older lap, or one that skips a lost block (3.2), says nothing of this
            # block's end.
            if page.seq != seq + 1 or page.ring_id != self._superblock.ring_id or page.previous_lost:
                return None, None
            verify_page(raw, page, self._recorder)
        except IntegrityError:
            return None, None
        return raw, page.previous.accepted_bytes

    def boot_offsets(self) -> dict[bytes, int]:
        """Return UTC minus boot time for every boot that was synchronised at some time (FORMAT 7.8)."""
        return {boot_id: offset for boot_id, (offset, _) in self._witnesses().items()}

    def find_witnesses(self, seqs: Sequence[int]) -> list[int]:
        """Return the blocks that date these: those that tell when a boot of floor-only blocks was synchronised."""
        entries = [entry for seq in seqs if (entry := self._index.find(seq)) is not None]
        undated = {entry.boot_id for entry in entries if entry.clock_state is not ClockState.SYNCHRONISED}
        witnesses = self._witnesses(is_for_copy=True)
        return [seq for boot_id, (_, seq) in witnesses.items() if boot_id in undated]

    def _witnesses(self, *, is_for_copy: bool = False) -> dict[bytes, tuple[int, int]]:
        """Return, for every boot that was synchronised at some time, UTC minus boot time and the block that tells.

        A block that was erased still tells by its page, but cannot be copied.
        """
        found: dict[bytes, tuple[int, int]] = {}
        waiting: dict[bytes, int] = {}
        for entry in self._index.entries():
            if entry.tombstone and is_for_copy:
                continue
            if entry.clock_state is ClockState.SYNCHRONISED:
                found.setdefault(entry.boot_id, (entry.opened_utc_ns - entry.opened_boot_ns, entry.seq))
            elif not entry.tombstone:
                waiting[entry.boot_id] = entry.seq
        for boot_id, seq in waiting.items():
            if boot_id not in found:
                offset = self._find_offset(seq)
                if offset is not None:
                    found[boot_id] = (offset, seq)
        return found

    def _find_offset(self, seq: int) -> int | None:
        """Look inside a block that was opened floor-only for a record of a clock that has synchronised since."""
        try:
            records = self.load(seq).scan.records
        except RingError:
            return None
        for place in records:
            if not place.header.flags & FLAG_FLOOR_ONLY and place.header.boot_ns:
                return place.header.start_ns - place.header.boot_ns
        return None

    def find_notes(
        self, windows: Sequence[Window], offsets: dict[bytes, int], *, as_written: bool = False
    ) -> set[tuple[int, int]]:
        """Return block and index of the last CLOCK record before each window, if there is one within reach."""
        found = (self._find_note(window.start, offsets, as_written=as_written) for window in windows)
        return {place for place in found if place is not None}

    def _find_note(self, before: UtcNs, offsets: dict[bytes, int], *, as_written: bool) -> tuple[int, int] | None:
        reach = Window(UtcNs(before - NOTE_REACH_NS), before)
        for seq in reversed(self.find_blocks((reach,), offsets, as_written=as_written)):
            try:
                block = self.load(seq)
            except RingError:
                continue
            for record in reversed(time_records(block.page, block.scan.records, offsets, as_written=as_written)):
                header = record.place.header
                if header.kind is Kind.CLOCK and record.start_ns is not None and record.matches((reach,)):
                    return seq, header.index
        return None

    def find_blocks(
        self,
        windows: Sequence[Window],
        offsets: dict[bytes, int],
        *,
        tombstones: bool = False,
        as_written: bool = False,
    ) -> list[int]:
        """Return the blocks that may hold anything of the windows, oldest first; a sieve, never short."""
        first = min(window.start for window in windows)
        last = max(window.end for window in windows)
        entries = self._index.entries()
        found: list[int] = []
        for at, entry in enumerate(entries):
            if entry.tombstone and not tombstones:
                continue
            following = entries[at + 1] if at + 1 < len(entries) else None
            if entry.ended and entry.records and entry.clock_state is ClockState.SYNCHRONISED:
                start, end = entry.oldest_ns, entry.newest_ns
                if following is not None and following.boot_id == entry.boot_id:
                    # Records from after the clock lost its source are not in the span that the page tells.
                    end = max(end, entry.opened_utc_ns + following.opened_boot_ns - entry.opened_boot_ns)
            else:
                start, end = _guess_span(entry, following, offsets, as_written=as_written)
            if start < last and first < end + 1:
                found.append(entry.seq)
        return found


def _guess_span(
    entry: BlockEntry, following: BlockEntry | None, offsets: dict[bytes, int], *, as_written: bool
) -> tuple[int, int]:
    """Bound a block whose span no page states: the open block, or one that was opened floor-only."""
    if entry.clock_state is ClockState.SYNCHRONISED:
        if entry.ended:
            return _FAR, -_FAR  # It holds no record.
        start = min(entry.first_start_ns, entry.opened_utc_ns) - _SPAN_NS - _START_SLACK_NS
        return start, _FAR if following is None else max(following.opened_utc_ns, start) + _OPEN_BLOCK_SLACK_NS
    offset = offsets.get(entry.boot_id)
    if offset is None:
        return (-_FAR, _FAR) if as_written else (_FAR, -_FAR)
    start = entry.opened_boot_ns + offset - _START_SLACK_NS
    end = start + _OPEN_BLOCK_SLACK_NS
    return start, max(end, entry.newest_ns) if entry.ended else end

"""The block that is being filled: its key, its chain, its span.

Owns the facts of a block between its header page and the page after it. Opens no file. Its key
never leaves memory and is gone with the process. Must never decrypt.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_agent.buffer.crypt import BlockCipher
from edge_agent.buffer.format.constants import FLAG_CONTINUES, FLAG_FLOOR_ONLY, ZERO_DIGEST, Kind
from edge_agent.buffer.format.page import BlockEnd
from edge_agent.buffer.format.record import RecordHeader, next_chain, record_bytes, record_digest
from edge_agent.units import ClockState, MonoNs, UtcNs

_spare: list[bytearray] = []


@contextmanager
def borrow_buffer(size: int) -> Iterator[bytearray]:
    """Lend a buffer of at least so many bytes for an encrypted record; of all rings, any thread.

    The one that was given back last is lent first: it is warm.
    """
    try:
        buffer = _spare.pop()
    except IndexError:
        buffer = bytearray(size)
    if len(buffer) < size:
        buffer = bytearray(size)
    try:
        yield buffer
    finally:
        _spare.append(buffer)


@dataclass(frozen=True, slots=True)
class Draft:
    """One record to be written."""

    kind: Kind
    start_ns: UtcNs
    duration_ns: int
    boot_ns: MonoNs
    payload: bytes
    commitment: bytes = ZERO_DIGEST
    flags: int = 0


@dataclass(slots=True)
class OpenBlock:
    """A block under its key. A record is encrypted first, then written, then taken: in this order, one at a time."""

    seq: int
    cipher: BlockCipher
    chain: bytes
    opened_boot_ns: MonoNs
    clock_state: ClockState
    """At opening, as the page tells it; the records of a synchronised block are all synchronised."""
    offset: int = 0
    """Place of the next record, from the start of the block; bytes."""
    index: int = 0
    durable: int = 0
    """Records known synced."""
    oldest_ns: int = 0
    newest_ns: int = 0
    footage_ns: int = 0
    timed: bool = False

    def end(self) -> BlockEnd:
        """Return how the block would end now."""
        return BlockEnd(self.offset, self.index, self.oldest_ns, self.newest_ns, self.footage_ns, self.chain)

    def encrypt(self, draft: Draft, state: ClockState, out: bytearray) -> tuple[RecordHeader, bytes]:
        """Encrypt a record for the block's next place into ``out``.

        Returns:
            Its header, and the digest that ``take`` wants.
        """
        # Whether a time counts is this block's decision alone: a caller's flag cannot make it
        # synchronised.
        flags = draft.flags & FLAG_CONTINUES
        if state is not ClockState.SYNCHRONISED:
            flags |= FLAG_FLOOR_ONLY
        header = RecordHeader(
            kind=draft.kind,
            flags=flags,
            seq=self.seq,
            index=self.index,
            start_ns=draft.start_ns,
            duration_ns=draft.duration_ns,
            boot_ns=draft.boot_ns,
            length=len(draft.payload),
            previous_chain=self.chain,
            commitment=draft.commitment,
            durable=self.durable,
        )
        _, raw, body_digest = self.cipher.encrypt_record(header, draft.payload, out)
        return header, record_digest(raw, body_digest)

    def take(self, header: RecordHeader, digest: bytes) -> None:
        """Count a record that was written; times of a synchronised clock push out all others from the span."""
        timed = not header.flags & FLAG_FLOOR_ONLY
        if self.index == 0 or (timed and not self.timed):
            self.oldest_ns, self.newest_ns = header.start_ns, header.end_ns
        elif timed or not self.timed:
            self.oldest_ns = min(self.oldest_ns, header.start_ns)
            self.newest_ns = max(self.newest_ns, header.end_ns)
        self.timed = self.timed or timed
        if header.kind is Kind.GOP:
            self.footage_ns += header.duration_ns
        # After the write: a record that failed to be written is in no chain, and its ring is closed
        # (FORMAT 7.5).
        self.chain = next_chain(self.chain, digest)
        self.offset += record_bytes(header.length)
        self.index += 1

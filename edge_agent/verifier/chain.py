"""The blocks of a bundle, read strictly and checked against signatures made while recording (FORMAT 5).

Owns the walk along the ring's chain from signed page to signed page, and the facts of the pages and headers beside it.
Pure: bytes in, values out.
"""

import json
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.base64url import parse_b64
from edge_agent.buffer.crypt import verify_page
from edge_agent.buffer.format.constants import FLAG_FLOOR_ONLY, Kind
from edge_agent.buffer.format.page import Page, chain_start, parse_page
from edge_agent.buffer.format.record import RecordHeader, next_chain, parse_header, record_digest
from edge_agent.errors import EvidenceError, RingError
from edge_agent.units import ClockState, MonoNs, UtcNs, Window

MAX_LINE_BYTES = 8 << 20
"""A block of 64 MiB holds at most 16384 records, of 270 bytes each in a line."""
MAX_LINE_PARTS = 200_000
"""Commas, brackets and braces of a line: the memory for its values is bounded before they are made."""
_MAX_OTHER_BYTES = 64 << 10
"""A line with other letters than ASCII, as a note may have, is no longer: one of them widens all to four bytes."""
MAX_RECORDS = 150_000
"""In all blocks of a bundle: 24 hours of records of one second, and as many beside them as fit into their blocks."""
MAX_BLOCKS = 20_000
"""A ring has 4096 of them if nobody chose otherwise."""
MAX_FAULTS = 20
"""Named of one file."""
RecordPlace = tuple[int, int]
"""Block and index of a record in the ring."""
_LINK = struct.Struct("<BBqqq32s")


@dataclass(frozen=True, slots=True)
class Link:
    """A record as the chain knows it."""

    kind: Kind
    flags: int
    start_ns: UtcNs
    duration_ns: int
    boot_ns: MonoNs
    digest: bytes
    """Of header and body (FORMAT 5); empty if the record's block is not here."""
    boot_id: bytes = b""
    """Of the block's page; empty if it is not here."""

    @property
    def clock_state(self) -> ClockState:
        """The clock's state when it was timed."""
        return ClockState.FLOOR_ONLY if self.flags & FLAG_FLOOR_ONLY else ClockState.SYNCHRONISED

    @property
    def is_floor_only(self) -> bool:
        """Tell whether it was timed before the clock was set."""
        return self.clock_state is ClockState.FLOOR_ONLY


def make_link(header: RecordHeader, digest: bytes, boot_id: bytes) -> Link:
    """Return what the chain keeps of a header."""
    return Link(header.kind, header.flags, header.start_ns, header.duration_ns, header.boot_ns, digest, boot_id)


@dataclass(slots=True)
class _BlockLinks:
    """The records of one block: their indexes, which rise, and each one packed."""

    boot_id: bytes
    indexes: "array[int]" = field(default_factory=lambda: array("I"))
    packed: list[bytes] = field(default_factory=list)

    def unpack(self, at: int) -> Link:
        kind, flags, start, duration, boot, digest = _LINK.unpack(self.packed[at])
        return Link(Kind(kind), flags, UtcNs(start), duration, MonoNs(boot), digest, self.boot_id)


class Links:
    """The records of all blocks, in the order of the ring; about 110 bytes each."""

    def __init__(self) -> None:
        self._blocks: dict[int, _BlockLinks] = {}
        self._count = 0

    def add(self, header: RecordHeader, digest: bytes, boot_id: bytes) -> None:
        """Put a record behind the others; EvidenceError if they are more than a bundle may show."""
        self._count += 1
        if self._count > MAX_RECORDS:
            raise EvidenceError(f"blocks hold more records than a bundle shows: more than {MAX_RECORDS}")
        block = self._blocks.setdefault(header.seq, _BlockLinks(boot_id))
        block.indexes.append(header.index)
        block.packed.append(
            _LINK.pack(header.kind, header.flags, header.start_ns, header.duration_ns, header.boot_ns, digest)
        )

    def find(self, place: RecordPlace) -> Link | None:
        """Return the record at a place; None if no block shows it."""
        block = self._blocks.get(place[0])
        # A place may come out of JSON, where a boolean or a float would compare like a number.
        if block is None or type(place[1]) is not int or place[1] < 0:
            return None
        at = bisect_left(block.indexes, place[1])
        return block.unpack(at) if at < len(block.indexes) and block.indexes[at] == place[1] else None

    def iter_from(self, place: RecordPlace = (0, 0)) -> Iterator[tuple[RecordPlace, Link]]:
        """Yield the records from a place on."""
        for number, block in self._blocks.items():
            if number < place[0]:
                continue
            begin = bisect_left(block.indexes, place[1]) if number == place[0] else 0
            for at in range(begin, len(block.indexes)):
                yield (number, block.indexes[at]), block.unpack(at)


@dataclass(slots=True)
class Chain:
    """All blocks of the bundle, verified."""

    links: Links = field(default_factory=Links)
    blocks: list[int] = field(default_factory=list)
    """In order."""
    signed: set[int] = field(default_factory=set)
    """Blocks whose end the next page signs."""
    holes: dict[int, list[range]] = field(default_factory=dict)
    """Per block the records that are not shown, in order: damaged, says the gateway."""
    pages: dict[int, Page] = field(default_factory=dict)
    """Every page that is shown, by the number of its block: signed by the recorder while recording."""

    faults: list[str] = field(default_factory=list)
    """Of blocks that are not here for it: the parts that do not fit in them."""

    claimed: dict[bytes, int] = field(default_factory=dict)
    """Per boot UTC less boot time, as the gateway counted back with it."""

    witnessed: dict[bytes, list[int]] = field(default_factory=dict)
    """Per boot UTC less boot time, wherever the recorder signed both while its clock was set (FORMAT 7.8); sorted."""

    def find_span(self, link: Link, *, as_written: bool) -> Window | None:
        """Return the span of a record by the rule of its boot's other records; None if it has no time.

        Args:
            link: The record.
            as_written: Take a time from before the clock was set at its word, if nothing dates it.
        """
        start_ns = link.start_ns
        if link.is_floor_only:
            known = self.claimed.get(link.boot_id) or next(iter(self.witnessed.get(link.boot_id, ())), None)
            if known is not None and link.boot_ns:
                start_ns = UtcNs(link.boot_ns + known)
            elif not as_written:
                return None
        end_ns = UtcNs(start_ns + link.duration_ns)
        return Window(start_ns, end_ns) if start_ns < end_ns else None

    def is_signed(self, place: RecordPlace) -> bool:
        """Tell whether the page after the block of a record vouches for it: there is no hole behind it."""
        block, index = place
        holes = self.holes.get(block)
        return block in self.signed and not (holes and holes[-1].stop > index)

    def find_witness(self, boot_id: bytes, offset: int) -> int | None:
        """Return how far the nearest signed offset of a boot is from one; None if the recorder signed none."""
        known = self.witnessed.get(boot_id)
        if not known:
            return None
        at = bisect_left(known, offset)
        return min(abs(each - offset) for each in known[max(0, at - 1) : at + 1])

    def is_joined(self, block: int) -> bool:
        """Tell whether a block's page signs the end of the disclosed block before it."""
        return block - 1 in self.signed


def verify_blocks(file: BinaryIO, ring_id: bytes, recorder: Ed25519PublicKey) -> Chain:
    """Check every block: its page's signature, the chain through its records, the page that signs its end.

    A block in which anything does not fit is left out, and named in ``faults``: clips of other blocks stand without it.

    Raises:
        EvidenceError: The file is none of blocks, or has more than a bundle shows.
    """
    chain = Chain()
    for number, line in enumerate(read_lines(file, {"block", "page", "next_page", "records"})):
        if number == MAX_BLOCKS:
            raise EvidenceError(f"more blocks than a bundle shows: more than {MAX_BLOCKS}")
        try:
            _verify_block(chain, line.members, ring_id, recorder)
        except (EvidenceError, RingError) as error:
            add_fault(chain.faults, str(error))
        # A stranger wrote the line: JSON of any shape ends as a fault of this line, and the lines
        # after it are read.
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            add_fault(chain.faults, f"a line of the blocks is malformed: line={number + 1}")
    found: dict[bytes, set[int]] = {}
    for boot_id, offset in _iter_witnesses(chain):
        found.setdefault(boot_id, set()).add(offset)
    chain.witnessed = {boot_id: sorted(offsets) for boot_id, offsets in found.items()}
    return chain


def add_fault(faults: list[str], text: str) -> None:
    """Put down a fault, unless so many were named that one more tells nothing."""
    if len(faults) < MAX_FAULTS:
        faults.append(text)


def _iter_witnesses(chain: Chain) -> Iterator[tuple[bytes, int]]:
    for page in chain.pages.values():
        if page.clock_state is ClockState.SYNCHRONISED:
            yield page.boot_id, page.opened_utc_ns - page.opened_boot_ns
    for place, link in chain.links.iter_from():
        if chain.is_signed(place) and not link.is_floor_only and link.boot_ns:
            yield link.boot_id, link.start_ns - link.boot_ns


def _verify_block(chain: Chain, line: Mapping[str, Any], ring_id: bytes, recorder: Ed25519PublicKey) -> None:
    raw = parse_b64(line["page"])
    page = _read_page(chain, raw, ring_id, recorder)
    if page.seq != line["block"] or (chain.blocks and page.seq <= chain.blocks[-1]):
        raise EvidenceError(f"block is not in its place: block={page.seq}")
    before = chain.blocks[-1] if chain.blocks else None
    # This page signs the end of the block before it (FORMAT 3.1). Shown here and kept from there, a
    # shortened block would pass as one that was still open.
    if before == page.seq - 1 and before not in chain.signed and not page.previous_lost:
        raise EvidenceError(f"the page that signs a block's end is kept back: block={before}")
    records, holes, value = _walk(page.seq, chain_start(raw), line["records"])
    following = None
    if line["next_page"] is not None:
        following = _read_page(chain, parse_b64(line["next_page"]), ring_id, recorder)
        holes += _verify_end(page.seq, following, value, records[-1][0].index + 1 if records else 0)
    # From here on nothing of it is refused but for the number of all records.
    for header, digest in records:
        chain.links.add(header, digest, page.boot_id)
    chain.blocks.append(page.seq)
    chain.pages[page.seq] = page
    if holes:
        chain.holes[page.seq] = holes
    if following is not None:
        chain.pages[following.seq] = following
        chain.signed.add(page.seq)


def _walk(
    block: int, value: bytes, lines: Sequence[Mapping[str, Any]]
) -> tuple[list[tuple[RecordHeader, bytes]], list[range], bytes]:
    """Follow the chain through a block; return its records with their digests, its holes, and the chain's value."""
    records: list[tuple[RecordHeader, bytes]] = []
    holes: list[range] = []
    number = 0
    for entry in lines:
        header_bytes, body = parse_b64(entry["header"]), bytes.fromhex(entry["body_sha256"])
        header = parse_header(header_bytes)
        # Records that are not shown: the walk goes on from the value that the next header claims.
        # The end that a page signs bears that out; ``is_signed`` excludes the records before.
        if header.seq == block and header.index > number:
            holes.append(range(number, header.index))
            number, value = header.index, header.previous_chain
        if (header.seq, header.index) != (block, number) or header.previous_chain != value:
            raise EvidenceError(f"chain is broken: block={block} index={number}")
        digest = record_digest(header_bytes, body)
        value = next_chain(value, digest)
        records.append((header, digest))
        number += 1
    return records, holes, value


def _verify_end(block: int, following: Page, value: bytes, number: int) -> list[range]:
    """Compare the end of a block with the values that the page after it signs; return those that are missing there."""
    end, missing = following.previous, list[range]()
    if end.records > number:
        missing = [range(number, end.records)]
        number, value = end.records, end.chain
    if (following.seq, end.chain, end.records) != (block + 1, value, number):
        raise EvidenceError(f"the page after a block does not sign its end: block={block}")
    return missing


def _read_page(chain: Chain, raw: bytes, ring_id: bytes, recorder: Ed25519PublicKey) -> Page:
    """Verify a page; of each block there is but one."""
    page = parse_page(raw)
    verify_page(raw, page, recorder)
    # The signature alone does not say it: a recorder signs the pages of all of its rings with one
    # key.
    if page.ring_id != ring_id:
        raise EvidenceError(f"page is of another ring: block={page.seq}")
    # Two signed pages of one number come from a ring that was set back, or from two recorders with
    # one key: neither counts.
    if chain.pages.get(page.seq, page) != page:
        raise EvidenceError(f"a block has two pages: block={page.seq}")
    return page


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One line of evidence, and its place in the file."""

    at: int
    size: int
    members: Mapping[str, Any]


def read_lines(
    file: BinaryIO, always: set[str], sometimes: frozenset[str] | set[str] = frozenset()
) -> Iterator[EvidenceLine]:
    """Yield each line of a file; EvidenceError if one is no JSON, too long, or has other members."""
    at = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        members = parse_line(line)
        if not isinstance(members, dict) or not always <= members.keys() <= always | sometimes:
            raise EvidenceError("a line of evidence has other members than it should")
        yield EvidenceLine(at, len(line), members)
        at += len(line)
        file.seek(at)  # whoever got the line may have read another one again


def parse_line(line: bytes) -> Any:
    """Read the JSON of one line, once its cost is known to be bounded; EvidenceError if it is no line of evidence."""
    if len(line) > MAX_LINE_BYTES or (len(line) > _MAX_OTHER_BYTES and not line.isascii()):
        raise EvidenceError("a line of evidence is too long")
    if not line.endswith(b"\n"):
        raise EvidenceError("a file of lines is cut short")
    if sum(map(line.count, (b",", b"[", b"{"))) > MAX_LINE_PARTS:
        raise EvidenceError("a line of evidence has too many parts")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EvidenceError("a line of evidence is no JSON") from error

"""The blocks of a bundle, read strictly and checked against signatures made while recording (FORMAT 5).

Owns the walk along the ring's chain from signed page to signed page, and what the pages and headers tell beside it.
Pure: bytes in, values out.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.base64url import parse_b64
from edge_agent.buffer.crypt import verify_page
from edge_agent.buffer.format.constants import FLAG_FLOOR_ONLY
from edge_agent.buffer.format.page import Page, chain_start, parse_page
from edge_agent.buffer.format.record import RecordHeader, next_chain, parse_header, record_digest
from edge_agent.errors import EvidenceError, RingError
from edge_agent.units import ClockState, UtcNs, Window

MAX_LINE_BYTES = 8 << 20
Place = tuple[int, int]
"""Block and index of a record in the ring."""


@dataclass(frozen=True, slots=True)
class Link:
    """A record as the chain knows it."""

    header: RecordHeader
    body_sha256: bytes
    boot_id: bytes = b""
    """Of the block's page; empty where it is not here."""

    @property
    def clock_state(self) -> ClockState:
        """What the clock was good for when it was timed."""
        return ClockState.FLOOR_ONLY if self.header.flags & FLAG_FLOOR_ONLY else ClockState.SYNCHRONISED

    @property
    def is_floor_only(self) -> bool:
        """Tell whether it was timed before the clock was set."""
        return self.clock_state is ClockState.FLOOR_ONLY


@dataclass(slots=True)
class Chain:
    """All blocks of the bundle, verified."""

    links: dict[Place, Link] = field(default_factory=dict)
    """In the order of the ring."""
    blocks: list[int] = field(default_factory=list)
    """In order."""
    signed: set[int] = field(default_factory=set)
    """Blocks whose end the next page signs."""
    holes: dict[int, list[range]] = field(default_factory=dict)
    """Per block the records that are not shown: damaged, says the gateway."""
    pages: dict[int, Page] = field(default_factory=dict)
    """Every page that is shown, by the number of its block: signed by the recorder while recording."""

    claimed: dict[bytes, int] = field(default_factory=dict)
    """Per boot UTC less boot time, as the gateway counted back with it."""

    witnessed: dict[bytes, list[int]] = field(default_factory=dict)
    """Per boot UTC less boot time, wherever the recorder signed both while its clock was set (FORMAT 7.8)."""

    def find_span(self, link: Link, *, as_written: bool) -> Window | None:
        """Return the span of a record by what counts for the others of its boot; None where it has no time.

        Args:
            link: The record.
            as_written: Take a time from before the clock was set at its word, where nothing dates it.
        """
        start_ns, boot_ns = link.header.start_ns, link.header.boot_ns
        if link.is_floor_only:
            known = [*filter(None, [self.claimed.get(link.boot_id)]), *self.witnessed.get(link.boot_id, ())]
            if known and boot_ns:
                start_ns = UtcNs(boot_ns + known[0])
            elif not as_written:
                return None
        end_ns = UtcNs(start_ns + link.header.duration_ns)
        return Window(start_ns, end_ns) if start_ns < end_ns else None

    def is_signed(self, place: Place) -> bool:
        """Tell whether the page after the block of a record vouches for it: there is no hole behind it."""
        block, index = place
        return block in self.signed and not any(hole.stop > index for hole in self.holes.get(block, ()))

    def is_joined(self, block: int) -> bool:
        """Tell whether a block's page signs the end of the disclosed block before it."""
        return block - 1 in self.signed


def verify_blocks(lines: bytes, ring_id: bytes, recorder: Ed25519PublicKey) -> Chain:
    """Check every block: its page's signature, the chain through its records, the page that signs its end.

    Raises:
        EvidenceError: Anything does not fit; the message names block and record.
    """
    chain = Chain()
    for line in read_lines(lines, {"block", "page", "next_page", "records"}):
        try:
            _verify_block(chain, line, ring_id, recorder)
        except RingError as error:
            raise EvidenceError(str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise EvidenceError("a line of the blocks is malformed") from error
    for boot_id, offset in _iter_witnesses(chain):
        chain.witnessed.setdefault(boot_id, []).append(offset)
    return chain


def _iter_witnesses(chain: Chain) -> Iterator[tuple[bytes, int]]:
    for page in chain.pages.values():
        if page.clock_state is ClockState.SYNCHRONISED:
            yield page.boot_id, page.opened_utc_ns - page.opened_boot_ns
    for place, link in chain.links.items():
        if chain.is_signed(place) and not link.is_floor_only and link.header.boot_ns:
            yield link.boot_id, link.header.start_ns - link.header.boot_ns


def _verify_block(chain: Chain, line: Mapping[str, Any], ring_id: bytes, recorder: Ed25519PublicKey) -> None:
    raw = parse_b64(line["page"])
    page = _take_page(chain, raw, ring_id, recorder)
    if page.seq != line["block"] or (chain.blocks and page.seq <= chain.blocks[-1]):
        raise EvidenceError(f"block is not in its place: block={page.seq}")
    before = chain.blocks[-1] if chain.blocks else None
    if before == page.seq - 1 and before not in chain.signed and not page.previous_lost:
        raise EvidenceError(f"the page that signs a block's end is kept back: block={before}")
    chain.blocks.append(page.seq)
    value, number = chain_start(raw), 0
    for entry in line["records"]:
        header_bytes, body = parse_b64(entry["header"]), bytes.fromhex(entry["body_sha256"])
        header = parse_header(header_bytes)
        if header.seq == page.seq and header.index > number:
            chain.holes.setdefault(page.seq, []).append(range(number, header.index))
            number, value = header.index, header.previous_chain
        if (header.seq, header.index) != (page.seq, number) or header.previous_chain != value:
            raise EvidenceError(f"chain is broken: block={page.seq} index={number}")
        value = next_chain(value, record_digest(header_bytes, body))
        chain.links[(header.seq, header.index)] = Link(header, body, page.boot_id)
        number += 1
    if line["next_page"] is not None:
        following = _take_page(chain, parse_b64(line["next_page"]), ring_id, recorder)
        _verify_end(chain, page.seq, following, value, number)


def _verify_end(chain: Chain, block: int, following: Page, value: bytes, number: int) -> None:
    """Compare the end of a block with what the page after it signs."""
    end = following.previous
    if end.records > number:
        chain.holes.setdefault(block, []).append(range(number, end.records))
        number, value = end.records, end.chain
    if (following.seq, end.chain, end.records) != (block + 1, value, number):
        raise EvidenceError(f"the page after a block does not sign its end: block={block}")
    chain.signed.add(block)


def _take_page(chain: Chain, raw: bytes, ring_id: bytes, recorder: Ed25519PublicKey) -> Page:
    """Verify a page; of each block there is but one."""
    page = parse_page(raw)
    verify_page(raw, page, recorder)
    if page.ring_id != ring_id:
        raise EvidenceError(f"page is of another ring: block={page.seq}")
    if chain.pages.setdefault(page.seq, page) != page:
        raise EvidenceError(f"a block has two pages: block={page.seq}")
    return page


def read_lines(lines: bytes, always: set[str], sometimes: frozenset[str] | set[str] = frozenset()) -> Iterator[Any]:
    """Yield the members of each line; EvidenceError where one is no JSON, too long, or has other members."""
    if lines and not lines.endswith(b"\n"):
        raise EvidenceError("a file of lines is cut short")
    for line in lines.splitlines():
        if len(line) > MAX_LINE_BYTES:
            raise EvidenceError("a line of evidence is too long")
        try:
            members = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise EvidenceError("a line of evidence is no JSON") from error
        if not isinstance(members, dict) or not always <= members.keys() <= always | sometimes:
            raise EvidenceError("a line of evidence has other members than it should")
        yield members

"""Whether footage is of the source that the owner signed: what came from elsewhere is in no grant (FORMAT 3.5)."""

import json
from collections.abc import Collection, Iterable, Sequence

from edge_agent.buffer.block_scan import LocatedRecord
from edge_agent.buffer.crypt import BlockCipher
from edge_agent.buffer.format.constants import ZERO_DIGEST, Kind
from edge_agent.buffer.format.page import Page
from edge_agent.buffer.read.live_block import BlockReader, LoadedBlock
from edge_agent.buffer.read.timeline import TimedRecord
from edge_agent.errors import RingError
from edge_agent.units import UtcNs


def is_of(source: bytes | None, found: bytes) -> bool:
    """Tell whether footage is of the granted source. None is the owner, who has all; unknown footage is in no grant."""
    return source is None or (found == source and found != ZERO_DIGEST)


def list_foreign_spans(pages: Iterable[Page], source: bytes) -> list[tuple[UtcNs, UtcNs | None]]:
    """Return from when to when header pages, oldest first, name other sources than one; None: the newest still does."""
    spans: list[tuple[UtcNs, UtcNs | None]] = []
    since: UtcNs | None = None
    for page in (each for each in pages if not each.tombstone):
        if page.source != source:
            since = page.opened_utc_ns if since is None else since
        elif since is not None:
            spans.append((since, page.opened_utc_ns))
            since = None
    return spans if since is None else [*spans, (since, None)]


def find_foreign(
    blocks: BlockReader, block: LoadedBlock, cipher: BlockCipher, timed: Sequence[TimedRecord], source: bytes | None
) -> Collection[int]:
    """Return the indexes of the records that are of another source than the granted one (FORMAT 3.5, 4.6).

    The signed page decides for the block. A RUN record can only take away.
    """
    if source is None:
        return frozenset()
    if not is_of(source, block.page.source):
        return {record.place.header.index for record in timed}
    foreign, is_foreign = set(), False
    for record in timed:
        if record.place.header.kind is Kind.RUN:
            is_foreign = _names_other_source(blocks, block, cipher, record.place, source)
        if is_foreign:
            foreign.add(record.place.header.index)
    return foreign


def _names_other_source(
    blocks: BlockReader, block: LoadedBlock, cipher: BlockCipher, place: LocatedRecord, source: bytes
) -> bool:
    """Tell whether a RUN record names another source; one that is damaged says nothing, and the page holds."""
    try:
        plaintext, _ = blocks.open_record(block, cipher, place)
        named = json.loads(plaintext)["source_sha256"]
    except (RingError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return bool(named != source.hex())

"""What the fuzzers try on a verifier's parsers, and what must hold whatever a bundle holds.

python -m tests.fuzz evidence-TARGET [-max_total_time=60] [libFuzzer options]      needs atheris
"""

import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.errors import EvidenceError
from edge_agent.protocol.age_header import verify_header
from edge_agent.protocol.age_stream import MAX_HEADER_BYTES, find_header_end
from edge_agent.verifier.chain import Chain, verify_blocks
from edge_agent.verifier.mp4_boxes import verify_boxes
from edge_agent.verifier.mp4_video import open_mp4
from edge_agent.verifier.records import verify_records
from edge_agent.verifier.zip_layout import iter_bytes, read_layout

CORPUS = Path(__file__).parent / "corpus"
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-evidence-"))
_HEAD = b"# "
"""The first line of a seed of blocks or records: ring id and recorder's public key, which it is verified with."""


def container(data: bytes) -> None:
    """A ZIP is refused, or zipfile finds the very same files in it."""
    file = io.BytesIO(data)
    try:
        entries = read_layout(file)
    except EvidenceError:
        return
    found = {entry.name: b"".join(iter_bytes(file, entry)) for entry in entries}
    if all(zlib.crc32(found[entry.name]) == entry.crc for entry in entries) and len(found) == len(entries):
        with zipfile.ZipFile(file) as bundle:
            assert {name: bundle.read(name) for name in bundle.namelist()} == found


def header(data: bytes) -> None:
    """An age header is refused, or it is the whole of what it is said to be."""
    try:
        verify_header(data)
    except EvidenceError:
        return
    if len(data) <= MAX_HEADER_BYTES:
        assert find_header_end(data) == len(data)


def boxes(data: bytes) -> None:
    """An MP4 is refused by its boxes, or FFmpeg reads it to its end, or says why it does not."""
    path = _FOLDER / "clip.mp4"
    path.write_bytes(data)
    try:
        verify_boxes(path)
        with open_mp4(path) as mp4:
            size = sum(len(unit.data) for unit in mp4.units())
    except (EvidenceError, struct.error, IndexError, ValueError):
        return
    assert size <= len(data)


def _split_head(data: bytes) -> tuple[bytes, Ed25519PublicKey, bytes]:
    """Return ring id, key and the rest; any of them where the head was lost."""
    head, _, rest = data.partition(b"\n")
    try:
        ring, key = (bytes.fromhex(word) for word in head.removeprefix(_HEAD).decode().split())
        return ring, Ed25519PublicKey.from_public_bytes(key), rest
    except ValueError:
        return bytes(16), Ed25519PublicKey.from_public_bytes(bytes(32)), data


def blocks(data: bytes) -> None:
    """Each line is a block of the chain, or a fault; what is in the chain is in order and can be found again."""
    ring, key, rest = _split_head(data)
    try:
        chain = verify_blocks(io.BytesIO(rest), ring, key)
    except EvidenceError:
        return
    places = [place for place, _ in chain.links.iter_from()]
    assert places == sorted(set(places))
    for place, link in chain.links.iter_from():
        assert chain.links.find(place) == link
        chain.find_span(link, as_written=True)


def records(data: bytes) -> None:
    """Behind the blocks of a seed: each line is a record of theirs, or a fault."""
    ring, key, rest = _split_head(data)
    known, _, lines = rest.partition(b"\n---\n")
    try:
        chain = verify_blocks(io.BytesIO(known + b"\n"), ring, key)
    except EvidenceError:
        chain = Chain()
    path = _FOLDER / "records.jsonl"
    path.write_bytes(lines)
    try:
        found = verify_records(path, chain)
    except EvidenceError:
        return
    with path.open("rb") as file:
        for record in found.shown:
            assert chain.links.find(record.place) is not None
            if record.has_media:
                assert {name for name, units in found.read_media(file, record).delivered.items() if units} == set(
                    record.clips
                )


TARGETS: dict[str, Callable[[bytes], None]] = {
    "container": container,
    "header": header,
    "boxes": boxes,
    "blocks": blocks,
    "records": records,
}

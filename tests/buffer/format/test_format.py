"""docs/FORMAT.md is true: its example is a ring, and a reader written from it alone reads what the recorder wrote."""

import hashlib
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.buffer.format.constants import PAGE_BYTES
from edge_agent.buffer.format.page import _PAGE, encode_page_signed, parse_page
from edge_agent.buffer.format.record import _HEADER, encode_header, parse_header, record_bytes
from edge_agent.buffer.format.superblock import _SUPERBLOCK, encode_superblock_signed, parse_superblock
from edge_agent.buffer.read.check import check_ring
from edge_agent.errors import IntegrityError, UnsupportedVersionError
from tests.buffer.fake_disk import FakeDisk
from tests.buffer.rig import Rig
from tests.support.plain_reader import read_ring

FORMAT = Path(__file__).parents[3] / "docs" / "FORMAT.md"
EXAMPLE_VAULT = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"edge-agent example vault").digest())


def read_example() -> tuple[bytes, dict[str, str]]:
    """Build the file of FORMAT 10 from the hex printed there."""
    section = FORMAT.read_text().split("## 10. Worked example")[1]
    parts = {
        name: bytes.fromhex(re.sub(r"\s", "", text))
        for name, text in re.findall(r"`([a-z_0-9]+)`:?\n\n```hex\n(.*?)```", section, re.S)
    }
    facts = dict(re.findall(r"^\| `([a-z_0-9]+)` \| `([^`]*)` \|$", section, re.M))

    def page(name: str) -> bytes:
        body = parts[name].ljust(4064, b"\0")
        return body + bytes.fromhex(facts[f"{name}_checksum"])

    blank = bytes(PAGE_BYTES)
    block = parts["record_0"].ljust(PAGE_BYTES, b"\0") + parts["record_1"].ljust(PAGE_BYTES, b"\0")
    superblock = page("superblock")
    return superblock * 2 + blank + page("page_1") + bytes(8192) + block, facts


def test_example_reads_as_it_says() -> None:
    """The ring printed in FORMAT 10 holds the two records that are named there, for both readers."""
    ring, facts = read_example()
    assert [
        (seq, index, kind, payload.decode()) for seq, index, kind, _, payload in read_ring(ring, EXAMPLE_VAULT)
    ] == [
        (1, 0, 3, facts["payload_0"]),
        (1, 1, 2, facts["payload_1"]),
    ]
    report = check_ring(FakeDisk(ring))
    assert report.findings == ()
    assert report.head[1].hex() == facts["chain_1"]


def test_example_is_what_the_encoders_write() -> None:
    """Parsing and encoding every structure of the example gives its bytes again."""
    ring, _ = read_example()
    assert encode_superblock_signed(parse_superblock(ring[:4096])) == ring[:256]
    page = ring[3 * 4096 : 4 * 4096]
    assert encode_page_signed(parse_page(page)) == page[:384]
    for at in (4 * 4096 + 8192, 4 * 4096 + 8192 + 4096):
        assert encode_header(parse_header(ring[at : at + 128])) == ring[at : at + 128]


def test_second_reader_reads_what_the_recorder_wrote(rig: Rig) -> None:
    """A reader made from FORMAT alone gets every payload of a ring that wrapped and restarted."""
    rig.create(blocks=5)
    payloads = []
    for _ in range(4):
        writer = rig.writer()
        payloads += [draft.payload for draft in rig.record(writer, 25)]
        writer.close()
    records = list(read_ring(rig.path.read_bytes(), rig.keys.vault))
    assert [payload for *_, payload in records] == payloads[-len(records) :]
    assert len(records) > 20


TABLES = {
    "2. Superblock": (_SUPERBLOCK, 128),
    "3. Header page": (_PAGE, 384),
    "### 4.1 Header": (_HEADER, 124),
}


@pytest.mark.parametrize("section", TABLES)
def test_tables_have_neither_holes_nor_overlaps(section: str) -> None:
    """In every byte table each field begins where the one before ends, and the program's structure is as long."""
    structure, length = TABLES[section]
    text = FORMAT.read_text().split(section)[1].split("\n#")[0]
    rows = [(int(at), int(size)) for at, size in re.findall(r"^\| (\d+) \| (\d+) \|", text, re.M)]
    at = 0
    for start, size in rows:
        assert start == at
        at += size
    assert at in (PAGE_BYTES, 128)
    assert structure.size == length


NEWER = {"superblock": 0, "header page": 3 * 4096}


@pytest.mark.parametrize("what", NEWER)
def test_newer_version_is_unsupported_not_corrupt(what: str) -> None:
    """A structure of version 2 is refused as unsupported, whether or not it checks itself as version 1 does."""
    ring, _ = read_example()
    raw = bytearray(ring[NEWER[what] : NEWER[what] + 4096])
    raw[8 if what == "superblock" else 4] = 2
    parse = parse_superblock if what == "superblock" else parse_page
    with pytest.raises(UnsupportedVersionError):
        parse(bytes(raw))
    raw[4064:] = hashlib.sha256(raw[:4064]).digest()
    with pytest.raises(UnsupportedVersionError):
        parse(bytes(raw))


def test_lengths_are_bounded_before_they_are_used() -> None:
    """A header that claims more than 4 MiB, and a page that claims more than a block can be, are refused."""
    import dataclasses
    import zlib

    ring, _ = read_example()
    raw = bytearray(ring[4 * 4096 + 8192 : 4 * 4096 + 8192 + 128])
    raw[20:24] = (4 * 2**20 + 1).to_bytes(4, "little")
    raw[124:] = zlib.crc32(raw[:124]).to_bytes(4, "little")
    with pytest.raises(IntegrityError, match="length"):
        parse_header(bytes(raw))
    page = parse_page(ring[3 * 4096 : 4 * 4096])
    huge = dataclasses.replace(page, final_accepted_bytes=1 << 40)
    body = encode_page_signed(huge).ljust(4064, b"\0")
    with pytest.raises(IntegrityError, match="length"):
        parse_page(body + hashlib.sha256(body).digest())


def test_record_bytes_is_the_smallest_multiple_that_holds_everything() -> None:
    """Header, tag and digest included, up to the next 4096."""
    assert [record_bytes(length) for length in (0, 3920, 3921, 500_000)] == [4096, 4096, 8192, 503_808]

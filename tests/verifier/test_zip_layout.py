"""What the RTCC finds where a ZIP holds more than its entries: two programs must not see two bundles."""

import errno
import hashlib
import io
import os
import random
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pyrage
import pytest

from edge_agent.errors import EvidenceError
from edge_agent.units import UtcNs
from edge_agent.uplink.bundle.zip_stream import ZipStream
from edge_agent.verifier.findings import Findings
from edge_agent.verifier.open import open_bundle, unpack
from edge_agent.verifier.zip_layout import iter_bytes, read_layout
from tests.peers.go_programs import GoProgram
from tests.support.footage import encode, records, window
from tests.support.opened import Opened, open_release
from tests.support.release import House


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return open_release(folder, House(folder), window(0, 2), records(encode(30)))


def open_plain(opened: Opened, plain: bytes):
    path = opened.folder / "plain.zip"
    path.write_bytes(plain)
    path.with_suffix(".age").write_bytes(pyrage.encrypt(plain, [opened.house.evidence.to_public()]))
    keys = str(opened.house.evidence), opened.house.known(), opened.folder / "plain"
    return open_bundle(path.with_suffix(".age"), b"", *keys)


def entry(name: str, data: bytes) -> bytes:
    """One entry without a directory: what a program that reads from the beginning sees first."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        bundle.writestr(name, data)
    return out.getvalue()[: out.getvalue().index(b"PK\x01\x02")]


def set_date(plain: bytes, magic: bytes, at: int) -> bytes:
    at += plain.index(magic)
    return plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]


def put_between(plain: bytes) -> bytes:
    """Bytes before the directory, whose place the end names anew."""
    at = plain.index(b"PK\x01\x02")
    end = plain[:-6] + struct.pack("<I", at + 9) + plain[-2:]
    return end[:at] + b"unspoken." + end[at:]


def mend_crc(data: bytes, wanted: int) -> bytes:
    """Return four bytes that bring the CRC-32 of the data to a wanted one."""
    table = [zlib.crc32(bytes([i]), 0xFFFFFFFF) ^ 0xFFFFFFFF for i in range(256)]
    by_top = {value >> 24: i for i, value in enumerate(table)}
    state = wanted ^ 0xFFFFFFFF
    for _ in range(4):
        i = by_top[state >> 24]
        state = ((state ^ table[i]) << 8 ^ i) & 0xFFFFFFFF
    return (state ^ zlib.crc32(data) ^ 0xFFFFFFFF).to_bytes(4, "little")


def hide_bytes(plain: bytes) -> bytes:
    """Bytes behind a clip that count as compressed ones, with a mended checksum: `unzip` extracts them as well."""
    with zipfile.ZipFile(io.BytesIO(plain)) as bundle:
        info = bundle.getinfo("clips/001.mp4")
        body = bundle.read(info)
        start = bundle.start_dir
    at = info.header_offset + 30 + len(info.filename) + 20 + info.file_size
    crc = zlib.crc32(body)
    extra = b"another clip"
    extra += mend_crc(body + extra, crc)
    assert zlib.crc32(body + extra) == crc
    behind = struct.pack("<4sIQQ", b"PK\x07\x08", crc, len(body) + len(extra), len(body))
    grown = bytearray(plain[:at] + extra + behind + plain[at + 24 :])
    place, directory = start + len(extra), start + len(extra)
    while grown[place : place + 4] == b"PK\x01\x02":
        names, extras, comments = struct.unpack_from("<3H", grown, place + 28)
        (offset,) = struct.unpack_from("<I", grown, place + 42)
        if offset == info.header_offset:
            struct.pack_into("<II", grown, place + 16, crc, len(body) + len(extra))
        elif offset > info.header_offset:
            struct.pack_into("<I", grown, place + 42, offset + len(extra))
        place += 46 + names + extras + comments
    struct.pack_into("<I", grown, len(grown) - 6, directory)
    return bytes(grown)


def set_central(offset: int, layout: str, value: int):
    """Another value in the first entry of the directory."""

    def alter(plain: bytes) -> bytes:
        altered = bytearray(plain)
        struct.pack_into(layout, altered, altered.index(b"PK\x01\x02") + offset, value)
        return bytes(altered)

    return alter


def double(plain: bytes) -> bytes:
    """An entry that the directory names twice: the end counts one more."""
    at = plain.index(b"PK\x01\x02")
    size = 46 + sum(struct.unpack_from("<3H", plain, at + 28))
    end = list(struct.unpack("<4s4H2IH", plain[-22:]))
    end[3], end[4], end[5] = end[3] + 1, end[4] + 1, end[5] + size
    return plain[: at + size] + plain[at : at + size] + plain[at + size : -22] + struct.pack("<4s4H2IH", *end)


ZIPS = {
    "compressed bytes behind a clip, with a mended checksum": hide_bytes,
    "an entry twice": double,
    "a directory of another system": set_central(5, "<B", 0),
    "a link instead of a file": set_central(38, "<I", 0o120777 << 16),
    "an encrypted entry": set_central(8, "<H", 9),
    "an entry that is said to be compressed": set_central(10, "<H", 8),
    "an entry on another disk": set_central(34, "<H", 1),
    "a gap in the directory": lambda plain: plain[:-22] + b"gap" + plain[-22:],
    "a comment": lambda plain: plain[:-2] + struct.pack("<H", 11) + b"hello clerk",
    "an entry in front": lambda plain: entry("clips/001.mp4", b"forged") + plain,
    "bytes in front": lambda plain: b"#!/bin/sh\n" + plain,
    "bytes before the directory": put_between,
    "another date in the directory": lambda plain: set_date(plain, b"PK\x01\x02", 12),
    "another date before the entry": lambda plain: set_date(plain, b"PK\x03\x04", 10),
    "another name before the entry": lambda plain: plain.replace(b"request.jws", b"request.jwz", 1),
    "another length behind the entry": lambda plain: set_date(plain, b"PK\x07\x08", 9),
}


@pytest.mark.parametrize("alter", ZIPS.values(), ids=ZIPS.keys())
def test_a_container_has_nothing_beside_its_entries(opened, alter):
    """Before, between and behind the entries there is no byte, and both places that describe one agree."""
    plain = pyrage.decrypt(opened.header + opened.payload, [opened.house.evidence])
    assert open_plain(opened, plain).ok
    assert open_plain(opened, alter(plain)).failed_parts() == {"container"}


# What other programs extract from what we accept.


def extract(path: Path, folder: Path, how: str) -> dict[str, str]:
    """Extract with another program; return the digests by name."""
    if how == "zipfile":
        with zipfile.ZipFile(path) as bundle:
            assert bundle.testzip() is None
            bundle.extractall(folder)
    else:
        subprocess.run(["unzip", "-qq", "-o", path, "-d", folder], check=True, timeout=60)
    files = [each for each in folder.rglob("*") if each.is_file()]
    return {each.relative_to(folder).as_posix(): hashlib.sha256(each.read_bytes()).hexdigest() for each in files}


def read_with_go(run: GoProgram, paths: list[Path]) -> dict[Path, dict[str, str]]:
    """Read many ZIPs with Go's archive/zip; return the digests by ZIP and name, and what it says of what it refuses."""
    found: dict[Path, dict[str, str]] = {path: {} for path in paths}
    for line in run(*paths).splitlines():
        path, name, digest = line.split("\t")
        found[Path(path)][name] = digest
    return found


PROGRAMS = [
    pytest.param("zipfile"),
    pytest.param("unzip", marks=pytest.mark.needs("unzip")),
]


@pytest.mark.parametrize("how", PROGRAMS)
def test_another_program_extracts_the_very_same_bytes(opened, tmp_path, how):
    """Info-ZIP reads from the end, Go's archive/zip checks both places: all of them find our files and no other."""
    plain = tmp_path / "plain.zip"
    plain.write_bytes(pyrage.decrypt(opened.header + opened.payload, [opened.house.evidence]))
    assert extract(plain, tmp_path / how, how) == unpack(plain, tmp_path / "ours", Findings())


def small_zip() -> bytes:
    stream = ZipStream(UtcNs(1_700_000_000 * 10**9))
    names = ("request.jws", "clips/001.mp4", "manifest.jws")
    # No name stands in a content: who changes one changes no checksum.
    data = b"".join(chunk for name in names for chunk in stream.add(name, [bytes([len(name)]) * 40]))
    stream.close()
    return data + stream.take()


def alter_many(plain: bytes, seed: int, count: int) -> list[bytes]:
    """Change, put in and take out bytes at random."""
    chosen, made = random.Random(seed), []
    for _ in range(count):
        altered = bytearray(plain)
        for _ in range(chosen.choice((1, 1, 2, 3))):
            at = chosen.randrange(len(altered))
            match chosen.randrange(3):
                case 0:
                    altered[at] ^= 1 << chosen.randrange(8)
                case 1:
                    altered[at:at] = chosen.randbytes(chosen.randrange(1, 5))
                case _:
                    del altered[at : at + chosen.randrange(1, 5)]
        made.append(bytes(altered))
    return made


def read_accepted(data: bytes) -> dict[str, bytes] | None:
    """Return the files of a ZIP as we read it; None if we refuse it."""
    file = io.BytesIO(data)
    try:
        entries = read_layout(file)
    except EvidenceError:
        return None
    found = {entry.name: b"".join(iter_bytes(file, entry)) for entry in entries}
    return found if all(zlib.crc32(found[entry.name]) == entry.crc for entry in entries) else None


def test_no_altered_container_is_read_in_two_ways():
    """Of thousands of altered ZIPs each is refused, or has the bytes that zipfile and our reader both find."""
    chosen, plain = random.Random(15), small_zip()
    assert read_accepted(plain) is not None
    altered = alter_many(plain, 16, 4000) + [redate(plain, chosen) for _ in range(100)]
    accepted = [(data, found) for data in altered if (found := read_accepted(data)) is not None]
    for data, found in accepted:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            assert {name: bundle.read(name) for name in bundle.namelist()} == found
    assert 20 < len(accepted) < 400  # a date, or a name that is spelled alike in all places


def redate(data: bytes, chosen: random.Random) -> bytes:
    """Another date or name in both places that have it: what a fuzzer would need long to hit upon."""
    name = chosen.choice((b"request.jws", b"clips/001.mp4", b"manifest.jws"))
    other = bytearray(name)
    other[chosen.randrange(len(other))] = chosen.randrange(256)
    time = bytes(chosen.randrange(256) for _ in range(4))
    old_time = data[10:14]
    return data.replace(name, bytes(other)).replace(old_time, time)


@pytest.mark.city
@pytest.mark.slow
def test_three_other_programs_read_what_we_accept(tmp_path, opened, go_programs):
    """Info-ZIP, Go's archive/zip and zipfile find the very bytes that we do in every fuzzed ZIP that we accept."""
    chosen, plain = random.Random(17), small_zip()
    fuzzed = alter_many(plain, 18, 20_000) + [redate(plain, chosen) for _ in range(2000)]
    accepted = {}
    for number, data in enumerate(fuzzed):
        found = read_accepted(data)
        if found is not None and all(name.isprintable() and "\\" not in name for name in found) and len(accepted) < 400:
            path = tmp_path / f"{number}.zip"
            path.write_bytes(data)
            accepted[path] = {name: hashlib.sha256(part).hexdigest() for name, part in found.items()}
    whole = tmp_path / "whole.zip"
    whole.write_bytes(pyrage.decrypt(opened.header + opened.payload, [opened.house.evidence]))
    accepted[whole] = unpack(whole, tmp_path / "ours", Findings())
    assert len(accepted) > 50
    assert read_with_go(go_programs("zip"), list(accepted)) == accepted
    for path, expected in accepted.items():
        for name, digest in expected.items():
            words = ["unzip", "-p", str(path), re.sub(r"([\[*?])", r"[\1]", name)]
            data = subprocess.run(words, capture_output=True, timeout=60, check=True).stdout
            assert hashlib.sha256(data).hexdigest() == digest, (path, name)


@pytest.mark.slow
def test_a_clip_of_more_than_two_gibibytes_is_read(tmp_path):
    """From there on sizes and places move into extra fields, and the end has a second form."""
    size, stream = (1 << 31) + 5, ZipStream(UtcNs(1_700_000_000 * 10**9))
    path, block = tmp_path / "large.zip", bytes(1 << 22)
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            # Sparse: of zeros nothing is written.
            file.seek(len(data), 1) if data.count(0) == len(data) else file.write(data)

        parts = [block] * (size // len(block)) + [bytes(size % len(block))]
        for data in stream.add("clips/001.mp4", parts):
            write(data)
        for data in stream.add("manifest.jws", [b"{}"]):
            write(data)
        stream.close()
        write(stream.take())
    with path.open("rb") as file:
        entries = read_layout(file)
        assert [(entry.name, entry.size) for entry in entries] == [("clips/001.mp4", size), ("manifest.jws", 2)]
        assert b"".join(iter_bytes(file, entries[1])) == b"{}"


_PACK_AND_READ = """
import io, sys
sys.path.insert(0, sys.argv[1])
from edge_agent.uplink.bundle.zip_stream import ZipStream
from edge_agent.verifier.zip_layout import read_layout
made = ZipStream(1_800_000_000 * 10**9)
plain = b"".join(made.add("a", [b"x"]))
made.close()
plain += made.take()
assert [entry.name for entry in read_layout(io.BytesIO(plain))] == ["a"]
print(plain.hex())
"""


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"], ids=["ours", "the system's"])
def test_every_python_packs_the_same_bytes(python: str) -> None:
    """A gateway runs its suite's Python, whose zipfile differs: before 3.11.4 it wrote an invalid local header."""
    if not Path(python).exists():
        pytest.skip("no Python of the system")
    words = [python, "-I", "-c", _PACK_AND_READ, str(Path(__file__).parents[2])]
    made = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    local = "504b03042d000800000000402f5e00000000ffffffffffffffff01001400610100100000000000000000000000"
    assert made.startswith(local)
    assert "504b01022d032d000800000000402f5e8316dc8c0100000001000000010000000000" in made


def test_a_directory_beyond_the_largest_number_is_refused():
    """Found by the fuzzer: place and length of 64 bits each, whose sum is more."""
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**64 - 1, 2**64 - 1)
    tail = struct.pack("<4sIQI", b"PK\6\7", 0, 1, 1) + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 1, 1, 0)
    with pytest.raises(EvidenceError, match="does not end"):
        read_layout(io.BytesIO(b"x" + end64 + tail))


class OfASmallFileSystem(io.BytesIO):
    """A file that cannot be longer than 16 TiB, as on ext4: lseek(2) fails beyond."""

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset > 1 << 44:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().seek(offset, whence)


def declare_size(size: int) -> bytes:
    """Write a ZIP of one entry that is said to be so large, and is not."""
    name, date = b"manifest.jws", (0, 0x5F2E)
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 8, 0, *date, 0, 2**32 - 1, 2**32 - 1, len(name), 20)
    data = head + name + struct.pack("<HHQQ", 1, 16, 0, 0) + b"{}"
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    central = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 3 << 8 | 45, 45, 8, 0, *date, 0, 2**32 - 1, 2**32 - 1, len(name), len(extra),
        0, 0, 0, 0o100644 << 16, 0,
    )  # fmt: skip
    central += name + extra
    return data + central + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(data), 0)


@pytest.mark.parametrize("bits", [45, 62, 63])
def test_an_entry_beyond_what_a_file_can_be_is_refused(tmp_path, bits):
    """Its size is the attacker's: whatever the file system says of such a place, the container is at fault."""
    raw = declare_size((1 << bits) + 5)
    with pytest.raises(EvidenceError, match="cut short"):
        read_layout(OfASmallFileSystem(raw))
    (tmp_path / "bundle.zip").write_bytes(raw)
    with (tmp_path / "bundle.zip").open("rb") as file, pytest.raises(EvidenceError, match="cut short"):
        read_layout(file)

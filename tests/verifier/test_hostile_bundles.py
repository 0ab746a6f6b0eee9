"""Bundles that a hostile gateway signed: whatever is in them, opening ends in findings, soon, and in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.base64url import encode_b64
from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.record import RecordHeader, encode_header
from edge_agent.protocol import jws
from edge_agent.protocol import manifest as names
from edge_agent.units import MonoNs, UtcNs
from edge_agent.verifier.findings import Findings, Proof
from edge_agent.verifier.open import open_bundle
from tests.support.footage import encode, records, window
from tests.support.opened import Opened, edit_lines, open_release, pack
from tests.support.release import House

EARLIER, LATER = "2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z"
INVERTED = {"start": LATER, "end": EARLIER}
EMPTY = {"start": LATER, "end": LATER}


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Opened:
    folder = tmp_path_factory.mktemp("bundle")
    return open_release(folder, House(folder), window(0.5, 4.25), records(encode(60)))


def set_member(*path):
    """Put the last word at the place that the others name."""

    def change(members: dict) -> None:
        *way, last, value = path
        for step in way:
            members = members[step]
        members[last] = value

    return change


MANIFESTS = {
    "a granted window that ends before it starts": set_member("windows", "granted", [INVERTED]),
    "an empty window": set_member("windows", "granted", [EMPTY]),
    "an asked window that ends before it starts": set_member("windows", "asked", INVERTED),
    "a delivered window that ends before it starts": set_member("windows", "delivered", [INVERTED]),
    "a gap that ends before it starts": set_member("gaps", [INVERTED | {"reason": "no-footage"}]),
    "a clip that ends before it starts": set_member("clips", 0, "end", "2023-11-14T22:13:20.001Z"),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_span_that_ends_before_it_starts_is_a_finding(opened, change):
    """Every check reckons with windows: none of the manifest's is turned round, or the manifest has failed."""
    members = opened.manifest
    change(members)
    findings = opened.open(opened.sign(opened.parts, members))
    assert findings.failed_parts() == {"manifest"}, findings.as_text()
    assert "ends before it starts" in findings.as_text()


HUGE = {
    "the least offset of a camera's clock": set_member("clocks", "rtcp_offset_min_ns", -(10**400)),
    "the greatest offset of a camera's clock": set_member("clocks", "rtcp_offset_max_ns", 10**400),
    "the offset of a track": set_member("clips", 0, "offsets", [{"track": 0, "ticks": 1 << 63}]),
    "a fact about the camera": set_member("camera", "health", {"fact": 10**400}),
}


@pytest.mark.parametrize("change", HUGE.values(), ids=HUGE)
def test_a_number_beyond_64_bits_is_a_finding(opened, change):
    """What reckons with it, the report among others, never meets it."""
    members = opened.manifest
    change(members)
    signed = jws.sign(names.TYP, members, [opened.house.gateway])
    findings = opened.open(opened.parts | {names.MANIFEST: signed})
    assert findings.failed_parts() == {"manifest"}, findings.as_text()
    assert "member is wrong" in findings.as_text()


def first_media(change):
    """Change the first line that shows access units."""
    return lambda lines: change(next(line for line in lines if line.get("delivered")))


RECORDS = {
    "a time base without a denominator": first_media(lambda line: line["tracks"][0].update(time_base=[1, 0])),
    "a time base of one number": first_media(lambda line: line["tracks"][0].update(time_base=[1])),
    "a time base of text": first_media(
        lambda line: line["tracks"][0].update(time_base=["{}/{}".format(*line["tracks"][0]["time_base"])])
    ),
    "a time base of a text that names a huge number": first_media(
        lambda line: line["tracks"][0].update(time_base=["1e8000000"])
    ),
    "a time base that is true": first_media(lambda line: line["tracks"][0].update(time_base=[True, 10**9])),
    "a time base beyond 32 bits": first_media(
        lambda line: line["tracks"][0].update(time_base=[each << 32 for each in line["tracks"][0]["time_base"]])
    ),
    "a track of another number": first_media(lambda line: line["tracks"][0].update(track=9)),
    "tracks that are no list": first_media(lambda line: line.update(tracks=7)),
    "more tracks than digests": first_media(lambda line: line.update(tracks=line["tracks"] * 999)),
    "places beyond the record": first_media(lambda line: line.update(places=encode_b64(bytes(61)))),
    "units of a track that is not there": first_media(lambda line: line["delivered"][0]["units"][0].__setitem__(1, 77)),
    "a unit of a list": first_media(lambda line: line["delivered"][0]["units"].__setitem__(0, [[], {}, "x"])),
    "a clip of no name": first_media(lambda line: line["delivered"][0].update(clip="../../out.mp4")),
    "an instant beyond all": first_media(lambda line: line["delivered"][0]["units"][0].__setitem__(2, 1 << 200)),
    "a block that is a list": first_media(lambda line: line.update(block=[[1]])),
    "a number that is none": first_media(lambda line: line.update(index=float("nan"))),
    "a reference that is text": first_media(lambda line: line.update(ref="0")),
    "a header of text": first_media(lambda line: line.update(header={"a": 1})),
    "a time of no year": first_media(lambda line: line.update(start="9999-13-77T25:61:61Z")),
    "a record twice": lambda lines: lines.append(lines[-1] | {"ref": len(lines)}),
    "a line of a list": lambda lines: [*lines, [1]],
    "a line of a number": lambda lines: [*lines, 1e308],
}


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS.keys())
def test_a_line_of_the_records_is_a_finding(opened, change):
    """Whatever a line holds, the records fail, and nothing else happens."""
    parts = opened.parts | {names.RECORDS: edit_lines(opened.parts[names.RECORDS], change)}
    findings = opened.open(opened.sign(parts))
    assert findings.failed_parts() & {"records", "pictures"}, findings.as_text()


BLOCKS = {
    "a block that is a list": lambda lines: lines[0].update(block=[1]),
    "records that are none": lambda lines: lines[0].update(records=7),
    "a record that is a list": lambda lines: lines[0]["records"].__setitem__(0, [1]),
    "a page of text": lambda lines: lines[0].update(page="x"),
    "a page of zeros": lambda lines: lines[0].update(page=encode_b64(bytes(4096))),
    "another page behind it": lambda lines: lines[0].update(next_page=lines[0]["page"]),
}


@pytest.mark.parametrize("change", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_line_of_the_blocks_is_a_finding(opened, change):
    """Whatever a line holds, the chain fails, and nothing else happens."""
    parts = opened.parts | {names.BLOCKS: edit_lines(opened.parts[names.BLOCKS], change)}
    findings = opened.open(opened.sign(parts))
    assert "chain" in findings.failed_parts(), findings.as_text()


PAPERS = [names.REQUEST, names.CONSENT, names.LEDGER, names.README]
CONTENTS = {
    "nothing": b"",
    "a list": b"[]",
    "depth": b"[" * 100_000,
    "zeros": bytes(10_000),
    "an empty object": b"{}",
    "a signed list": json.dumps({"payload": "W10", "signatures": [{"protected": "e30", "signature": ""}]}).encode(),
}


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_a_paper_that_is_none_is_a_finding(opened, name, content):
    """The manifest is signed over it, so that each check has to look into it."""
    findings = opened.open(opened.sign(opened.parts | {name: content}))
    if name != names.README:
        assert not findings.ok


# One clip's fault is that clip's.


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Opened:
    """Two clips of two granted windows, in blocks of their own."""
    folder = tmp_path_factory.mktemp("two")
    pieces = records(encode(200, gop=10))
    asked = window(0, 20)
    return open_release(folder, House(folder), asked, pieces, granted=(window(0, 3), window(15, 18)))


def damage_record(parts: dict[str, bytes], name: str, member: str) -> dict[str, bytes]:
    def change(lines):
        line = next(line for line in lines if any(part["clip"] == name for part in line.get("delivered", ())))
        line[member] = line[member][:-8] + "AAAAAAA="

    return {names.RECORDS: edit_lines(parts[names.RECORDS], change)}


def damage_block(parts: dict[str, bytes], name: str) -> dict[str, bytes]:
    lines = [json.loads(line) for line in parts[names.RECORDS].splitlines()]
    touched = {line["block"] for line in lines for part in line.get("delivered", ()) if part["clip"] == name}

    def change(blocks):
        block = next(each for each in blocks if each["block"] == max(touched))
        block["records"][0]["body_sha256"] = "00" * 32

    return {names.BLOCKS: edit_lines(parts[names.BLOCKS], change)}


FAULTS = {
    "no MP4": lambda parts, name: {name: bytes(1000)},
    "an MP4 that is cut short": lambda parts, name: {name: parts[name][:-300]},
    "its record altered": lambda parts, name: damage_record(parts, name, "digests"),
    "its block altered": damage_block,
}


@pytest.mark.parametrize("damage", FAULTS.values(), ids=FAULTS.keys())
def test_the_fault_of_one_clip_hides_no_other(two, damage):
    """Of two clips one is damaged; that one fails by name, and the other one is proved as before."""
    assert two.open().ok, two.open().as_text()
    assert [clip["file"] for clip in two.manifest["clips"]] == ["clips/001.mp4", "clips/002.mp4"]
    findings = two.open(two.sign(two.parts | damage(two.parts, "clips/002.mp4")))
    assert not findings.ok
    pictures = {item.name: item.verdict for item in findings.items if item.part == "pictures"}
    assert pictures == {"clips/001.mp4": Proof.PROVED, "clips/002.mp4": Proof.FAILED}, findings.as_text()
    assert (two.folder / "out/progressive/001.mp4").exists()


def test_a_clip_with_another_checksum_hides_no_other(two):
    """What other programs refuse to extract is a failure of that clip; it is named, and the rest is judged."""
    plain = bytearray(pack(two.parts))
    at = plain.index(two.parts["clips/002.mp4"]) + 500
    plain[at] ^= 1
    findings = open_plain(two, bytes(plain))
    assert {item.name for item in findings.items if item.verdict is Proof.FAILED} == {"clips/002.mp4"}
    assert Proof.PROVED in {item.verdict for item in findings.items if item.name == "clips/001.mp4"}


def open_plain(opened: Opened, plain: bytes) -> Findings:
    path = opened.folder / "plain.zip"
    path.write_bytes(plain)
    return open_bundle(path, b"", "", opened.house.known(), opened.folder / "plain")


# How much memory it takes.


def note_line(ref: int) -> bytes:
    """A note of a block that the bundle does not hold: its header is nobody's."""
    header = encode_header(RecordHeader(Kind.CLOCK, 0, 9_999_999, ref, UtcNs(0), 0, MonoNs(0), 0, bytes(32), bytes(32)))
    start = "1970-01-01T00:00:00Z"
    line = {
        "ref": ref, "kind": "clock", "block": 9_999_999, "index": ref, "start": start, "end": start, "note": {},
        "clock": "synchronised", "rebased": False, "header": encode_b64(header), "body_sha256": "00" * 32,
    }  # fmt: skip
    return json.dumps(line).encode() + b"\n"


HEAVY = {
    "a hundred megabytes of records outside the chain": (
        names.RECORDS, lambda: b"".join(note_line(ref) for ref in range(250_000))
    ),
    "a line of empty objects": (names.RECORDS, lambda: b"[" + b"{}," * 2_700_000 + b"{}]\n"),
    "a line of wide letters": (names.RECORDS, lambda: b'["' + b"a" * 8_000_000 + "\U0001f600".encode() + b'"]\n'),
    "a line without an end": (names.RECORDS, lambda: b"[" * (100 << 20)),
    "a README of a hundred megabytes": (names.README, lambda: b"x" * (100 << 20)),
    "a paper of a hundred megabytes": (names.REQUEST, lambda: b"[" * (100 << 20)),
    "a block with a line of numbers": (names.BLOCKS, lambda: b"[" + b"0," * 4_000_000 + b"0]\n"),
}  # fmt: skip
MOST_KIB = 200 << 10
OPEN = """
import re, sys
from pathlib import Path
from edge_agent.verifier.opened_bundle import KnownKeys, KnownSigner
from edge_agent.verifier.open import open_bundle
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
gateway, recorder, owner = (Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in sys.argv[3:6])
found = open_bundle(Path(sys.argv[1]), b"", "", KnownKeys(sys.argv[6], gateway, recorder, owner), Path(sys.argv[2]))
print(found.as_text()[:2000], file=sys.stderr)
# Not ru_maxrss: that one is inherited from the process that started this one.
print(found.ok, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def measure(opened: Opened, parts: dict[str, bytes], folder: Path) -> tuple[bool, int, str]:
    """Open in a process of its own; return whether nothing failed, the most memory in KiB, and what was said."""
    path = folder / "heavy.zip"
    path.write_bytes(pack(parts))
    known = opened.house.known()
    keys = [key.public_bytes_raw().hex() for key in (known.gateway, known.recorder, known.owner)]
    words = [sys.executable, "-c", OPEN, path, folder / "out", *keys, known.gateway_id]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    is_ok, kib = done.stdout.split()
    return is_ok == "True", int(kib), done.stderr


@pytest.mark.parametrize(("name", "make"), HEAVY.values(), ids=HEAVY.keys())
def test_a_heavy_bundle_takes_little_memory(opened, tmp_path, name, make):
    """Opening takes at most 200 MB, of which a bundle without any fault takes a good half."""
    parts = opened.sign(opened.parts | {name: make()})
    is_ok, kib, text = measure(opened, parts, tmp_path)
    assert not is_ok
    assert kib <= MOST_KIB, text
    print(f"most memory: {kib >> 10} MiB")

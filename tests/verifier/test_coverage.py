"""What the RTCC finds where footage is missing: what was recorded and is not delivered is named, and an honest loss
does not fail."""

import base64
import io
import json
from dataclasses import replace

import av
import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.buffer.format.record import parse_header
from edge_agent.protocol import manifest as names
from edge_agent.settings.source_digest import digest_source
from edge_agent.units import SECOND_NS
from edge_agent.verifier.findings import Proof
from tests.support.footage import START, encode, read_numbers, records, window
from tests.support.opened import Opened, edit_lines, open_release, remux
from tests.support.release import ADDRESS, House


def release(folder, house: House, asked) -> Opened:
    info, payload = house.build(house.grant(asked))
    return Opened(folder, house, info.age_header + payload, house.evidence, names.TYP)


def undelivered(findings) -> list[str]:
    """What is said to be recorded and not delivered."""
    told = [item.sentence for item in findings.items if item.sentence.startswith("Recorded, but not delivered")]
    assert all(item.verdict is Proof.NOT_PROVED for item in findings.items if item.sentence in told)
    return told


def damage(house: House, number: int, what: str = "body") -> None:
    """Change a byte of one record on the disk, counted from 0: of its body, its header, the digest behind it."""
    raw, at = bytearray(house.ring.read_bytes()), -1
    for _ in range(number + 1):
        at = raw.index(b"EREC", at + 1)
    length = parse_header(bytes(raw[at : at + 128])).length
    places = {"body": (328,), "header": (30,), "digest": (144 + length,), "body and digest": (328, 144 + length)}
    for place in places[what]:
        raw[at + place] ^= 1
    house.ring.write_bytes(raw)


def test_a_damaged_record_is_told_and_fails_nothing(tmp_path):
    """What a bad sector took is recorded, by its header, and declared missing: nobody has altered anything."""
    house = House(tmp_path)
    house.record(records(encode(80, gop=20)))
    damage(house, 1)
    opened = release(tmp_path, house, window(0, 8))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    (told,) = undelivered(findings)
    assert "2023-11-14T22:13:22Z/2023-11-14T22:13:24Z" in told
    assert "damaged" in told


@pytest.mark.parametrize("what", ["header", "digest", "body and digest"])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_record_without_header_or_digest_fails_nothing(tmp_path, number, what):
    """A hole in the chain is told; what lies before it in its block is the gateway's word, and the rest is proved."""
    house = House(tmp_path)
    house.record(records(encode(80, gop=20)))
    damage(house, number, what)
    opened = release(tmp_path, house, window(0, 8))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    proved = {item.name for item in findings.items if (item.part, item.verdict) == ("pictures", Proof.PROVED)}
    every = {clip["file"] for clip in opened.manifest["clips"]}
    assert len(every) == (2 if number == 1 else 1)
    # A digest can be had from the body; a body from nothing.
    before = {0: set(), 1: {"clips/001.mp4"}, 3: {"clips/001.mp4"}}[number]
    assert proved == (every if what == "digest" else every - before)
    told = [item for item in findings.items if "more records than are shown" in item.sentence]
    assert len(told) == (what != "digest")
    assert [gap["reason"] for gap in opened.manifest["gaps"]]


def test_a_hole_in_the_chain_takes_the_proof_of_what_lies_before(tmp_path):
    """A gateway that withholds a record, as damaged, withholds that the recorder vouches for those before it."""
    opened = open_release(tmp_path, House(tmp_path), window(0, 4), records(encode(60)))
    for at in (-1, 4):
        blocks = edit_lines(opened.parts[names.BLOCKS], lambda lines, at=at: lines[0]["records"].pop(at) and None)
        findings = opened.open(opened.sign(opened.parts | {names.BLOCKS: blocks}))
        proved = {item.part for item in findings.items if item.verdict is Proof.PROVED}
        assert not {"pictures", "completeness"} & proved
        assert "more records than are shown" in findings.as_text()
    within = edit_lines(opened.parts[names.BLOCKS], lambda lines: lines[0]["records"].pop(2) and None)
    assert "records" in opened.open(opened.sign(opened.parts | {names.BLOCKS: within})).failed_parts()


def test_a_conflict_of_clocks_is_told_and_fails_nothing(tmp_path):
    """Where two runs claim the same time neither is delivered: both were recorded, and the findings say so."""
    house = House(tmp_path)
    second = records(encode(80, first=200), START + 4 * SECOND_NS)
    house.record([*records(encode(80)), (Kind.RUN, 0, b'{"codec":"h264"}'), *second])
    opened = release(tmp_path, house, window(0, 12))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    (told,) = undelivered(findings)
    assert "2023-11-14T22:13:24Z/2023-11-14T22:13:28Z" in told
    assert "clock-conflict" in told


def test_a_record_that_is_no_nut_file_is_told_and_fails_nothing(tmp_path):
    """A record whose bytes cannot be taken apart ends the clip; its header says that it was recorded."""
    first, second, *rest = records(encode(80, gop=20))
    broken = replace(second, nut=b"no NUT file")
    opened = open_release(tmp_path, House(tmp_path), window(0, 8), [first, broken, *rest])
    findings = opened.open()
    assert findings.ok, findings.as_text()
    (told,) = undelivered(findings)
    assert "2023-11-14T22:13:22Z/2023-11-14T22:13:24Z" in told
    assert "unreadable-record" in told


def test_a_loss_that_is_not_declared_fails(tmp_path):
    """A record that is neither delivered nor in a gap is kept quiet, whoever lost it."""
    house = House(tmp_path)
    house.record(records(encode(80, gop=20)))
    damage(house, 1)
    opened = release(tmp_path, house, window(0, 8))
    members = opened.manifest
    members["windows"]["delivered"] = [members["windows"]["granted"][0]]
    findings = opened.open(opened.sign(opened.parts, members | {"gaps": []}))
    assert "completeness" in findings.failed_parts()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return open_release(folder, House(folder), window(0, 4), records(encode(60)))


def shorten(opened: Opened, pictures: int = 10) -> dict[str, bytes]:
    """The clip cut down to the pictures of its first record, in the file and in the list."""

    def forget(lines):
        for line in [line for line in lines if line.get("delivered")][1:]:
            line["delivered"], line["places"] = [], ""

    short = remux(opened.parts["clips/001.mp4"], lambda packets: packets[:pictures])
    assert read_numbers(short) == list(range(pictures))
    return opened.parts | {
        "clips/001.mp4": short, names.RECORDS: edit_lines(opened.parts[names.RECORDS], forget),
    }  # fmt: skip


def test_a_shortened_clip_cannot_claim_the_whole_window(opened):
    """A clip spans what its pictures span, whatever the manifest says."""
    findings = opened.open(opened.sign(shorten(opened)))
    assert {"pictures", "completeness"} & findings.failed_parts(), findings.as_text()


def shortened_manifest(opened: Opened) -> dict:
    members = opened.manifest
    end = "2023-11-14T22:13:21Z"
    members["clips"][0]["end"] = end
    members["windows"]["delivered"] = [{"start": "2023-11-14T22:13:20Z", "end": end}]
    return members


def test_a_shortened_clip_cannot_leave_the_rest_unsaid(opened):
    """What was granted and recorded is delivered or declared missing."""
    members = shortened_manifest(opened)
    findings = opened.open(opened.sign(shorten(opened), members))
    assert {"windows", "completeness"} <= findings.failed_parts()
    members["windows"]["delivered"] = opened.manifest["windows"]["delivered"]
    findings = opened.open(opened.sign(shorten(opened), members))
    assert {"windows", "completeness"} <= findings.failed_parts()


def test_a_gap_over_recorded_footage_is_seen(opened):
    """Where a gateway says that the camera was down, and the recorder recorded, the findings say that it did."""
    members = shortened_manifest(opened)
    members["gaps"] = [{"start": "2023-11-14T22:13:21Z", "end": "2023-11-14T22:13:24Z", "reason": "camera-down"}]
    findings = opened.open(opened.sign(shorten(opened), members))
    (told,) = undelivered(findings)
    assert "2023-11-14T22:13:21Z/2023-11-14T22:13:24Z" in told
    assert "camera-down" in told


HONEST = {
    "before the first keyframe": (0.5, 4.25),
    "reordered at the end": (0, 3.85),
    "a lone picture, without its sound": (0.95, 1.05),
    "inside one record": (2.05, 3.25),
}


@pytest.mark.parametrize("span", HONEST.values(), ids=HONEST.keys())
def test_what_is_honestly_left_out_fails_nothing(tmp_path, span):
    """A window may begin and end anywhere: what is not delivered of its records is declared."""
    pieces = records(encode(60, bframes=2, audio="aac"))
    findings = open_release(tmp_path, House(tmp_path), window(*span), pieces, audio=True).open()
    assert findings.ok, findings.as_text()


def leave_out(opened: Opened, gone: int) -> dict[str, bytes]:
    """The bundle without one block: in the clip, in the list of records, in the list of blocks."""
    lines = [json.loads(line) for line in opened.parts[names.RECORDS].splitlines()]

    def count(is_there) -> int:
        found = [line for line in lines if is_there(line["block"])]
        return sum(len(part["units"]) for line in found for part in line.get("delivered", []))

    def forget(lines):
        return [line | {"ref": ref} for ref, line in enumerate(line for line in lines if line["block"] != gone)]

    first, end = count(lambda block: block < gone), count(lambda block: block <= gone)
    assert first < end
    return opened.parts | {
        "clips/001.mp4": remux(opened.parts["clips/001.mp4"], lambda packets: packets[:first] + packets[end:]),
        names.RECORDS: edit_lines(opened.parts[names.RECORDS], forget),
        names.BLOCKS: edit_lines(
            opened.parts[names.BLOCKS], lambda blocks: [each for each in blocks if each["block"] != gone]
        ),
    }


@pytest.fixture(scope="module")
def in_blocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    house = House(folder)
    house.record(records(encode(90)), block_bytes=8 << 10)
    opened = release(folder, house, window(0, 9))
    assert opened.open().ok
    return opened


@pytest.mark.parametrize("gone", [2, 3])
def test_no_block_can_be_cut_out_of_a_clip(in_blocks, gone):
    """Each block's end is signed by the page of the next: within a clip, the next one is there."""
    findings = in_blocks.open(in_blocks.sign(leave_out(in_blocks, gone)))
    assert "pictures" in findings.failed_parts(), findings.as_text()


def test_no_page_can_be_kept_back(in_blocks):
    """A block whose successor is shown cannot pass for one that was still open."""

    def keep_back(lines):
        lines[1]["next_page"] = None

    blocks = edit_lines(in_blocks.parts[names.BLOCKS], keep_back)
    findings = in_blocks.open(in_blocks.sign(in_blocks.parts | {names.BLOCKS: blocks}))
    assert "chain" in findings.failed_parts()


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mjpeg"])
def test_one_picture_is_a_clip(tmp_path, codec):
    """A window that one keyframe lies in is answered with that picture, and believed."""
    house = House(tmp_path)
    house.record(records(encode(30, codec=codec)))
    opened = release(tmp_path, house, window(1, 1.05))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert read_numbers(opened.parts["clips/001.mp4"]) == [10]


def test_every_picture_of_a_very_slow_camera_is_believed(tmp_path):
    """A picture every three seconds is a clip each, and none of it looks tampered with."""
    house = House(tmp_path)
    house.record(records(encode(4, gop=1, slowness=30), slowness=30))
    opened = release(tmp_path, house, window(0, 12))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert len(opened.manifest["clips"]) == 4


def test_no_clip_stands_still_over_a_hole(tmp_path):
    """Pictures of one clip lie within two seconds of each other: two clips cannot be made one."""
    house = House(tmp_path)
    first, second, *_, last = records(encode(60))
    house.record([first, second, last])
    opened = release(tmp_path, house, window(0, 6))
    assert opened.open().ok
    members = opened.manifest
    one, other = members["clips"]
    later = other["offsets"][0]["ticks"] - one["offsets"][0]["ticks"]
    with av.open(io.BytesIO(opened.parts["clips/002.mp4"])) as source:
        more = [packet for packet in source.demux() if packet.size]
    for packet in more:
        packet.pts, packet.dts = packet.pts + later, packet.dts + later

    def join(lines):
        for part in (part for line in lines for part in line.get("delivered", [])):
            part["clip"] = "clips/001.mp4"

    parts = {name: data for name, data in opened.parts.items() if name != "clips/002.mp4"} | {
        "clips/001.mp4": remux(opened.parts["clips/001.mp4"], lambda packets: [*packets, *more]),
        names.RECORDS: edit_lines(opened.parts[names.RECORDS], join),
    }
    whole = {"start": one["start"], "end": other["end"]}
    members |= {"clips": [one | whole], "gaps": [], "windows": members["windows"] | {"delivered": [whole]}}
    findings = opened.open(opened.sign(parts, members))
    assert "pictures" in findings.failed_parts()
    assert "pictures are missing inside it" in findings.as_text()


def test_a_block_of_which_nothing_is_here_is_told(in_blocks):
    """The page after a block says, signed while recording, what span it has and how much footage is in it."""
    parts = leave_out(in_blocks, 3)
    told = [item.sentence for item in in_blocks.open(in_blocks.sign(parts)).items if "block 3" in item.sentence]
    assert told == [
        "Nothing is here of block 3, which was recorded from 2023-11-14T22:13:24Z to 2023-11-14T22:13:26Z, with 2.0 s"
        " of footage. Why is the gateway's word."
    ]
    assert not any("Nothing is here of block" in item.sentence for item in in_blocks.open().items)


def test_pictures_stand_in_the_order_of_the_record(tmp_path):
    """Listed out of order, the first and the last would be neighbours, and what is between them spoken of nowhere."""
    opened = open_release(tmp_path, House(tmp_path), window(0, 1), records(encode(30)))
    kept, ticks = (4, 0, 9, 5), 90_000
    members = opened.manifest

    def choose(lines):
        for line in (line for line in lines if line.get("delivered")):
            (part,), line["places"] = line["delivered"], ""
            salts = base64.b64decode(part["salts"])
            part["units"] = [part["units"][index] for index in kept]
            part["salts"] = base64.b64encode(b"".join(salts[index * 32 : index * 32 + 32] for index in kept)).decode()

    def reorder(packets):
        for number, index in enumerate(kept):
            packet = packets[index]
            packet.pts, packet.dts = packet.pts + ticks, number * 10
            yield packet

    members["clips"][0]["offsets"][0]["ticks"] -= ticks
    parts = opened.parts | {
        "clips/001.mp4": remux(opened.parts["clips/001.mp4"], reorder),
        names.RECORDS: edit_lines(opened.parts[names.RECORDS], choose),
    }
    findings = opened.open(opened.sign(parts, members))
    assert "records" in findings.failed_parts()
    assert "not in the order of the record" in findings.as_text()


def test_another_source_is_told_and_fails_nothing(tmp_path):
    """A stretch of another source is a declared gap; that the rest is of the signed source, the recorder proves."""
    house = House(tmp_path)
    first, second, third = records(encode(30))
    house.record([first, "rtsp://door/bedroom", second, ADDRESS, third])
    opened = release(tmp_path, house, window(0, 3))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert "(source-changed)" in findings.as_text()
    assert any("source that the owner's consent names" in each.sentence for each in findings.items)


def test_a_gateway_that_releases_another_source_is_found(tmp_path):
    """A consent for another source than the recorder signed beside the footage fails its check."""
    house = House(tmp_path)
    house.record(["rtsp://door/bedroom", *records(encode(30))])
    with house.reader() as reader:
        source = digest_source(reader.superblock.ring_id, "rtsp://door/bedroom")
    info, payload = house.build(house.grant(window(0, 3), source=source))
    findings = Opened(tmp_path, house, info.age_header + payload, house.evidence, names.TYP).open()
    assert "consent" in findings.failed_parts()
    assert "another source than the owner signed" in findings.as_text()

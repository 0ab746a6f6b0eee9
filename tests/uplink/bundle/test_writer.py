"""A bundle from a real ring: what it holds, what it says, and that nothing opens it without its header."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace

import pyrage
import pytest

from edge_agent.buffer.format.constants import Kind
from edge_agent.errors import EvidenceError
from edge_agent.protocol import manifest as names
from edge_agent.protocol.age_stream import find_header_end
from edge_agent.protocol.manifest import parse_manifest, verify_manifest
from edge_agent.units import SECOND_NS, UtcNs, Window
from edge_agent.uplink.bundle.writer import RunBreaks
from tests.support.footage import START, encode, read_numbers, records, window
from tests.support.release import ADDRESS, House


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def open_zip(house, info, payload) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(pyrage.decrypt(info.age_header + payload, [house.evidence])))


def test_a_bundle_holds_its_parts(house):
    """Every part is there, in the order in which it became known, and each has the digest that the manifest says."""
    house.record(records(encode(60)))
    info, payload = house.build(house.grant(window(0.5, 4.25)))
    with open_zip(house, info, payload) as bundle:
        listed = bundle.namelist()
        assert listed == [
            names.REQUEST, names.CONSENT, "clips/001.mp4", names.RECORDS, names.BLOCKS, names.LEDGER, names.README,
            names.MANIFEST,
        ]  # fmt: skip
        manifest = verify_manifest(bundle.read(names.MANIFEST), house.gateway.public_key())
        for file in manifest.files:
            assert hashlib.sha256(bundle.read(file.name)).hexdigest() == file.sha256
        assert [file.name for file in manifest.files] == listed[:-1]
        assert read_numbers(bundle.read("clips/001.mp4")) == list(range(10, 43))
        text = bundle.read(names.README).decode()
    assert "Front door" in text
    assert "before-first-keyframe" in text
    assert info.sha256 == hashlib.sha256(payload).digest()
    assert info.size == len(payload)
    assert info.has_footage
    assert [(gap.end - gap.start, gap.reason) for gap in info.gaps] == [(SECOND_NS // 2, "before-first-keyframe")]
    assert manifest.windows.delivered[0].window() == window(1, 4.25)


def test_the_header_alone_opens_the_payload(house):
    """Without the age header the payload opens with no key; with it, for each recipient and nobody else."""
    house.record(records(encode(20)))
    info, payload = house.build(house.grant(window(0, 1.5)))
    assert not payload.startswith(b"age-")
    assert find_header_end(info.age_header) == len(info.age_header)
    for identity in (house.evidence, house.own):
        assert pyrage.decrypt(info.age_header + payload, [identity]).startswith(b"PK")
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(info.age_header + payload, [pyrage.x25519.Identity.generate()])
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(payload, [house.evidence])


def test_gaps_are_declared_with_their_reasons(house):
    """A hole makes two clips and one declared gap, with the reason that the recorder wrote down."""
    first = records(encode(20))
    later = records(encode(20, first=50), START + 5 * SECOND_NS)
    house.record([*first, (Kind.GAP, 3 * SECOND_NS, b'{"reason":"camera-down"}'), *later])
    info, payload = house.build(house.grant(window(0, 9)))
    with open_zip(house, info, payload) as bundle:
        assert read_numbers(bundle.read("clips/002.mp4")) == list(range(50, 70))
        manifest, _ = parse_manifest(bundle.read(names.MANIFEST))
    assert [clip.ended for clip in manifest.clips] == ["gap", "end"]
    assert [(gap.reason, gap.start, gap.end) for gap in manifest.gaps] == [
        ("camera-down", START + 2 * SECOND_NS, START + 5 * SECOND_NS),
        ("no-footage", START + 7 * SECOND_NS, START + 9 * SECOND_NS),
    ]


def spoil(house, number: int, at: int = 128 + 200) -> None:
    """Turn one bit of a record over, as a bad sector does: of its ciphertext, or where else it is said."""
    raw, place = bytearray(house.ring.read_bytes()), -1
    for _ in range(number + 1):
        place = raw.index(b"EREC", place + 1)
    raw[place + at] ^= 1
    house.ring.write_bytes(raw)


HOLES = {
    "a GOP as long as a jump may be": (records(encode(64)), [*range(30)], 40, (3, 4)),
    "a shorter GOP": (records(encode(64, gop=8)), [*range(24)], 32, (2.4, 3.2)),
    "the middle of a GOP": (records(encode(64, gop=20), split=(5, 10, 15, 17)), [*range(15)], 20, (1.5, 2)),
}


@pytest.mark.parametrize("at", [128 + 200, 8], ids=["its ciphertext", "its header"])
@pytest.mark.parametrize(("footage", "before", "after", "hole"), HOLES.values(), ids=HOLES)
def test_a_damaged_record_is_a_declared_gap_between_two_clips(house, footage, before, after, hole, at):
    """What cannot be had is never spliced over, however short; what follows begins with a keyframe."""
    house.record(footage)
    spoil(house, 3, at)
    info, payload = house.build(house.grant(window(0, 6)))
    with open_zip(house, info, payload) as bundle:
        assert read_numbers(bundle.read("clips/001.mp4")) == before
        assert read_numbers(bundle.read("clips/002.mp4")) == [*range(after, 60)]
        manifest, _ = parse_manifest(bundle.read(names.MANIFEST))
    assert manifest.clips[0].ended == "damaged"
    assert [(gap.reason, Window(gap.start, gap.end)) for gap in manifest.gaps] == [("damaged", window(*hole))]


def test_a_block_that_nobody_tells_of_is_a_break(house):
    """Footage on both sides of a block that cannot be read is not one piece; what lies side by side is."""
    house.record(records(encode(20)))
    with house.reader() as reader:
        first, second = [
            each for each in reader.read(house.grant(window(0, 2)), "door") if each.header.kind is Kind.GOP
        ]
    for seq, reason in ((first.seq, ""), (first.seq + 1, ""), (first.seq + 2, "footage-missing")):
        breaks = RunBreaks()
        assert [breaks.step(first), breaks.step(replace(second, seq=seq))] == ["", reason]


def test_the_shortest_loss_is_declared(house):
    """A lost record of one picture is in the manifest, though a pause of the camera of that length would not be."""
    first, second = records(encode(20))
    lost = replace(second, duration_ns=SECOND_NS // 25)
    house.record([first, lost, replace(second, start_ns=second.start_ns + SECOND_NS // 25)])
    spoil(house, 1)
    info, _ = house.build(house.grant(window(0, 2)))
    assert info.clips == 2
    assert [(gap.end - gap.start, gap.reason) for gap in info.gaps] == [(SECOND_NS // 25, "damaged")]


def test_the_cameras_clock_is_told_against_the_gateways(house):
    """The offsets that the recorder noted are in the manifest, least and greatest; other notes count not."""
    first, second, third = records(encode(30))

    house.record(
        [
            first,
            clock_note(camera_offset_ns=-1_500_000),
            second,
            clock_note(camera_offset_ns=250_000_000),
            clock_note(slew_ns=1),
            third,
        ]
    )
    clocks = clocks_of(house, window(0, 3))
    assert (clocks.rtcp_offset_min_ns, clocks.rtcp_offset_max_ns) == (-1_500_000, 250_000_000)


def clocks_of(house, asked):
    info, payload = house.build(house.grant(asked))
    with open_zip(house, info, payload) as bundle:
        return parse_manifest(bundle.read(names.MANIFEST))[0].clocks


def clock_note(**facts) -> tuple:
    return Kind.CLOCK, 0, json.dumps({"state": "synchronised", **facts}).encode()


def test_a_short_clip_tells_the_cameras_clock_as_it_was_noted_before(house):
    """No note falls into the clip: the last one before it counts."""
    first, second, third, fourth = records(encode(40))
    house.record([clock_note(camera_offset_ns=1), first, clock_note(camera_offset_ns=2), second, third, fourth])
    clocks = clocks_of(house, window(2, 3))
    assert (clocks.rtcp_offset_min_ns, clocks.rtcp_offset_max_ns) == (2, 2)


def test_the_clock_of_another_session_says_nothing(house):
    """The camera began anew after the note: its clock may be another one now."""
    first, second, third = records(encode(30))
    house.record([first, clock_note(camera_offset_ns=1), (Kind.RUN, 0, b"{}"), second, third])
    clocks = clocks_of(house, window(2, 3))
    assert (clocks.rtcp_offset_min_ns, clocks.rtcp_offset_max_ns) == (None, None)


def test_no_footage_is_a_bundle_that_says_so(house):
    """Granted, but nothing there: no clip, one gap, no error."""
    house.record(records(encode(20)))
    info, payload = house.build(house.grant(window(100, 110)))
    assert not info.has_footage
    assert [gap.reason for gap in info.gaps] == ["no-footage"]
    with open_zip(house, info, payload) as bundle:
        assert not [name for name in bundle.namelist() if name.startswith("clips/")]


def test_salts_go_with_delivered_units_only(house):
    """Footage outside the grant stays a digest: no salt, no PTS, no byte of it."""
    house.record(records(encode(40)))
    info, payload = house.build(house.grant(window(1, 2.5)))
    with open_zip(house, info, payload) as bundle:
        lines = [json.loads(line) for line in bundle.read(names.RECORDS).splitlines()]
    units = [unit for line in lines for part in line.get("delivered", []) for unit in part["units"]]
    assert len(units) == 15
    assert sum(len(part["salts"]) * 3 // 4 // 32 for line in lines for part in line.get("delivered", [])) == 15
    known = {"ref", "kind", "block", "index", "start", "end", "clock", "rebased", "header", "body_sha256"}
    assert all(set(line) <= known | {"tracks", "digests", "places", "delivered", "note"} for line in lines)


def test_progress_is_told(house):
    """The caller learns how far the footage was read."""
    house.record(records(encode(30)))
    told = []
    house.build(house.grant(window(0, 3)), on_progress=told.append)
    assert told == [UtcNs(START + second * SECOND_NS) for second in (1, 2, 3)]


def test_a_full_disk_is_told(house):
    """An error of writing the payload reaches the caller unchanged."""

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    house.record(records(encode(20)))
    with pytest.raises(OSError, match="No space"):
        house.build(house.grant(window(0, 2)), out=Full())


def test_manifest_refuses_another_member(house):
    """A manifest with a member too many is not one that this program wrote."""
    with pytest.raises(EvidenceError, match="member"):
        names.sign_manifest({"manifest": 1, "more": True}, house.gateway)


def test_footage_of_another_source_is_a_declared_gap(house):
    """A camera that was pointed away and back: the time between is no footage, and the manifest says why."""
    first, second, third, fourth = records(encode(40))
    house.record([first, "rtsp://door/bedroom", second, third, ADDRESS, fourth])
    info, payload = house.build(house.grant(window(0, 4)))
    assert [(gap.start - START, gap.end - START, gap.reason) for gap in info.gaps] == [
        (SECOND_NS, 3 * SECOND_NS, "source-changed")
    ]
    with open_zip(house, info, payload) as bundle:
        assert len([name for name in bundle.namelist() if name.startswith("clips/")]) == 2
        shown = [line for line in bundle.read(names.RECORDS).splitlines() if json.loads(line)["kind"] == "gop"]
    assert len(shown) == 2

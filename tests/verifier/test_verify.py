"""What the RTCC finds in a bundle: everything that was altered is caught and named, whoever altered it."""

import base64
import io
import json
from dataclasses import replace
from functools import partial

import av
import pytest
from av.bitstream import BitStreamFilterContext

from edge_agent.buffer.format.constants import Kind
from edge_agent.media import commitments
from edge_agent.protocol import manifest as names
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Mask
from edge_agent.units import SECOND_NS
from edge_agent.verifier.findings import Proof
from edge_agent.verifier.open import open_bundle
from tests.support.footage import START, encode, read_numbers, records, window
from tests.support.opened import edit_lines, open_release, remux
from tests.support.release import House


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return open_release(
        folder, House(folder), window(0.5, 4.25), records(encode(60, bframes=2, audio="aac"), split=(13,)), audio=True
    )


def test_a_whole_bundle_is_proved(opened):
    """Who asked, who consented, what was recorded when, and that nothing was changed: each is said and proved."""
    path = opened.folder / "payload"
    path.write_bytes(opened.payload)
    findings = open_bundle(
        path, opened.header, str(opened.house.evidence), opened.house.known(), opened.folder / "whole"
    )
    assert findings.ok, findings.as_text()
    proved = {item.part for item in findings.items if item.verdict is Proof.PROVED}
    assert proved == {
        "envelope", "manifest", "kind", "files", "request", "consent", "ledger", "chain", "records", "windows",
        "pictures", "sound", "completeness",
    }  # fmt: skip
    assert {item.part for item in findings.items if item.verdict is Proof.NOT_PROVED} >= {
        "camera",
        "gateway",
        "clock",
    }
    assert "o.perator (operator) and s.upervisor (supervisor)" in findings.as_text()
    progressive = (opened.folder / "whole/progressive/001.mp4").read_bytes()
    assert progressive.index(b"moov") < progressive.index(b"mdat")
    assert read_numbers(progressive) == read_numbers(opened.parts["clips/001.mp4"])
    assert "902(14)" in (opened.folder / "whole/certificate.txt").read_text()
    assert json.loads((opened.folder / "whole/findings.json").read_text())["ok"] is True


@pytest.mark.parametrize("sound", ["", "aac"], ids=["without sound", "with sound"])
def test_a_bundle_of_h265_is_proved_and_an_altered_one_is_not(tmp_path, sound):
    """With pictures that are decoded in another order than they are shown; one left out, or a bit of one, is found."""
    footage = records(encode(60, codec="libx265", bframes=2, audio=sound), split=(13,))
    bundle = open_release(tmp_path, House(tmp_path), window(0.5, 4.25), footage, audio=bool(sound))
    whole = bundle.open()
    assert whole.ok, whole.as_text()
    assert {"pictures", "windows", "completeness"} <= {
        item.part for item in whole.items if item.verdict is Proof.PROVED
    }
    clip = bundle.parts["clips/001.mp4"]
    assert b"hvc1" in clip
    numbers = read_numbers(clip)
    assert numbers == sorted(numbers)
    with av.open(io.BytesIO(clip)) as source:
        keyframe = [packet for packet in source.demux(video=0) if packet.size and packet.is_keyframe][-1]
    flipped = bytearray(clip)
    flipped[keyframe.pos + keyframe.size - 4] ^= 1
    short = remux(clip, lambda packets: [each for each in packets if each.pos != keyframe.pos])
    for altered in (short, bytes(flipped)):
        findings = bundle.open(bundle.sign(bundle.parts | {"clips/001.mp4": altered}))
        assert "pictures" in findings.failed_parts()


def test_any_altered_byte_of_the_payload_is_caught(opened):
    """The envelope is authenticated: a byte anywhere, and nothing of it is taken."""
    for at in (0, 20, len(opened.payload) // 2, len(opened.payload) - 1):
        altered = bytearray(opened.payload)
        altered[at] ^= 1
        path = opened.folder / "payload"
        path.write_bytes(bytes(altered))
        findings = open_bundle(
            path, opened.header, str(opened.house.evidence), opened.house.known(), opened.folder / "flip"
        )
        assert findings.failed_parts() == {"envelope"}
    path.write_bytes(opened.payload[:-100])
    target = opened.folder / "flip"
    findings = open_bundle(path, opened.header, str(opened.house.evidence), opened.house.known(), target)
    assert findings.failed_parts() == {"envelope"}
    assert not (target / "bundle.zip").exists()


def test_an_opening_leaves_nothing_of_an_earlier_one(opened):
    """Where a bundle fails, no certificate, clip or copy of another lies beside what was found."""
    target, path = opened.folder / "again", opened.folder / "payload"
    path.write_bytes(opened.payload)
    keys = (opened.header, str(opened.house.evidence), opened.house.known(), target)
    assert open_bundle(path, *keys).ok
    (target / "notes.txt").write_text("a clerk's own")
    assert not open_bundle(target / "bundle.zip", b"", *keys[1:2], replace(keys[2], gateway_id="B" * 22), target).ok
    path.write_bytes(opened.payload[:-100])
    assert not open_bundle(path, *keys).ok
    left = {found.name for found in target.rglob("*") if found.is_file()}
    assert left == {"findings.json", "notes.txt"}


PARTS = [
    names.REQUEST, names.CONSENT, "clips/001.mp4", names.RECORDS, names.BLOCKS, names.LEDGER, names.README,
    names.MANIFEST,
]  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("where", [0.0, 0.35, 0.7, 1.0])
def test_any_altered_byte_of_a_part_is_caught_and_named(opened, name, where):
    """Somebody who can decrypt and encrypt, but not sign for the gateway, changes one bit."""
    data = bytearray(opened.parts[name])
    data[int((len(data) - 1) * where)] ^= 4
    findings = opened.open(opened.parts | {name: bytes(data)})
    assert not findings.ok
    if name == names.MANIFEST:
        assert findings.failed_parts() == {"manifest"}
    else:
        assert name in {item.name for item in findings.items if item.verdict is Proof.FAILED}


def reencode(data: bytes) -> bytes:
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format="mp4") as target:
        video = target.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for frame in source.decode(video=0):
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return out.getvalue()


CLIPS = {
    "coded anew": reencode,
    "shortened": lambda data: remux(data, lambda packets: packets[:-4]),
    "a picture taken out": lambda data: remux(data, lambda packets: packets[:20] + packets[21:]),
    "sound taken out": lambda data: remux(data, lambda packets: [p for p in packets if p.stream_index == 0]),
    "no MP4": lambda data: b"\x00" * 1000,
}


@pytest.mark.parametrize("alter", CLIPS.values(), ids=CLIPS.keys())
def test_a_gateway_cannot_alter_a_clip(opened, alter):
    """Signed anew by the gateway, a clip still has to be what the recorder committed to."""
    parts = opened.parts | {"clips/001.mp4": alter(opened.parts["clips/001.mp4"])}
    findings = opened.open(opened.sign(parts))
    assert findings.failed_parts() == {"pictures"}


def test_a_gateway_cannot_move_the_sound(opened):
    """Sound and pictures have one offset: three seconds later is another thing that was said then."""
    ticks = 3 * 8000
    members = opened.manifest

    def late(packets):
        for packet in packets:
            if packet.stream_index == 1:
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            yield packet

    for entry in members["clips"][0]["offsets"]:
        entry["ticks"] -= ticks * entry["track"]
    parts = opened.parts | {"clips/001.mp4": remux(opened.parts["clips/001.mp4"], late)}
    findings = opened.open(opened.sign(parts, members))
    assert findings.failed_parts() == {"pictures"}
    assert "moved against each other" in findings.as_text()


def cropping() -> bytes:
    """Parameters of the same stream that cut half of each picture away."""
    with av.open(encode(10)) as source:
        video = source.streams.video[0]
        cut = BitStreamFilterContext("h264_metadata=crop_right=64:crop_bottom=32", video)
        packets = (bytes(made) for packet in source.demux(video) for made in cut.filter(packet))
        return commitments.inband_parameter_sets(commitments.CodecKind.H264, b"", next(packets))


def put_in(sets: bytes, packets):
    """Put parameters before the slices of each keyframe."""
    for packet in packets:
        if packet.is_keyframe:
            other = av.Packet(sets + bytes(packet))
            other.pts, other.dts, other.time_base, other.duration = packet.pts, packet.dts, packet.time_base, 9000
            other.is_keyframe, other.stream = True, packet.stream
            yield other
        else:
            yield packet


def test_parameters_among_the_pictures_are_committed_to_or_told(tmp_path):
    """The digests are of the slices: what crops the picture is a parameter, and only the committed ones are proved."""
    opened = open_release(tmp_path, House(tmp_path), window(0, 3), records(encode(40, described=True)))
    honest = opened.open()
    assert honest.ok, honest.as_text()
    assert not any("parameters" in item.sentence for item in honest.items)
    clip = remux(opened.parts["clips/001.mp4"], partial(put_in, cropping()))
    with av.open(io.BytesIO(clip)) as container:
        assert next(container.decode(video=0)).width == 64
    findings = opened.open(opened.sign(opened.parts | {"clips/001.mp4": clip}))
    (told,) = [item for item in findings.items if "parameters" in item.sentence]
    assert (told.part, told.verdict) == ("pictures", Proof.NOT_PROVED)


def flip64(text: str, at: int = 40) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= 1
    return base64.b64encode(bytes(raw)).decode()


def hide_last(lines):
    """Say that the clip ended two pictures earlier."""
    part = [line for line in lines if line.get("delivered")][-1]["delivered"][0]
    part["units"], part["salts"] = part["units"][:-2], base64.b64encode(base64.b64decode(part["salts"])[:-64]).decode()


def hide_inner(lines):
    """Say that a picture in the middle was never there."""
    part = [line for line in lines if line.get("delivered")][1]["delivered"][0]
    salts = base64.b64decode(part["salts"])
    part["units"], part["salts"] = part["units"][:4] + part["units"][5:], base64.b64encode(salts[:128] + salts[160:])
    part["salts"] = part["salts"].decode()


RECORDS = {
    "another digest": (lambda lines: lines[1].update(digests=flip64(lines[1]["digests"])), "records"),
    "another body": (lambda lines: lines[1].update(body_sha256="00" * 32), "records"),
    "another start": (
        lambda lines: lines[1].update(start="2020-01-01T00:00:00Z", end="2020-01-01T00:00:01Z"), "records",
    ),
    "another track": (lambda lines: lines[1]["tracks"][0].update(time_base=[1, 45000]), "records"),
    "another salt": (
        lambda lines: lines[1]["delivered"][0].update(salts=flip64(lines[1]["delivered"][0]["salts"], 5)), "pictures",
    ),
    "another pts": (lambda lines: lines[1]["delivered"][0]["units"][3].__setitem__(2, 5), "pictures"),
    "fewer pictures": (hide_last, "pictures"),
    "a picture less inside": (hide_inner, "pictures"),
    "a record less": (lambda lines: [dict(line, ref=n) for n, line in enumerate(lines[:2] + lines[3:])], "pictures"),
    "dated afterwards, it says": (
        lambda lines: [line.update(rebased=True, start="2023-11-14T22:13:25Z", end="2023-11-14T22:13:26Z")
                       for line in lines[1:2]] and None, "pictures",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "part"), RECORDS.values(), ids=RECORDS.keys())
def test_a_gateway_cannot_alter_the_records(opened, change, part):
    """Signed anew by the gateway, the list of records still has to fit the chain and the clip."""
    findings = opened.open(opened.sign(opened.parts | {names.RECORDS: edit_lines(opened.parts[names.RECORDS], change)}))
    assert part in findings.failed_parts(), findings.as_text()


BLOCKS = {
    "a page": lambda lines: lines[0].update(page=flip64(lines[0]["page"], 100)),
    "a page's signature": lambda lines: lines[0].update(page=flip64(lines[0]["page"], 390)),
    "the next page": lambda lines: lines[-1].update(next_page=flip64(lines[-1]["next_page"], 130)),
    "a header": lambda lines: lines[0]["records"][0].update(header=flip64(lines[0]["records"][0]["header"], 30)),
    "a body digest": lambda lines: lines[0]["records"][0].update(body_sha256="11" * 32),
    "a block twice": lambda lines: [lines[0], *lines],
}


@pytest.mark.parametrize("change", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_gateway_cannot_alter_the_chain(opened, change):
    """Signed anew by the gateway, the chain still has to end where a page signed while recording says."""
    findings = opened.open(opened.sign(opened.parts | {names.BLOCKS: edit_lines(opened.parts[names.BLOCKS], change)}))
    assert "chain" in findings.failed_parts()


def test_a_gateway_cannot_swap_request_or_consent(opened):
    """Another request, another consent, another owner's signature: each is named."""
    house = opened.house
    other = house.request(window(0.5, 4.25)).raw
    findings = opened.open(opened.sign(opened.parts | {names.REQUEST: other}))
    assert findings.failed_parts() == {"request"}
    findings = opened.open(opened.sign(opened.parts | {names.CONSENT: house.consent(bytes(16))}))
    assert findings.failed_parts() == {"consent"}
    stranger = House(opened.folder)
    findings = opened.open(known=replace(house.known(), owner=stranger.owner.public_key()))
    assert findings.failed_parts() == {"consent"}
    findings = opened.open(known=replace(house.known(), signers={}))
    assert findings.failed_parts() == {"request"}
    findings = opened.open(known=replace(house.known(), recorder=stranger.recorder.public_key()))
    assert "chain" in findings.failed_parts()
    findings = opened.open(known=replace(house.known(), gateway=stranger.gateway.public_key()))
    assert findings.failed_parts() == {"manifest"}


def test_a_gateway_cannot_widen_what_was_granted(opened):
    """Pictures outside the granted windows are found by their own times."""
    members = opened.manifest
    spans = [{"start": "2023-11-14T22:13:22Z", "end": "2023-11-14T22:13:24.25Z"}]
    members["windows"] = members["windows"] | {"granted": spans, "delivered": spans}
    members["gaps"] = []
    findings = opened.open(opened.sign(opened.parts, members))
    assert findings.failed_parts() == {"pictures", "windows"}
    assert "outside what may be in it" in findings.as_text()


def test_footage_that_is_not_spoken_of_is_found(opened):
    """A clip ended early, and the gap kept quiet or filled in: the chain knows better."""
    members = opened.manifest
    members["gaps"], members["clips"] = [], []
    members["windows"] = members["windows"] | {"delivered": []}
    parts = {name: data for name, data in opened.parts.items() if name != "clips/001.mp4"} | {names.RECORDS: b""}
    findings = opened.open(opened.sign(parts, members))
    assert {"windows", "completeness"} <= findings.failed_parts()


@pytest.mark.parametrize("change", [
    lambda parts: parts | {"more.txt": b"x"},
    lambda parts: parts | {"clips/../../x": b"x"},
    lambda parts: {name: data for name, data in parts.items() if name != names.README},
    lambda parts: dict(reversed(parts.items())),
], ids=["another file", "a path", "a file less", "another order"])  # fmt: skip
def test_the_container_holds_what_the_manifest_lists(opened, change):
    """Nothing more, nothing less, in order."""
    findings = opened.open(change(opened.parts))
    assert findings.failed_parts() <= {"container", "manifest"}
    assert not findings.ok


def more(parts, name: str) -> dict[str, bytes]:
    """The parts, with one more clip behind the first, of another day."""
    return {
        each: data
        for own, kept in parts.items()
        for each, data in ([(own, kept), (name, kept)] if own == "clips/001.mp4" else [(own, kept)])
    }


def test_no_part_is_without_a_word_of_the_manifest(opened):
    """Signed for or not, a clip of which the manifest says nothing is checked by nobody: the bundle may not hold it."""
    findings = opened.open(opened.sign(more(opened.parts, "clips/002.mp4")))
    assert findings.failed_parts() == {"manifest"}
    members = opened.manifest
    members["clips"] *= 2
    assert opened.open(opened.sign(opened.parts, members)).failed_parts() == {"manifest"}
    parts = {name: data for name, data in opened.parts.items() if name != names.BLOCKS}
    assert opened.open(opened.sign(parts)).failed_parts() == {"manifest"}


def test_open_blocks_are_attested_by_the_gateway_only(tmp_path):
    """Footage that no page signs yet is delivered, and said to be the gateway's word."""
    pieces = records(encode(30, audio="aac"))
    opened = open_release(tmp_path, House(tmp_path), window(0, 2), pieces, audio=True, is_closed=False)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    parts = {"chain", "records", "pictures", "sound", "completeness"}
    assert parts <= {item.part for item in findings.items if item.verdict is Proof.NOT_PROVED}
    assert not parts & {item.part for item in findings.items if item.verdict is Proof.PROVED}


def test_sound_that_was_not_granted_hides_no_picture(tmp_path):
    """Where the camera records sound and the grant has none, completeness is still proved."""
    opened = open_release(tmp_path, House(tmp_path), window(0.5, 3), records(encode(40, audio="pcm_alaw")))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert "pictures" in {item.part for item in findings.items if item.verdict is Proof.PROVED}


def test_a_masked_clip_is_a_derivative(tmp_path):
    """Masked pictures are said to be a derivative, with the master's digest; nothing of the master leaves."""
    points = [[0, 500], [500, 500], [500, 1000], [0, 1000]]
    house = House(tmp_path, terms={"masks": [points]})
    masks = (Mask(tuple((x, y) for x, y in points)),)
    opened = open_release(tmp_path, house, window(0, 3), records(encode(30)), masks=masks)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert "is a derivative" in findings.as_text()
    assert "pictures" not in {item.part for item in findings.items if item.verdict is Proof.PROVED}
    lines = [json.loads(line) for line in opened.parts[names.RECORDS].splitlines()]
    assert not any(line.get("delivered") or line.get("places") for line in lines)
    assert "derivative" in opened.parts[names.README].decode()


def test_another_stream_than_asked_for_is_said(tmp_path):
    """Where the other quality was granted, the findings and README.txt say so."""
    house = House(tmp_path)
    house.asked_quality = Quality.SUB
    opened = open_release(tmp_path, house, window(0, 2), records(encode(30)))
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert "This is the main stream; sub was asked for" in findings.as_text()
    assert "(sub was asked for)" in opened.parts[names.README].decode()


def test_gaps_are_read_out(tmp_path):
    """What is missing is said, with its reason."""
    later = records(encode(20, first=50), START + 5 * SECOND_NS)
    pieces = [*records(encode(20)), (Kind.GAP, 3 * SECOND_NS, b'{"reason":"camera-down"}'), *later]
    opened = open_release(tmp_path, House(tmp_path), window(0, 9), pieces)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert "(camera-down)" in findings.as_text()
    assert sum(item.part == "pictures" for item in findings.items) == 2


def test_a_note_from_before_the_clip_is_told_as_the_gateways_word(tmp_path):
    """The camera's clock as it was last noted before: in the findings, as what nobody outside can check."""
    first, *rest = records(encode(60))
    note = (Kind.CLOCK, 0, json.dumps({"state": "synchronised", "camera_offset_ns": 1_234_000_000}).encode())
    opened = open_release(tmp_path, House(tmp_path), window(3, 5), [first, note, *rest])
    kinds = [json.loads(line)["kind"] for line in opened.parts[names.RECORDS].splitlines()]
    assert kinds == ["clock", "gop", "gop"]
    findings = opened.open()
    assert findings.ok, findings.as_text()
    (told,) = [item for item in findings.items if "1234" in item.sentence]
    assert (told.part, told.verdict) == ("clock", Proof.NOT_PROVED)

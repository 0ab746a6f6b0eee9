"""Access units out of RTP packets: whole, or told as damaged."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.rtsp.access_units import MAX_UNIT_BYTES

from .packets import STEP, Picture, depacketize, frame, make_picture, number_packets, pack, send

CODECS = ["h264", "hevc"]


def group(codec: str, count: int, **options: int) -> list[Picture]:
    """Return pictures, each fifth a keyframe."""
    return [make_picture(codec, number, key=number % 5 == 0, **options) for number in range(count)]


def whole(units: list) -> list[tuple[bytes, bool]]:
    return [(unit.data, unit.is_keyframe) for unit in units if not unit.is_damaged]


def told(pictures: list[Picture]) -> list[tuple[bytes, bool]]:
    return [(picture.data, picture.is_keyframe) for picture in pictures]


@pytest.mark.parametrize("codec", CODECS)
@given(st.data())
@settings(deadline=None)
def test_pictures_come_out_as_they_went_in(codec: str, data: st.DataObject) -> None:
    """Any sizes and numbers of slices, cut anywhere: the same bytes, in order, each keyframe known."""
    shapes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.integers(4, 6000)), min_size=1, max_size=8))
    pictures = [
        make_picture(codec, number, key=number % 3 == 0, slices=slices, size=size)
        for number, (slices, size) in enumerate(shapes)
    ]
    stream = b"".join(map(frame, send(codec, pictures)))
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=20))
    units = depacketize(codec, stream, cuts, is_followed=True)
    assert whole(units) == told(pictures)
    assert [unit.ticks for unit in units] == [number * STEP for number in range(len(pictures))]


@pytest.mark.parametrize("codec", CODECS)
@given(st.data())
@settings(deadline=None, max_examples=200)
def test_lost_packet_never_passes_for_footage(codec: str, data: st.DataObject) -> None:
    """Whatever is lost: a unit that is not damaged is one that was sent, and so is all since its keyframe."""
    pictures = group(codec, 16, slices=data.draw(st.integers(1, 3)), size=data.draw(st.integers(4, 4000)))
    packets = send(codec, pictures)
    lost = data.draw(st.sets(st.integers(0, len(packets) - 1), max_size=6))
    kept = [packet for place, packet in enumerate(packets) if place not in lost]
    places = {picture.data: place for place, picture in enumerate(pictures)}
    latest: int | None = None
    for unit in depacketize(codec, b"".join(map(frame, kept))):
        if unit.is_damaged:
            latest = None
            continue
        if latest is None and not unit.is_keyframe:
            continue  # before the first keyframe: nobody records it
        # A keyframe may stand without parameter sets that were lost: the track has them, or tells that it has none.
        found = [place for bytes_, place in places.items() if bytes_.endswith(unit.data)]
        assert len(found) == 1
        assert pictures[found[0]].is_keyframe == unit.is_keyframe
        assert unit.is_keyframe or unit.data in places
        # What is missing between two pictures was told between them.
        assert latest is None or found[0] == latest + 1
        latest = found[0]


MARKERS: dict[str, Callable[[list[bytes], int], bool]] = {
    "on the last packet": lambda parts, place: place == len(parts) - 1,
    "on every packet": lambda parts, place: True,
    "never": lambda parts, place: False,
    "on the first": lambda parts, place: place == 0,
}
TIMES: dict[str, Callable[[int, int], int]] = {
    "right": lambda number, place: number * STEP,
    "standing still": lambda number, place: 77,
    "another on the first packet": lambda number, place: number * STEP - (place == 0),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("marker", MARKERS.values(), ids=MARKERS.keys())
@pytest.mark.parametrize("time", TIMES.values(), ids=TIMES.keys())
def test_borders_are_found_whatever_a_camera_says(
    codec: str, slices: int, marker: Callable[..., bool], time: Callable[..., int]
) -> None:
    """Markers on parameter sets, on each slice or nowhere, and RTP time that stands or steps: the same pictures."""
    pictures = group(codec, 11, slices=slices)
    payloads = []
    for number, picture in enumerate(pictures):
        parts = pack(codec, picture)
        # A time that steps within a picture is one of parameter sets: those of a keyframe.
        payloads += [
            (part, time(number, place if picture.is_keyframe else 1), marker(parts, place))
            for place, part in enumerate(parts)
        ]
    units = depacketize(codec, b"".join(map(frame, number_packets(payloads))))
    # Of the last one nothing but its marker tells that nothing more comes, if the camera sets them well.
    assert whole(units) == told(pictures[: len(units)])
    assert len(units) == len(pictures) or not marker(parts, len(parts) - 1) or (slices > 1 and marker(parts, 0))
    assert len(units) >= len(pictures) - 1


def aggregate(nals: tuple[bytes, ...], head: bytes, *, donl: bool = False) -> bytes:
    parts = [struct.pack(">H", len(nal)) + nal for nal in nals]
    return head + (b"\0\1" if donl else b"") + (b"\0" if donl else b"").join(parts)


@pytest.mark.parametrize(("codec", "head"), [("h264", b"\x18"), ("hevc", b"\x60\1")], ids=CODECS)
def test_aggregate_is_taken_apart(codec: str, head: bytes) -> None:
    """Parameter sets and slice in one packet (STAP-A, AP) give the same unit as each by itself."""
    picture = make_picture(codec, 1, key=True)
    packets = number_packets([(aggregate(picture.nals, head), 0, True)])
    assert whole(depacketize(codec, frame(packets[0]), is_followed=True)) == told([picture])


@pytest.mark.parametrize("size", [40, 3000])
def test_decoding_order_numbers_are_left_out(size: int) -> None:
    """H.265 with DONL: in single units, aggregates and first fragments."""
    picture = make_picture("hevc", 1, key=True, size=size)
    *sets, nal = picture.nals
    payloads = [(aggregate(tuple(sets), b"\x60\1", donl=True), 0, False)]
    if size < 1400:
        payloads.append((nal[:2] + b"\0\3" + nal[2:], 0, True))
    else:
        fu = bytes((49 << 1, 1))
        kind = nal[0] >> 1
        payloads.append((fu + bytes((0x80 | kind,)) + b"\0\3" + nal[2:1000], 0, False))
        payloads.append((fu + bytes((kind,)) + nal[1000:2000], 0, False))
        payloads.append((fu + bytes((0x40 | kind,)) + nal[2000:], 0, True))
    stream = b"".join(map(frame, number_packets(payloads)))
    assert whole(depacketize("hevc", stream, has_donl=True, is_followed=True)) == told([picture])


def test_extensions_of_a_payload_are_skipped() -> None:
    """PACI (RFC 7798 4.4.4): the unit inside of it, its own type restored."""
    nal = make_picture("hevc", 2, key=False).nals[0]
    fields = (nal[0] >> 1) << 9 | 3 << 4
    paci = bytes((50 << 1, nal[1])) + struct.pack(">H", fields) + b"xyz" + nal[2:]
    units = depacketize("hevc", frame(number_packets([(paci, 0, True)])[0]), is_followed=True)
    assert [unit.data for unit in units] == [b"\0\0\0\1" + nal]


ANNEXB = {
    "in one packet": 1400,
    "in fragments": 300,
}


@pytest.mark.parametrize("most", ANNEXB.values(), ids=ANNEXB.keys())
def test_start_codes_inside_of_a_unit_are_found(most: int) -> None:
    """A camera that puts a whole access unit into one NAL unit, which begins as a parameter set: the same picture."""
    picture = make_picture("h264", 1, key=True, size=600)
    inside = b"\0\0\0\1".join(picture.nals)
    if most > len(inside):
        payloads = [(inside, 0, True)]
    else:
        indicator, kind = inside[0] & 0xE0 | 28, inside[0] & 0x1F
        pieces = [inside[at : at + most] for at in range(1, len(inside), most)]
        payloads = [
            (
                bytes((indicator, (0x80 if not place else 0x40 if place == len(pieces) - 1 else 0) | kind)) + piece,
                0,
                place == len(pieces) - 1,
            )
            for place, piece in enumerate(pieces)
        ]
    stream = b"".join(map(frame, number_packets(payloads)))
    assert whole(depacketize("h264", stream, is_followed=True)) == told([picture])


def fragments(nal: bytes, flags: list[int], size: int = 20) -> list[bytes]:
    head = nal[0] & 0xE0 | 28
    return [
        bytes((head, flag | nal[0] & 0x1F)) + nal[1 + size * place : 1 + size * (place + 1)]
        for place, flag in enumerate(flags)
    ]


BROKEN = {
    "no end": [0x80, 0, 0],
    "no start": [0, 0, 0x40],
    "two starts": [0x80, 0x80, 0x40],
    "end twice": [0x80, 0x40, 0x40],
}


@pytest.mark.parametrize("flags", BROKEN.values(), ids=BROKEN.keys())
def test_fragments_that_do_not_fit_are_damage(flags: list[int]) -> None:
    """A slice whose fragments have no beginning or no end is told as damaged, up to the next keyframe."""
    pictures = group("h264", 7)
    payloads = []
    for number, picture in enumerate(pictures):
        parts = fragments(picture.nals[-1], flags) if number == 2 else pack("h264", picture)
        payloads += [(part, number * STEP, place == len(parts) - 1) for place, part in enumerate(parts)]
    units = depacketize("h264", b"".join(map(frame, number_packets(payloads))))
    assert whole(units) == told([*pictures[:2], *pictures[5:]])
    assert any(unit.is_damaged for unit in units)


def test_slice_in_one_fragment_is_taken() -> None:
    """Start and end in the same fragment, and fragments without a byte."""
    picture = make_picture("h264", 1, key=False, size=30)
    nal = picture.nals[0]
    head, kind = nal[0] & 0xE0 | 28, nal[0] & 0x1F
    one = [(bytes((head, 0xC0 | kind)) + nal[1:], 0, True)]
    empty = [
        (bytes((head, 0x80 | kind)) + nal[1:], 0, False),
        (bytes((head, kind)), 0, False),
        (bytes((head, 0x40 | kind)), 0, True),
    ]
    for payloads in (one, empty):
        stream = b"".join(map(frame, number_packets(payloads)))
        assert [unit.data for unit in depacketize("h264", stream, is_followed=True)] == [picture.data]


def test_parameter_sets_before_each_slice_stay_with_their_picture() -> None:
    """SPS and PPS that come again between the slices of a keyframe make no picture of their own."""
    sps, pps, first, second = make_picture("h264", 0, key=True, slices=2).nals
    after = make_picture("h264", 1, key=False)
    payloads = [(nal, 0, False) for nal in (sps, pps, first, sps, pps)] + [(second, 0, True)]
    payloads += [(part, STEP, True) for part in pack("h264", after)]
    units = depacketize("h264", b"".join(map(frame, number_packets(payloads))), is_followed=True)
    joined = b"".join(b"\0\0\0\1" + nal for nal in (sps, pps, first, sps, pps, second))
    assert whole(units) == [(joined, True), (after.data, False)]


def recovery_point(frames: int) -> bytes:
    """Return an SEI unit with ``recovery_frame_cnt`` and exact_match_flag, behind one that is registered data."""
    code = bin(frames + 1)[2:]
    bits = "0" * (len(code) - 1) + code + "1000" + "1"
    payload = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return b"\x06\x05\x01\xff\x06" + bytes((len(payload),)) + payload + b"\x80"


def recovering(frames: int, every: int, count: int) -> list[Picture]:
    """Return an IDR picture and then only others, with a recovery point before each so-many-th."""
    pictures = [make_picture("h264", number, key=number == 0) for number in range(count)]
    return [
        Picture((recovery_point(frames), *each.nals), is_keyframe=True) if number % every == 0 and number else each
        for number, each in enumerate(pictures)
    ]


@pytest.mark.parametrize("frames", [0, 1, 3, 90])
def test_recovery_point_makes_a_keyframe(frames: int) -> None:
    """As FFmpeg has it: a picture with that SEI is a border, though it is no IDR picture, if all before it is there."""
    pictures = recovering(frames, every=5, count=12)
    units = depacketize("h264", b"".join(map(frame, send("h264", pictures))))
    assert whole(units) == told(pictures)


REFRESHES = {
    # frames of the refresh: the first whole picture after the loss of picture 2; recovery points are 5, 10, 15...
    "none": (0, 5),
    "one frame, other pictures between": (1, 10),
    "as long as the distance": (5, 25),
    "never over": (90, None),
}


@pytest.mark.parametrize(("frames", "first"), REFRESHES.values(), ids=REFRESHES.keys())
def test_loss_ends_at_a_recovery_point_only_when_its_refresh_is_over(frames: int, first: int | None) -> None:
    """H.264 D.2.8: after a loss nothing passes for whole until ``recovery_frame_cnt`` frames came behind a point."""
    pictures = recovering(frames, every=5, count=40)
    packets = [packet for packet in send("h264", pictures) if packet[4:8] != struct.pack(">I", 2 * STEP)]
    units = depacketize("h264", b"".join(map(frame, packets)))
    assert whole(units) == told(pictures[:2] + (pictures[first:] if first is not None else []))


def test_sei_that_never_ends_is_no_recovery_point() -> None:
    """Hundreds of messages in one unit are not looked through, nor is a number of 33 bits one."""
    picture = make_picture("h264", 1, key=False)
    for sei in (b"\x06" + b"\5\0" * 500 + b"\6\1\x84\x80", b"\x06\6\x08" + b"\0\0\3\0\0\3\0\1", b"\6\6", b"\6\xff\xff"):
        odd = Picture((sei, *picture.nals), is_keyframe=False)
        assert whole(depacketize("h264", b"".join(map(frame, send("h264", [odd]))), is_followed=True)) == told([odd])


def lose_slices(codec: str, number: int, keep: int, marker: Callable[[list[bytes], int], bool]) -> list[Picture]:
    """Send pictures of three slices, of one picture only the first so many packets; return what came."""
    pictures = group(codec, 11, slices=3)
    payloads = []
    for place, picture in enumerate(pictures):
        parts = pack(codec, picture)
        payloads += [(part, place * STEP, marker(parts, at)) for at, part in enumerate(parts)]
    lost = slice(sum(len(pack(codec, picture)) for picture in pictures[:number]) + keep, None)
    packets = number_packets(payloads)
    first = next(at for at in range(lost.start, len(packets)) if packets[at][4:8] != packets[lost.start - 1][4:8])
    units = depacketize(codec, b"".join(map(frame, packets[: lost.start] + packets[first:])))
    sent = {picture.data for picture in pictures}
    assert all(unit.data in sent for unit in units if not unit.is_damaged and (unit.is_keyframe or unit.data))
    return [picture for picture in pictures if any(unit.data == picture.data for unit in units)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("number", [1, 4, 7])
def test_marker_on_each_slice_makes_no_half_picture_whole(codec: str, number: int) -> None:
    """A camera that marks every slice, and loses the last ones of a picture: that picture is damaged."""
    came = lose_slices(codec, number, 1, lambda parts, at: True)
    assert group(codec, 11, slices=3)[number] not in came


@pytest.mark.parametrize("codec", CODECS)
def test_end_of_a_session_leaves_no_half_picture(codec: str) -> None:
    """Likewise at the end, with nothing behind it; and before anything showed what this camera's markers mean."""
    for count in (1, 4):
        pictures = group(codec, count, slices=3)
        payloads = [
            (part, place * STEP, True) for place, picture in enumerate(pictures) for part in pack(codec, picture)
        ]
        units = depacketize(codec, b"".join(map(frame, number_packets(payloads[:-1]))))
        assert whole(units) == told(pictures[:-1])


@pytest.mark.parametrize("codec", CODECS)
@given(st.data())
@settings(deadline=None, max_examples=100)
def test_other_numbers_never_pass_for_footage(codec: str, data: st.DataObject) -> None:
    """Whatever a camera does to its numbers and sources: what passes for whole was sent so, and follows no hole."""
    pictures = group(codec, 16, slices=data.draw(st.integers(1, 3)), size=data.draw(st.integers(4, 3000)))
    markers = data.draw(st.sampled_from(list(MARKERS.values())))
    payloads = []
    for place, picture in enumerate(pictures):
        parts = pack(codec, picture)
        payloads += [(part, place * STEP, markers(parts, at)) for at, part in enumerate(parts)]
    cut = data.draw(st.integers(1, len(payloads) - 2))
    hole = data.draw(st.integers(1, 8))
    step = data.draw(st.sampled_from([-90, -5000, 2500, 3500, 30_000]))
    ssrc = data.draw(st.sampled_from([0xABCD, 7]))
    before = number_packets(payloads[:cut])
    after = number_packets(payloads[cut + hole :], 65_530 + cut + step, ssrc)
    places = {picture.data: place for place, picture in enumerate(pictures)}
    latest: int | None = None
    for unit in depacketize(codec, b"".join(map(frame, [*before, *after]))):
        if unit.is_damaged:
            latest = None
        elif latest is not None or unit.is_keyframe:
            found = [place for bytes_, place in places.items() if bytes_.endswith(unit.data)]
            assert len(found) == 1
            assert unit.is_keyframe or (unit.data in places and latest is not None and found[0] == latest + 1)
            latest = found[0]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("border", "missing"), [(5, 0), (5, 2), (3, 0), (3, 1)])
def test_another_source_is_believed_from_its_keyframe_on(codec: str, border: int, missing: int) -> None:
    """A camera with a source for each GOP loses nothing; one that changes it elsewhere, up to the next keyframe."""
    pictures = group(codec, 12)
    before = send(codec, pictures[:border])
    after = send(codec, pictures[border:], first=7000, ssrc=7)
    lost = sum(len(pack(codec, each)) for each in pictures[border : border + missing])
    stream = [*before, *after[lost:]]
    units = depacketize(codec, b"".join(map(frame, stream)))
    if (border, missing) == (5, 0):
        assert whole(units) == told(pictures)
        assert not any(unit.is_damaged for unit in units)
    else:
        assert whole(units) == told(pictures[:border] + pictures[(border + missing + 4) // 5 * 5 :])


def in_one_unit(nals: tuple[bytes, ...], most: int) -> list[bytes]:
    """Put Annex B into one unit of fragments that begins as its first NAL unit does."""
    inside = b"\0\0\0\1".join(nals)
    head, kind = inside[0] & 0xE0 | 28, inside[0] & 0x1F
    pieces = [inside[at : at + most] for at in range(1, len(inside), most)]
    return [
        bytes((head, (0x80 if not at else 0x40 if at == len(pieces) - 1 else 0) | kind)) + piece
        for at, piece in enumerate(pieces)
    ]


def test_slice_full_of_start_codes_is_no_footage() -> None:
    """Thousands of NAL units in one picture cost whoever takes it apart seconds: damage. Small slices are none."""
    shreds = b"\x41\x80" + b"\0\0\1\x41\x40" * 4000
    small = make_picture("h264", 7, key=False, slices=200, size=300)
    pictures = group("h264", 12)
    pictures[2] = Picture((shreds,), is_keyframe=False)
    pictures[7] = small
    units = depacketize("h264", b"".join(map(frame, send("h264", pictures))))
    assert whole(units) == told([*pictures[:2], *pictures[5:]])


LARGE = make_picture("h264", 1, key=True, size=200_000)
SET = b"\x67" + b"\1" * 70_000
MISSHAPEN: dict[str, tuple[list[bytes], bool]] = {
    "as many units as a packet may hold": ([aggregate((b"\x06\5",) * 256, b"\x18")], True),
    "more units than a picture has": ([aggregate((b"\x06\5",) * 257, b"\x18")], False),
    "zeros behind the last unit": ([aggregate((b"\x06\5",), b"\x18") + bytes(2)], True),
    "a unit cut off": ([aggregate((b"\x06\5", b"\x41\x40" * 9), b"\x18")[:-3]], False),
    "a length and nothing": ([aggregate((b"\x06\5",), b"\x18") + b"\0\7"], False),
    "half of a length": ([aggregate((b"\x06\5",), b"\x18") + b"\7"], False),
    "a parameter set in fragments without end": (fragments(SET, [0x80, 0]), False),
    "a parameter set of 70 kB": (in_one_unit((SET,), 1000), False),
    "a whole picture in fragments of a parameter set": (in_one_unit(LARGE.nals, 1000), True),
    "a thousand units behind start codes": (in_one_unit((b"\x67\1",) * 1000, 1000), False),
    "packetization mode 2": ([b"\x1d\1\1\1"], False),
}


@pytest.mark.parametrize(("odd", "is_good"), MISSHAPEN.values(), ids=MISSHAPEN.keys())
def test_what_cannot_be_read_is_damage(odd: list[bytes], is_good: bool) -> None:
    """Whatever of a packet is left out, the pictures from there to the next keyframe are damaged, and told."""
    pictures = group("h264", 7)
    payloads = []
    for number, picture in enumerate(pictures):
        parts = [*(odd if number == 2 else ()), *pack("h264", picture)]
        payloads += [(part, number * STEP, place == len(parts) - 1) for place, part in enumerate(parts)]
    units = depacketize("h264", b"".join(map(frame, number_packets(payloads))))
    after = [picture.data for picture in pictures[5:]]
    assert [unit.data for unit in units if not unit.is_damaged][-2:] == after
    assert any(unit.is_damaged for unit in units) != is_good
    if not is_good:
        assert whole(units) == told([*pictures[:2], *pictures[5:]])


def test_unit_that_is_too_long_is_damage_and_holds_no_memory() -> None:
    """A picture of ever more fragments is given up at 4 MiB; the next keyframe is taken."""
    pictures = group("h264", 6)
    nal = pictures[1].nals[0]
    head, kind = nal[0] & 0xE0 | 28, nal[0] & 0x1F
    endless = [bytes((head, 0x80 | kind)) + nal[1:]] + [bytes((head, kind)) + b"\1" * 60_000] * 80
    assert sum(map(len, endless)) > MAX_UNIT_BYTES
    payloads = [(part, 0, place == 2) for place, part in enumerate(pack("h264", pictures[0]))]
    payloads += [(part, STEP, False) for part in endless]
    for number in (2, 3, 4, 5):
        payloads += [(part, number * STEP, True) for part in pack("h264", pictures[number])]
    units = depacketize("h264", b"".join(map(frame, number_packets(payloads))))
    assert whole(units) == told([pictures[0], pictures[5]])
    assert all(not unit.data for unit in units if unit.is_damaged)


@pytest.mark.parametrize("codec", CODECS)
@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 3), st.booleans()), max_size=30))
@settings(deadline=None)
def test_any_payload_is_taken(codec: str, payloads: list[tuple[bytes, int, bool]]) -> None:
    """Whatever a camera sends, nothing is raised, and no unit is longer than its packets and start codes."""
    stream = b"".join(map(frame, number_packets(payloads)))
    units = depacketize(codec, stream)
    sent = sum(len(payload) for payload, _, _ in payloads)
    assert sum(len(unit.data) for unit in units) <= 6 * sent + 64


FILLERS = {"h264": b"\x0c", "hevc": b"\x4c\1"}


@pytest.mark.parametrize("size", [20, 60_000, 70_000, 300_000])
@pytest.mark.parametrize("codec", CODECS)
def test_filler_of_any_size_is_dropped(codec: str, size: int) -> None:
    """A camera with a constant bit rate fills up each picture: its slices come out, and its last marker counts."""
    pictures = [make_picture(codec, number, key=number % 3 == 0) for number in range(6)]
    filled = [Picture((*each.nals, FILLERS[codec] + b"\xff" * size + b"\x80"), each.is_keyframe) for each in pictures]
    units = depacketize(codec, b"".join(map(frame, send(codec, filled))))
    assert [(unit.data, unit.is_keyframe) for unit in units] == [(each.data, each.is_keyframe) for each in pictures]


@pytest.mark.parametrize("place", ["before", "between", "behind"])
@pytest.mark.parametrize("kind", [30, 31])
def test_reserved_types_are_ignored(kind: int, place: str) -> None:
    """Wherever they stand (RFC 6184 5.2), also between the fragments of a slice."""
    pictures = [make_picture("h264", number, key=number % 3 == 0, size=6000) for number in range(6)]
    payloads = []
    for number, picture in enumerate(pictures):
        parts = pack("h264", picture)
        parts.insert({"before": 0, "between": len(parts) - 1, "behind": len(parts)}[place], bytes((0x60 | kind,)) * 20)
        payloads += [(part, number * STEP, at == len(parts) - 1) for at, part in enumerate(parts)]
    units = depacketize("h264", b"".join(map(frame, number_packets(payloads))))
    assert [unit.data for unit in units] == [picture.data for picture in pictures]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("block", [1, 2, 5, 60])
def test_packets_that_come_twice_make_no_picture_twice(codec: str, block: int) -> None:
    """One by one, or whole pictures: they cost nothing. Some in the middle of one cost it, and that is told."""
    pictures = group(codec, 9, size=6000)
    packets = send(codec, pictures)
    blocks = [packets[at : at + block] for at in range(0, len(packets), block)]
    repeated = [packet for each in blocks for packet in each * 2]
    units = depacketize(codec, b"".join(map(frame, repeated)))
    found, sent = whole(units), told(pictures)
    if block in (1, 60):
        assert found == sent
    else:  # a keyframe may come without parameter sets before it, which the run still has
        places = [
            at for data, _ in found if data for at, (whole_data, _) in enumerate(sent) if whole_data.endswith(data)
        ]
        assert len(places) == sum(bool(data) for data, _ in found)
        assert places == sorted(set(places))


@pytest.mark.parametrize("stray", [b"\x09\xf0", b"\x06\x05\x01\x01\x80", b"\x7c\x01abc"])
def test_loss_behind_another_sources_first_packet_is_told(stray: bytes) -> None:
    """All that came of four pictures is one packet of the new source, and no slice is whole: the next is a keyframe."""
    pictures = group("h264", 10)
    before = send("h264", pictures[:5])
    after = number_packets([(stray, 5 * STEP, False)], first=6999, ssrc=7)
    after += send("h264", pictures[5:], first=7004, ssrc=7)
    units = depacketize("h264", b"".join(map(frame, [*before, *after])))
    assert whole(units) == told(pictures)
    assert [unit.is_damaged for unit in units].count(True) == 1


def test_prefix_that_is_too_long_is_damage() -> None:
    """A keyframe whose parameter sets were given up with 4 MiB of other units before its slice is none."""
    pictures = group("h264", 10)
    payloads = [(part, 0, place == 2) for place, part in enumerate(pack("h264", pictures[0]))]
    payloads += [(b"\x06\x05" + b"\x55" * 60_000, 5 * STEP, False)] * 80
    for number in (5, 6):
        parts = pack("h264", pictures[number])
        payloads += [(part, number * STEP, place == len(parts) - 1) for place, part in enumerate(parts)]
    units = depacketize("h264", b"".join(map(frame, number_packets(payloads))))
    assert whole(units) == told([pictures[0]])
    assert any(unit.is_damaged for unit in units)

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
    units = depacketize(codec, stream, cuts)
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
        if unit.is_keyframe:
            assert pictures[found[0]].is_keyframe
        else:
            assert unit.data in places
            assert found[0] == (latest or 0) + 1
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
    # Of the last one nothing but its marker tells that nothing more comes.
    assert whole(units) == told(pictures[: len(units)])
    assert len(units) == len(pictures) or not marker(parts, len(parts) - 1)
    assert len(units) >= len(pictures) - 1


def aggregate(nals: tuple[bytes, ...], head: bytes, *, donl: bool = False) -> bytes:
    parts = [struct.pack(">H", len(nal)) + nal for nal in nals]
    return head + (b"\0\1" if donl else b"") + (b"\0" if donl else b"").join(parts)


@pytest.mark.parametrize(("codec", "head"), [("h264", b"\x18"), ("hevc", b"\x60\1")], ids=CODECS)
def test_aggregate_is_taken_apart(codec: str, head: bytes) -> None:
    """Parameter sets and slice in one packet (STAP-A, AP) give the same unit as each by itself."""
    picture = make_picture(codec, 1, key=True)
    packets = number_packets([(aggregate(picture.nals, head), 0, True)])
    assert whole(depacketize(codec, frame(packets[0]))) == told([picture])


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
    assert whole(depacketize("hevc", stream, has_donl=True)) == told([picture])


def test_extensions_of_a_payload_are_skipped() -> None:
    """PACI (RFC 7798 4.4.4): the unit inside of it, its own type restored."""
    nal = make_picture("hevc", 2, key=False).nals[0]
    fields = (nal[0] >> 1) << 9 | 3 << 4
    paci = bytes((50 << 1, nal[1])) + struct.pack(">H", fields) + b"xyz" + nal[2:]
    units = depacketize("hevc", frame(number_packets([(paci, 0, True)])[0]))
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
    assert whole(depacketize("h264", b"".join(map(frame, number_packets(payloads))))) == told([picture])


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
        assert [unit.data for unit in depacketize("h264", stream)] == [picture.data]


def test_parameter_sets_before_each_slice_stay_with_their_picture() -> None:
    """SPS and PPS that come again between the slices of a keyframe make no picture of their own."""
    sps, pps, first, second = make_picture("h264", 0, key=True, slices=2).nals
    after = make_picture("h264", 1, key=False)
    payloads = [(nal, 0, False) for nal in (sps, pps, first, sps, pps)] + [(second, 0, True)]
    payloads += [(part, STEP, True) for part in pack("h264", after)]
    units = depacketize("h264", b"".join(map(frame, number_packets(payloads))))
    joined = b"".join(b"\0\0\0\1" + nal for nal in (sps, pps, first, sps, pps, second))
    assert whole(units) == [(joined, True), (after.data, False)]


def test_recovery_point_makes_a_keyframe() -> None:
    """As FFmpeg has it: decoding may begin at a picture with that SEI, though it is no IDR picture."""
    sei, nal = b"\x06\x05\x01\xff\x06\x01\x84\x80", make_picture("h264", 1, key=False).nals[0]
    stream = b"".join(map(frame, number_packets([(sei, 0, False), (nal, 0, True)])))
    assert [unit.is_keyframe for unit in depacketize("h264", stream)] == [True]


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

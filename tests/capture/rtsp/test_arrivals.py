"""From packets to arrivals: the quick way of inner fragments is the usual way of each packet."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.rtsp.arrivals import ArrivalMaker
from edge_agent.capture.rtsp.connection import Received
from edge_agent.capture.rtsp.handshake import PlayedStream, PlayedTrack
from edge_agent.capture.rtsp.nal_depacketizer import NalDepacketizer
from edge_agent.capture.rtsp.sdp import SdpMedium
from edge_agent.capture.rtsp.split import Splitter
from edge_agent.capture.session.interface import Arrival
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import MonoNs, UtcNs

from ...support.fakes import FakeClock
from .packets import PAYLOAD_TYPE, frame, make_picture, send

NAMES = {"h264": "H264", "hevc": "H265"}


def read(codec: str, chunks: list[bytes]) -> list[Arrival]:
    """Return what comes of chunks, and what is missing."""
    clock = FakeClock()
    template = TrackTemplate(0, "video", codec, Fraction(1, 90_000), b"", 640, 360, 0, 0)
    medium = SdpMedium("video", (PAYLOAD_TYPE,), NAMES[codec], 90_000, 0, "")
    played = PlayedStream("rtsp://camera/x", (PlayedTrack(template, medium, (0, 1)),), reorders=False, silence="")
    maker, splitter = ArrivalMaker(played, PacketLoss(clock)), Splitter()
    found: list[Arrival] = []
    for number, chunk in enumerate(chunks):
        found += maker.take(Received(splitter.feed(chunk), UtcNs(number), MonoNs(number)))
    return [*found, *maker.flush()]


spoils = st.lists(
    st.tuples(
        st.sampled_from(
            ["drop", "double", "swap", "marker", "source", "type", "flags", "short", "channel", "extension"]
        ),
        st.integers(0, 500),
    ),
    max_size=6,
)


def spoil(packets: list[bytes], how: str, place: int) -> list[bytes]:
    """Do to one packet what happens to packets."""
    at = place % len(packets)
    before, packet, behind = packets[:at], packets[at], packets[at + 1 :]
    match how:
        case "drop":
            return [*before, *behind] or packets
        case "double":
            return [*before, packet, packet, *behind]
        case "swap":
            return [*before, *behind[:1], packet, *behind[1:]]
    changed = bytearray(packet)
    match how:
        case "marker":
            changed[1] ^= 0x80
        case "source":
            changed[11] ^= 1
        case "type":
            changed[1] = changed[1] & 0x80 | 97
        case "extension":
            changed[0] |= 0x10
        case "flags" if len(changed) > 14:
            changed[13] ^= 0xC0
            changed[14] ^= 0x80
        case "short":
            changed = changed[: 12 + place % 4]
    return [*before, bytes(changed), *behind]


@pytest.mark.parametrize("codec", NAMES)
@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=8),
    slices=st.integers(1, 3),
    how=spoils,
    cuts=st.lists(st.integers(1, 40_000), max_size=8),
)
def test_quick_way_is_the_usual_way(
    codec: str, sizes: list[int], slices: int, how: list[tuple[str, int]], cuts: list[int]
) -> None:
    """Whatever is lost, doubled, forged or cut, the same arrivals come out as if each packet were taken by itself."""
    pictures = [
        make_picture(codec, number, key=number % 4 == 0, slices=slices, size=size) for number, size in enumerate(sizes)
    ]
    packets = send(codec, pictures)
    for each, place in how:
        packets = spoil(packets, each, place) if each != "channel" else packets
    strange = {place % len(packets) for each, place in how if each == "channel"}
    stream = b"".join(frame(packet, 5 * (at in strange)) for at, packet in enumerate(packets))
    places = [0, *sorted({cut % len(stream) for cut in cuts}), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(places) if a < b]
    quick = read(codec, chunks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NalDepacketizer, "take_inner", lambda _self, _data, _view, _frames, at, *_: at)
        usual = read(codec, chunks)
    assert quick == usual


@pytest.mark.parametrize("codec", NAMES)
def test_inner_fragments_are_taken_in_a_row(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large picture only the first packet goes the usual way."""
    usual: list[int] = []
    take = NalDepacketizer.take

    def note(self: NalDepacketizer, *arguments: object) -> None:
        usual.append(1)
        take(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(NalDepacketizer, "take", note)
    packets = send(codec, [make_picture(codec, 0, key=False, size=60_000)])
    read(codec, [b"".join(map(frame, packets))])
    assert len(packets) > 40
    assert len(usual) == 1

"""Where records are cut, and what is committed to."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.run import gop
from edge_agent.capture.run.gop import MAX_RECORD_BYTES, MAX_RECORD_NS, Cut, GopCutter
from edge_agent.media.packets import NutPacket, TrackTemplate
from edge_agent.units import SECOND_NS

BASE = Fraction(1, 90_000)
VIDEO = TrackTemplate(0, "video", "h264", BASE, b"", 320, 180, 0, 0)
STEP = 6000


def cut_all(packets: list[NutPacket]) -> list[Cut]:
    cutter = GopCutter(VIDEO)
    cuts = [cutter.push(packet) for packet in packets]
    return [cut for cut in [*cuts, cutter.flush(STEP)] if cut is not None]


def video(number: int, keyframe: bool, size: int = 100) -> NutPacket:
    return NutPacket(0, number * STEP, number * STEP, STEP, keyframe, bytes(size))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, MAX_RECORD_BYTES)), min_size=1, max_size=80))
def test_every_unit_from_the_first_keyframe_is_in_one_record(shape: list[tuple[bool, int]]) -> None:
    """Nothing is lost or doubled, records adjoin, and each is within 2 s and 1 MiB unless one unit alone is larger."""
    packets = [video(number, keyframe, size) for number, (keyframe, size) in enumerate(shape)]
    cuts = cut_all(packets)
    first = next((number for number, (keyframe, _) in enumerate(shape) if keyframe), len(shape))
    assert [packet for cut in cuts for packet in cut.packets] == packets[first:]
    for cut, following in itertools.pairwise(cuts):
        assert cut.end_pts == following.first_pts
        assert following.continues != following.packets[0].is_keyframe
    for cut in cuts:
        assert (cut.end_pts - cut.first_pts) * BASE * SECOND_NS <= MAX_RECORD_NS
        assert len(cut.packets) == 1 or sum(len(packet.data) for packet in cut.packets) <= MAX_RECORD_BYTES


def test_long_gop_is_cut_and_flagged() -> None:
    """A GOP of five seconds becomes three records, the later two without a keyframe of their own."""
    cuts = cut_all([video(number, number == 0) for number in range(75)])
    assert [(len(cut.packets), cut.continues) for cut in cuts] == [(30, False), (30, True), (15, True)]


def test_pictures_that_are_all_keyframes_share_records() -> None:
    """MJPEG does not become a record a picture."""
    assert [len(cut.packets) for cut in cut_all([video(number, True) for number in range(16)])] == [8, 8]


def test_reordered_picture_never_opens_a_record() -> None:
    """A cut in the middle of a GOP waits for a picture that is shown after all before it."""
    order = [number for start in range(0, 60, 3) for number in (start + 2, start, start + 1)]
    cuts = cut_all([video(number + 1, place == 0) for place, number in enumerate(order)])
    for cut in cuts[1:]:
        assert all(packet.pts >= cut.first_pts - 2 * STEP for packet in cut.packets)
        assert cut.packets[0].pts == cut.first_pts


@pytest.mark.timeout(20)
def test_record_waits_for_no_other_for_long() -> None:
    """A camera whose record has very many packets costs the others a moment, not the time that they take."""
    with gop._one_at_a_time:
        payload, commitment = gop.build_payload((VIDEO,), [video(0, True)])
    assert (len(commitment), payload[-100:]) == (32, bytes(100))
    assert not gop._one_at_a_time.locked()

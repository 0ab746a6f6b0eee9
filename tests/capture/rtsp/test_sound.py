"""Sound out of RTP packets, and its place beside the pictures."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.rtsp.rtp import RtpPacket
from edge_agent.capture.rtsp.sdp import parse_sdp
from edge_agent.capture.rtsp.sound import SoundForm, find_sound
from edge_agent.capture.rtsp.sound_place import APART_NS, SOUND, VIDEO, SoundPlace
from edge_agent.units import SECOND_NS, MonoNs


def sound(rtpmap: str, fmtp: str = "") -> SoundForm | None:
    text = f"m=audio 0 RTP/AVP 97\na=rtpmap:97 {rtpmap}\n" + (f"a=fmtp:97 {fmtp}\n" if fmtp else "")
    return find_sound(parse_sdp(text.encode()).media[0])


def take(form: SoundForm, payload: bytes, ticks: int = 100, lost: int = 0) -> list[tuple[int, int, bytes]]:
    return list(form.depacketizer.take(payload, RtpPacket(0, len(payload), ticks, True, lost)))


HBR = "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408"


def aac() -> SoundForm:
    form = sound("MPEG4-GENERIC/16000/1", HBR)
    assert form is not None
    return form


def test_several_aac_units_share_a_packet() -> None:
    """Each has its own size and time."""
    units = [b"one", b"twoo", b"x" * 300]
    section = b"".join(struct.pack(">H", len(unit) << 3) for unit in units)
    payload = struct.pack(">H", 16 * len(units)) + section + b"".join(units)
    assert take(aac(), payload) == [(100, 1024, units[0]), (1124, 1024, units[1]), (2148, 1024, units[2])]


def test_aac_unit_over_several_packets_is_joined() -> None:
    """Fragments of one time; a part that is missing leaves the unit out, and the next one is whole again."""
    form, unit = aac(), bytes(range(200)) * 2
    head = struct.pack(">HH", 16, len(unit) << 3)
    assert take(form, head + unit[:250]) == []
    assert take(form, head + unit[250:]) == [(100, 1024, unit)]
    assert take(form, head + unit[:250], 200) == []
    assert take(form, head + unit[250:], 300, lost=1) == []
    assert take(form, struct.pack(">HH", 16, 3 << 3) + b"abc", 400) == [(400, 1024, b"abc")]


def test_packets_of_other_codecs_are_units() -> None:
    """G.711 lasts a tick a byte, Opus as long as its first byte says."""
    pcm, opus = sound("PCMU/8000"), sound("opus/48000/2")
    assert pcm is not None
    assert opus is not None
    assert (pcm.codec, opus.codec) == ("pcm_mulaw", "opus")
    assert take(pcm, b"x" * 160) == [(100, 160, b"x" * 160)]
    assert take(opus, b"\xfc" + b"y" * 9) == [(100, 960, b"\xfc" + b"y" * 9)]


UNKNOWN = {
    "G.726": ("G726-32/8000", ""),
    "LATM": ("MP4A-LATM/16000", "config=1"),
    "AAC without its config": ("MPEG4-GENERIC/16000", "mode=AAC-hbr"),
    "AAC with a config that is none": ("MPEG4-GENERIC/16000", "mode=AAC-hbr;config=xyz"),
    "speech of MPEG-4": ("MPEG4-GENERIC/16000", "mode=CELP-cbr;config=1408"),
}


@pytest.mark.parametrize(("rtpmap", "fmtp"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_not_known_is_none(rtpmap: str, fmtp: str) -> None:
    """It is told, and not recorded wrongly."""
    assert sound(rtpmap, fmtp) is None


@given(st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 3)), max_size=20))
def test_any_payload_is_taken(payloads: list[tuple[bytes, int]]) -> None:
    """Nothing is raised and nothing is made up."""
    form = aac()
    out = [unit for payload, ticks in payloads for unit in take(form, payload, ticks)]
    assert sum(len(unit[2]) for unit in out) <= sum(len(payload) for payload, _ in payloads)


def place(reports: tuple[int, int] | None, late_ns: int = 0) -> int | None:
    """Let ten seconds of pictures and sound arrive; the sound's own clock began two seconds later."""
    found = SoundPlace()
    for step in range(100):
        boot = MonoNs(step * SECOND_NS // 10)
        found.arrive(VIDEO, boot, boot)
        found.arrive(SOUND, boot - 2 * SECOND_NS, MonoNs(boot + late_ns))
        if reports is not None and step == 50:
            found.report(VIDEO, reports[0], 0)
            found.report(SOUND, reports[1], 0)
        found.find_shift_ns()
    return found.find_shift_ns()


NTP = 3_900_000_000 * SECOND_NS
REPORTS = {
    "none: by arrival": (None, 2 * SECOND_NS + 1000),
    "exact ones": ((NTP, NTP + 2 * SECOND_NS), 2 * SECOND_NS),
    "NTP 0": ((0, 0), 2 * SECOND_NS + 1000),
    "another clock": ((NTP, NTP + 7 * SECOND_NS), 2 * SECOND_NS + 1000),
}


@pytest.mark.parametrize(("reports", "shift_ns"), REPORTS.values(), ids=REPORTS.keys())
def test_sound_lies_where_reports_and_arrivals_agree(reports: tuple[int, int] | None, shift_ns: int) -> None:
    """Reports count if the arrivals bear them out."""
    assert place(reports, late_ns=1000) == shift_ns


def test_sound_that_drifts_away_is_put_back() -> None:
    """Its arrivals count as soon as it lies too far from them."""
    found = SoundPlace()
    for second in range(100):
        boot = MonoNs(second * SECOND_NS)
        found.arrive(VIDEO, boot, boot)
        found.arrive(SOUND, boot - boot // 20, boot)
        shift_ns = found.find_shift_ns()
        assert shift_ns is not None
        assert abs(boot - (boot - boot // 20 + shift_ns)) <= APART_NS + SECOND_NS


def test_sound_without_pictures_has_no_place() -> None:
    """Until a picture has come nothing tells."""
    found = SoundPlace()
    found.arrive(SOUND, 0, MonoNs(5))
    assert found.find_shift_ns() is None

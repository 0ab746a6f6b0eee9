"""Sound out of RTP packets, and its place beside the pictures."""

import contextlib
import itertools
import socket
import struct
import subprocess
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.rtsp.rtp import RtpOrder, RtpPacket
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


LATM = "profile-level-id=15;object=2;cpresent=0;config=400028103fc0"


def latm() -> SoundForm:
    form = sound("MP4A-LATM/16000/1", LATM)
    assert form is not None
    return form


def test_latm_has_the_configuration_of_aac() -> None:
    """StreamMuxConfig of AAC-LC, 16 kHz, mono: its AudioSpecificConfig is that of the other form of AAC."""
    assert (latm().codec, latm().extradata) == ("aac", bytes.fromhex("1408"))


LATM_ELEMENTS: dict[str, tuple[list[tuple[bytes, int, bool, int]], list[tuple[int, int, bytes]]]] = {
    # payload, ticks, marker, packets lost before
    "one packet": ([(b"\4abcd", 9, True, 0)], [(9, 1024, b"abcd")]),
    "a long one": ([(b"\xff\1" + b"x" * 256, 9, True, 0)], [(9, 1024, b"x" * 256)]),
    "two packets": ([(b"\4ab", 9, False, 0), (b"cd", 9, True, 0)], [(9, 1024, b"abcd")]),
    "no end, then another": ([(b"\4ab", 9, False, 0), (b"\1z", 1033, True, 0)], [(1033, 1024, b"z")]),
    "its beginning is lost": ([(b"cd", 9, True, 1), (b"\1z", 1033, True, 0)], [(1033, 1024, b"z")]),
    "a part is lost": ([(b"\6ab", 9, False, 0), (b"ef", 9, True, 1), (b"\1z", 10, True, 0)], [(10, 1024, b"z")]),
    "longer than it is": ([(b"\x09abcd", 9, True, 0)], []),
    "only a length": ([(b"\xff", 9, True, 0), (b"", 10, True, 0)], []),
    "without end": ([(b"\4" + b"x" * 60_000, 9, False, 0)] * 5 + [(b"y", 9, True, 0)], []),
}


@pytest.mark.parametrize(("packets", "expected"), LATM_ELEMENTS.values(), ids=LATM_ELEMENTS.keys())
def test_latm_is_taken_apart(
    packets: list[tuple[bytes, int, bool, int]], expected: list[tuple[int, int, bytes]]
) -> None:
    """Elements of one packet or several; one of which a part is missing, or too long, is left out."""
    form = latm()
    units = []
    for payload, ticks, is_marked, lost in packets:
        units += form.depacketizer.take(payload, RtpPacket(0, len(payload), ticks, is_marked, lost))
    assert units == expected


def test_short_configuration_of_latm_is_taken() -> None:
    """A StreamMuxConfig that ends behind the AudioSpecificConfig: 44.1 kHz, stereo."""
    form = sound("MP4A-LATM/44100/2", "cpresent=0;config=40002420")
    assert form is not None
    assert form.extradata == bytes.fromhex("1210")


@pytest.mark.peer
@pytest.mark.needs("ffmpeg")
def test_latm_of_somebody_else_is_decoded(tmp_path: Path) -> None:
    """FFmpeg sends a tone as LATM: what we make of it is AAC that a decoder takes, as long as it was sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        target = f"rtp://127.0.0.1:{receiver.getsockname()[1]}"
        words = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000:duration=2", "-c:a", "aac"]
        words += ["-f", "rtp", "-rtpflags", "latm", "-sdp_file", str(tmp_path / "sdp"), target]
        subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True, timeout=60)
        receiver.setblocking(False)
        packets = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packets.append(receiver.recv(65_536))
    form = find_sound(parse_sdp((tmp_path / "sdp").read_bytes()).media[0])
    assert form is not None
    order, units = RtpOrder(frozenset({packets[0][1] & 0x7F})), []
    for data in packets:
        packet = order.take(data, 0, len(data))
        if packet is not None:
            units += form.depacketizer.take(data, packet)
    decoder = av.CodecContext.create("aac", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata, decoder.sample_rate, decoder.layout = form.extradata, 16_000, "mono"
    samples = sum(frame.samples for _, _, unit in units for frame in decoder.decode(av.Packet(unit)))
    assert samples >= 2 * 16_000
    assert [after - before for (before, _, _), (after, _, _) in itertools.pairwise(units)] == [1024] * (len(units) - 1)


OTHER_LATM = {
    "configuration in the stream": ("MP4A-LATM/16000/1", "cpresent=1;config=400028103fc0"),
    "as usual, in the stream": ("MP4A-LATM/16000/1", "config=400028103fc0"),
    "time by another clock": ("MP4A-LATM/90000", LATM),
    "no configuration": ("MP4A-LATM/16000/1", "cpresent=0"),
    "no hexadecimal": ("MP4A-LATM/16000/1", "cpresent=0;config=zz"),
    "version 1": ("MP4A-LATM/16000/1", "cpresent=0;config=c00028103fc0"),
    "HE-AAC": ("MP4A-LATM/16000/1", "cpresent=0;config=400058103fc0"),
    "cut off": ("MP4A-LATM/16000/1", "cpresent=0;config=4000"),
}


@pytest.mark.parametrize(("rtpmap", "fmtp"), OTHER_LATM.values(), ids=OTHER_LATM.keys())
def test_other_latm_is_not_taken(rtpmap: str, fmtp: str) -> None:
    """It is told as a codec that is not known here."""
    assert sound(rtpmap, fmtp) is None


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


@settings(deadline=None)
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

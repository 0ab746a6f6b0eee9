"""Tapes: what a camera says and sends, without its pictures, and our own reader on them."""

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.access_units import Stamp
from edge_agent.capture.rtsp.h265 import H265Depacketizer
from edge_agent.capture.rtsp.rtp import RtpPacket, skip_extras
from edge_agent.capture.rtsp.session import open_own_session
from edge_agent.capture.rtsp.tape import TapeError, TapeMaker, read_tape
from edge_agent.capture.rtsp.tape_media import mask_packet, mask_report
from edge_agent.capture.rtsp.tape_recorder import record_tape
from edge_agent.capture.rtsp.tape_text import mask_answer, mask_description, mask_url
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.demo.camera import Account, CameraSettings, SimulatedCamera
from edge_agent.demo.rtp import encode_sender_report
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from edge_agent.units import MonoNs, UtcNs
from tests.peers.tape_camera import tape_camera

from .packets import depacketize, frame, make_picture, send
from .test_sdp import USUAL

CODECS = {"h264": "H264", "hevc": "H265"}
SECRETS = ("10.1.2.3", "gate.home", "Doe", "s3cret", "deadbeef", "4711", "TOKEN")
ANSWER = (
    b"RTSP/1.0 401 Unauthorized for Doe\r\nCSeq: 2\r\nDate: Sun, 4711\r\nX-Owner: Doe\r\n"
    b"Server: Maker/1.2 (Build 7)\r\n"
    b'WWW-Authenticate: Digest realm="Doe_4711", nonce="deadbeef", opaque="4711", qop="auth", algorithm=SHA-256\r\n'
    b'WWW-Authenticate: Basic realm="Doe"\r\n'
    b"Session: deadbeef4711;timeout=60\r\n"
    b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1;source=10.1.2.3;destination=gate.home;ssrc=00000009\r\n"
    b"Content-Base: rtsp://10.1.2.3:554/user=Doe_password=s3cret/s0?token=TOKEN/\r\n"
    b"RTP-Info: url=rtsp://10.1.2.3/TOKENTOKENTOKEN/trackID=1;seq=1;rtptime=5,url=rtsp://gate.home/b;seq=2\r\n"
    b"Content-Length: 99"
)
DESCRIPTION = (
    "v=0\r\no=Doe 4711 1 IN IP4 10.1.2.3\r\ns=Doe's porch\r\ni=s3cret\r\ne=Doe@gate.home\r\nc=IN IP4 10.1.2.3\r\n"
    "t=0 0\r\n"
    "a=control:rtsp://10.1.2.3/a?token=TOKEN\r\na=tool:Doe\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IAKpY1QPAET8s3AQEBAg==,aM4xsg==\r\n"
    "a=control:trackID=1\r\na=x-owner:Doe\r\nm=audio 0 RTP/AVP 0\r\na=control:TOKENTOKENTOKENTOKEN\r\n"
)


def test_nothing_of_an_owner_is_on_a_tape() -> None:
    """Addresses, names, logins, sessions and tokens are gone; what a reader goes by is there."""
    head, body = mask_answer(ANSWER, DESCRIPTION.encode())
    assert [word for word in SECRETS if word in head + body] == []
    for kept in (
        "RTSP/1.0 401",
        "CSeq: 2",
        "X-Owner: x",
        "Server: x",
        'qop="auth"',
        'algorithm="SHA-256"',
        "timeout=60",
        "interleaved=0-1",
        "ssrc=00000009",
        f"Content-Length: {len(body)}",
        "Content-Base: rtsp://192.0.2.1:554/stream",
        "/trackID=1;seq=1;rtptime=5",
    ):
        assert kept in head, kept
    for kept in ("a=rtpmap:96 H264/90000", "sprop-parameter-sets=Z0IAKpY1QPAET8s3AQEBAg==", "a=control:trackID=1"):
        assert kept in body, kept


LEAKS: dict[str, tuple[str, str]] = {
    "a base without a host": ("Content-Base: /cam?user=admin&password=s3cret", ""),
    "another scheme": ("Location: http://admin:s3cret@10.1.2.3/x", ""),
    "a name as the last of a path": ("Content-Base: rtsp://10.1.2.3/live/hunter2/", ""),
    "a room as the last of a path": ("Content-Base: rtsp://10.1.2.3/home/bedroom", ""),
    "a login behind semicolons": ("Content-Base: rtsp://10.1.2.3/live;user=admin;password=s3cret/", ""),
    "a password with a comma": ("Content-Base: rtsp://10.1.2.3/11?user=admin&pwd=a,s3cret", ""),
    "a password with a slash": ("Content-Base: rtsp://admin:4711/s3cret@10.1.2.3/x", ""),
    "a maker's word": ("Server: Cam 00:12:34:56:78:9a 10.1.2.3", ""),
    "a time of day": ("Range: clock=20261129T181500Z-", ""),
    "a tail behind rtptime": ("RTP-Info: url=rtsp://h/x?p=a,s3cret/trackID=1;seq=1;rtptime=2 10.1.2.3", ""),
    "a login in RTP-Info": ("RTP-Info: url=/live;password=s3cret;seq=1", ""),
    "a name in a challenge": ('WWW-Authenticate: Digest realm="a, hunter=4711, b", nonce="1"', ""),
    "a header's name": ("user admin s3cret: 1", ""),
    "a transport's source": ("Transport: RTP/AVP;source=10.1.2.3;ssrc=hunter2;mode=s3cret", ""),
    "a session's tail": ("Session: 4711;timeout=60 s3cret;user=admin", ""),
    "times": ("", "t=3990000000 0\na=range:clock=20261129T181500Z-"),
    "a room as a control": ("", "a=control:bedroom"),
    "a control with a token": ("", "a=control:rtsp://10.1.2.3/x?token=q,s3cret"),
    "a relative control with a token": ("", "a=control:trackID=1?user=admin"),
    "a note in fmtp": ("", "a=fmtp:96 note=10.1.2.3;config=s3cret;sprop-parameter-sets=hunter2"),
    "text behind a parameter set": ("", "a=fmtp:96 sprop-sps=Z0IAKgAAAWh1bnRlcjI="),
    "a flag": ("", "a=bedroom"),
    "an attribute's name": ("", "a=user s3cret:1"),
    "a codec's name": ("", "m=bedroom 0 RTP/AVP 96\na=rtpmap:96 hunter2/90000"),
    "a bandwidth": ("", "b=AS:s3cret"),
    "a line of its own": ("", "s3cret=hunter2"),
}
GONE = ("s3cret", "hunter", "bedroom", "admin", "10.1.2", "4711", "00:12", "2026", "3990", "aHVudGVy", "h1bnRlc")


@pytest.mark.parametrize(("header", "body"), LEAKS.values(), ids=LEAKS.keys())
def test_only_what_is_understood_as_a_whole_is_kept(header: str, body: str) -> None:
    """Wherever a camera puts an owner's word: a value is kept if a pattern for it covers all of it."""
    masked = "".join(mask_answer(f"RTSP/1.0 200 OK\r\n{header}".encode(), f"v=0\n{body}".encode() if body else b""))
    assert [word for word in GONE if word in masked] == []


WORDS = st.text('abcXYZ019 =:;,/?"@.-_\r\n\t*', max_size=60)


@given(st.lists(st.tuples(st.sampled_from(["Session", "X-Any", "Server", "Location", "Transport", "RTP-Info"]), WORDS)))
def test_a_masked_answer_is_read_as_one(headers: list[tuple[str, str]]) -> None:
    """Whatever a camera says: no line more comes out than went in, and never its session id or an address."""
    lines = [f"{name}: {value}" for name, value in headers]
    head, _ = mask_answer("\r\n".join(["RTSP/1.0 200 OK", *lines]).encode(), b"")
    assert head.count("\n") <= "\r\n".join(lines).count("\n") + 1
    assert "s3cret.example" not in mask_url("rtsp://s3cret.example/s3cret")


@given(st.binary(max_size=300))
def test_any_bytes_can_be_masked(data: bytes) -> None:
    """Whatever comes is masked, to the same size if it is a packet."""
    mask_answer(data, b"v=" + data)
    mask_description(data)
    for codec in ("H264", "H265", "JPEG"):
        assert len(mask_packet(codec, data)) == len(data)
    assert len(mask_report(data)) == len(data)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [40, 6000])
def test_packets_without_pictures_make_the_same_units(codec: str, size: int) -> None:
    """Sizes, borders and keyframes of what is read from masked packets are the same; the coded picture is not there."""
    pictures = [make_picture(codec, number, key=number % 4 == 0, slices=2, size=size) for number in range(9)]
    packets = send(codec, pictures)
    masked = [mask_packet(CODECS[codec], packet) for packet in packets]
    plain = depacketize(codec, b"".join(map(frame, packets)))
    again = depacketize(codec, b"".join(map(frame, masked)))
    assert [(len(u.data), u.is_keyframe, u.ticks) for u in again] == [
        (len(u.data), u.is_keyframe, u.ticks) for u in plain
    ]
    body = make_picture(codec, 3, key=False, size=size).nals[0][-20:]
    assert any(body in packet for packet in packets)
    assert not any(body in packet for packet in masked)


def test_report_has_no_name() -> None:
    """Of RTCP the sender report is left; the source description behind it is gone."""
    report = encode_sender_report(9, 0, 1234, 55, 66)[:28]
    assert mask_report(report + b"\x81\xca\0\5Doe@gate.home") == report + bytes(17)


NAME = b"\1\x11admin@192.168.1.5"
RECEIVER_REPORT = b"\x80\xc9\0\1\0\0\0\7"
REPORTS = {
    "a receiver report before the name": RECEIVER_REPORT + b"\x81\xca\0\6\0\0\0\7" + NAME,
    "the name alone": b"\x81\xca\0\6\0\0\0\7" + NAME + bytes(8),
    "a sender report that is too short": b"\x80\xc8\0\0\x81\xca\0\6\0\0\0\7" + NAME,
    "application data": b"\x80\xcc\0\6\0\0\0\7name" + NAME,
}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())
def test_report_that_is_no_sender_report_is_gone(report: bytes) -> None:
    """A receiver's report is shorter, and so are others: the name would stand in what is kept."""
    assert mask_report(report) == bytes(len(report))


SPS, PPS, SEI, SLICE = b"\x67\x42\0\x1e" + b"S" * 10, b"\x68PPPP", b"\x06\x05\x20GPS 52.1N Nursery", b"\x65\x88"
RTP = b"\x80\xe0" + bytes(range(10))
FEW_FRAMES = b"\x06\x06\1\x84\x04\x09Nursery"
PACKETS = {
    "a whole access unit that begins with a set": RTP
    + b"\0\0\0\1".join([SPS, PPS, SEI, SLICE + b"\x99" * 10 + b"PICTURE" * 100]),
    "SEI": RTP + b"\x06\x04Nursery",
    "SEI behind a recovery point": RTP + FEW_FRAMES,
    "a fragment of SEI": RTP + b"\x7c\x86\x04Nursery",
    "a unit of no known type": RTP + b"\x7fNursery",
    "an extension": b"\x90" + RTP[1:] + b"\xab\xac\0\2Nursery!" + SLICE,
    "padding": b"\xa0" + RTP[1:] + SLICE + b"Nursery\x08",
    "a contributing source": b"\x82" + RTP[1:] + b"Nursery!" + SLICE,
    "no RTP": b"Nursery door",
    "a header alone, cut off": b"\x80Nursery",
}


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_no_word_is_kept_in_a_packet(packet: bytes) -> None:
    """Wherever a camera puts text or pictures besides where a reader looks."""
    masked = mask_packet("H264", packet)
    assert len(masked) == len(packet)
    for word in (b"Nurs", b"GPS", b"PICT"):
        assert word not in masked


def test_reader_finds_what_it_goes_by_in_a_packet() -> None:
    """Parameter sets, start codes, recovery points, and how long extensions and padding are."""
    whole = mask_packet("H264", PACKETS["a whole access unit that begins with a set"])
    assert whole.startswith(RTP + SPS)
    assert whole.count(b"\0\0\1") == 3
    assert b"\0\0\1" + SLICE in whole
    assert FEW_FRAMES[:4] in mask_packet("H264", PACKETS["SEI behind a recovery point"])
    for name in ("an extension", "padding", "a contributing source"):
        packet = PACKETS[name]
        masked = mask_packet("H264", packet)
        assert skip_extras(masked, 0, len(masked), masked[0]) == skip_extras(packet, 0, len(packet), packet[0])
        assert SLICE in masked


Camera = Callable[[], SimulatedCamera]
CAMERAS: dict[str, Camera] = {
    "h264": lambda: SimulatedCamera(CameraSettings(live=LiveSettings(gop=8))),
    "h265": lambda: SimulatedCamera(CameraSettings(live=LiveSettings("hevc", gop=8))),
    "with a login": lambda: SimulatedCamera(
        CameraSettings(live=LiveSettings(gop=8), account=Account("owner", "s3cret-word"))
    ),
}
LOGIN = {"username": "owner", "password": "s3cret-word"}


def replay(tape: bytes) -> list[Arrival]:
    """Read a tape with our own reader, to its end."""
    clock = SystemClock()
    arrivals = []
    with tape_camera(tape) as camera:
        session = open_own_session(Endpoint(camera.url, "anybody", "anything"), clock, PacketLoss(clock), 1.0)
        try:
            arrivals.extend(session.read())
        except CaptureError:
            pass
        finally:
            session.close()
    return arrivals


@pytest.mark.peer
@pytest.mark.parametrize("make", CAMERAS.values(), ids=CAMERAS.keys())
def test_tape_of_a_camera_is_read_as_the_camera_was(make: Camera) -> None:
    """Recorded, and played to our own reader: pictures of the same sizes and times; nothing of address or login."""
    with make() as camera:
        tape = record_tape(Endpoint(camera.url, **LOGIN), SystemClock(), 3.0)
    content = tape.encode()
    assert tape.ended == ""
    text = gzip.decompress(content).decode()
    assert not any(
        word in text for word in ("127.0.0.1", *LOGIN.values(), base64.b64encode(b"owner:s3cret-word").decode())
    )
    came = [json.loads(line) for line in text.splitlines()]
    assert [line["sent"] for line in came if "sent" in line][-1] != "TEARDOWN"
    arrivals = []
    try:
        arrivals = replay(content)
    except CaptureError as error:
        pytest.fail(str(error))
    assert len(arrivals) > 20
    assert sum(arrival.is_keyframe for arrival in arrivals) > 2
    assert not any(arrival.is_damaged for arrival in arrivals)


@pytest.mark.peer
def test_tape_has_its_bounds() -> None:
    """It ends when it is full, or when its time is over; a camera that refuses leaves a tape of that."""
    with CAMERAS["h264"]() as camera:
        tape = record_tape(Endpoint(camera.url), SystemClock(), 30.0, most_bytes=50_000)
    assert tape.ended == "full"
    assert sum(len(data) for kind, data in read_tape(tape.encode()) if kind == "came") < 50_000 + (64 << 10)
    with CAMERAS["with a login"]() as camera:
        tape = record_tape(Endpoint(camera.url, "owner", "wrong"), SystemClock(), 30.0)
    assert tape.ended == "unauthorized"
    assert b"401" in b"".join(data for _, data in read_tape(tape.encode()))


def make_whole_tape() -> bytes:
    """Return the tape of a session with one packet."""
    tape, ok = TapeMaker(MonoNs(0), 1 << 20), b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 1\r\n"
    described = b"Content-Length: %d\r\n\r\n" % len(DESCRIPTION) + DESCRIPTION.encode()
    for method in ("OPTIONS", "DESCRIBE", "SETUP", "PLAY"):
        tape.note_request(method, MonoNs(0))
        tape.take(ok + (described if method == "DESCRIBE" else b"\r\n"), MonoNs(0))
    tape.take(frame(RTP + SLICE), MonoNs(0))
    return tape.encode()


@pytest.mark.peer
def test_time_of_a_tape_begins_with_media() -> None:
    """A camera that takes longer to open than its tape is to last gives a tape all the same."""
    with tape_camera(make_whole_tape(), pause_s=0.2) as camera:
        tape = record_tape(Endpoint(camera.url), SystemClock(), 0.7)
    assert tape.ended == ""
    assert tape.packets == 1


BROKEN = {
    "no gzip": b"{}",
    "cut off": gzip.compress(b'{"tape":1}\n' * 99)[:-9],
    "another version": gzip.compress(b'{"tape":2}\n'),
    "no object": gzip.compress(b'{"tape":1}\n[1]\n'),
    "no base64": gzip.compress(b'{"tape":1}\n{"frames":[[0,"?"]]}\n'),
    "nothing": gzip.compress(b""),
    "no channel": gzip.compress(b'{"tape":1}\n{"frames":[[300,""]]}\n'),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_tape_is_refused(data: bytes) -> None:
    """Before anything of it is used for more than what came until there."""
    with pytest.raises(TapeError):
        list(read_tape(data))


def test_camera_out_of_step_ends_the_tape() -> None:
    """What is neither a frame nor a message is not kept; that it came is."""
    tape = TapeMaker(MonoNs(0), 1 << 20)
    tape.take(frame(b"\x80\x60" + bytes(20)) + b"\0\1\2 s3cret", MonoNs(5))
    tape.take(b"\0\1\2 s3cret", MonoNs(6))
    assert tape.is_full
    assert tape.ended == "out of step"
    assert b"s3cret" not in gzip.decompress(tape.encode())


SECRET_SLICE = b"\x65Nursery window"
STRANGERS: dict[str, tuple[int, int, str]] = {
    "another payload type": (0, 97, ""),
    "another channel": (2, 96, ""),
    "before anything is set up": (0, 96, "SETUP"),
    "before it is described": (0, 96, "DESCRIBE"),
}


def make_tape(channel: int, payload_type: int, *, without: str = "") -> bytes:
    """Return what a tape of a session keeps of a packet that begins like a slice."""
    tape = TapeMaker(MonoNs(0), 1 << 20)
    granted = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
    head = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: %d\r\n\r\n" % len(DESCRIPTION)
    for method, answer in {"DESCRIBE": head + DESCRIPTION.encode(), "SETUP": granted}.items():
        if method != without:
            tape.note_request(method, MonoNs(0))
            tape.take(answer, MonoNs(0))
    packet = b"\x80" + bytes((0x80 | payload_type,)) + RTP[2:] + SECRET_SLICE
    tape.take(frame(packet, channel), MonoNs(0))
    return b"".join(data for _, data in read_tape(tape.encode())).rpartition(packet[:12])[2]


@pytest.mark.parametrize(("channel", "payload_type", "without"), STRANGERS.values(), ids=STRANGERS.keys())
def test_only_the_video_is_masked_as_video(channel: int, payload_type: int, without: str) -> None:
    """Sound, metadata and whatever else comes may hold text at the place of a slice's header: nothing of it is kept."""
    assert make_tape(0, 96).startswith(SECRET_SLICE[:12])
    assert make_tape(channel, payload_type, without=without) == b"\x55" * len(SECRET_SLICE)


H265_SEI = b"\x4e\1\x05\x07Nursery"
H265_SLICE = b"\x26\1\xaf" + b"\x99" * 9 + b"Nursery door" * 9
H265_SET = b"\x42\1\1" + b"S" * 9


def join_units(*nals: bytes, donl: bytes, dond: bytes) -> bytes:
    return b"\x60\1" + donl + dond.join(len(nal).to_bytes(2, "big") + nal for nal in nals)


ORDERED = {
    "an aggregate": join_units(H265_SET, H265_SEI, H265_SLICE, donl=b"\0\2", dond=b"\0"),
    "an aggregate that begins as an older one": join_units(H265_SLICE, H265_SEI, donl=b"\0\x09", dond=b"\7"),
    "a unit": H265_SLICE[:2] + b"\0\2" + H265_SLICE[2:],
    "SEI": H265_SEI[:2] + b"\0\2" + H265_SEI[2:],
    "a fragment": b"\x62\1\x93\0\2" + H265_SLICE[2:],
    "a fragment of SEI": b"\x62\1\xa7\0\2" + H265_SEI[2:],
}


@pytest.mark.parametrize("payload", ORDERED.values(), ids=ORDERED.keys())
def test_order_numbers_move_what_is_kept(payload: bytes) -> None:
    """With DONL all lengths and heads lie elsewhere: our reader finds the same units, and no word is there."""
    packet = RTP[:2] + bytes(10) + payload
    masked = mask_packet("H265", packet, has_donl=True)
    plain, again = (H265Depacketizer(has_donl=True) for _ in range(2))
    for depacketizer, data in ((plain, packet), (again, masked)):
        depacketizer.take(data, memoryview(data), RtpPacket(12, len(data), 0, True, 0), Stamp(UtcNs(0), MonoNs(0)))
        depacketizer.settle()
        depacketizer.units.flush()
    units = [[(len(u.data), u.is_keyframe, u.is_damaged) for u in each.units.ready] for each in (again, plain)]
    assert units[0] == units[1]
    assert b"Nurs" not in masked


@pytest.mark.parametrize("inner", [H265_SEI, H265_SLICE], ids=["SEI", "a slice"])
def test_no_word_is_kept_behind_an_extension(inner: bytes) -> None:
    """PACI (RFC 7798 4.4.4): neither what the extension says, nor more of the unit behind it than without one."""
    fields = ((inner[0] >> 1 & 0x3F) << 9 | 8 << 4).to_bytes(2, "big")
    masked = mask_packet("H265", RTP + b"\x64\1" + fields + b"Nursery!" + inner[2:])
    assert masked.startswith(RTP + b"\x64\1" + fields + b"\x55" * 8)
    assert masked[24:] == mask_packet("H265", RTP + inner)[14:]
    assert b"Nurs" not in masked


def test_kept_tapes_are_read(tmp_path: Path) -> None:
    """Every tape that a user sent, in ``tests/capture/rtsp/tapes``: our own reader makes whole GOPs of it."""
    for path in sorted((Path(__file__).parent / "tapes").glob("*.tape.gz")):
        assert any(arrival.is_keyframe for arrival in replay(path.read_bytes())), path.name


def test_usual_description_keeps_its_tracks() -> None:
    """What our reader makes of a description is the same after it was masked, names apart."""
    from edge_agent.capture.rtsp.sdp import parse_sdp

    plain, masked = parse_sdp(USUAL.encode()), parse_sdp(mask_description(USUAL.encode()).encode())
    assert [(m.codec, m.clock_rate, m.fields) for m in masked.media] == [
        (m.codec, m.clock_rate, m.fields) for m in plain.media
    ]

"""A session of our own reader against cameras that mean no good, and the requests that it sends."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.session import open_own_session
from edge_agent.capture.session.interface import Arrival, Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.host.clock import SystemClock
from edge_agent.units import SECOND_NS, MonoNs
from tests.peers.tape_camera import serve_in_turn

from .packets import frame, make_picture, number_packets, send
from .test_sdp import USUAL

pytestmark = pytest.mark.peer

VIDEO_ONLY = USUAL.partition("m=audio")[0].encode()


@dataclass
class ScriptedCamera:
    """A camera that answers each method with what a test says, and remembers what it was asked."""

    answers: dict[str, bytes]
    media: bytes = b""
    """Sent behind the answer to PLAY."""
    slowly: bool = False
    closes: bool = False
    """Nothing follows the media."""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def serve(self, server: socket.socket) -> None:
        serve_in_turn(server, self._talk)

    def _talk(self, connection: socket.socket, lines: Iterator[bytes]) -> None:
        head = b""
        for line in lines:
            head += line
            if line != b"\r\n" or not head.strip():
                continue
            text, head = head.decode(), b""
            self.asked.append(text)
            method, number = text.split(" ")[0], re.search(r"CSeq: (\d+)", text)
            assert number is not None
            answer = self.answers.get(method, b"RTSP/1.0 200 OK\r\nCSeq: N\r\nSession: 7;timeout=2\r\n\r\n")
            answer = answer.replace(b"CSeq: N", b"CSeq: " + number[1].encode())
            if method == "PLAY":
                answer += self.media
            step = 1 if self.slowly else len(answer) or 1
            for at in range(0, len(answer), step):
                connection.sendall(answer[at : at + step])
            if method == "PLAY" and self.closes:
                connection.shutdown(socket.SHUT_WR)

    def methods(self) -> list[str]:
        return [each.split(" ")[0] for each in self.asked]


def described(sdp: bytes, head: bytes = b"") -> bytes:
    return b"RTSP/1.0 200 OK\r\nCSeq: N\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(sdp) + sdp


@contextmanager
def camera(answers: dict[str, bytes] | None = None, media: bytes = b"", **options: bool) -> Iterator[ScriptedCamera]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = ScriptedCamera({"DESCRIBE": described(VIDEO_ONLY)} | (answers or {}), media, **options)
        made.url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"
        thread = threading.Thread(target=made.serve, args=(server,), daemon=True)
        thread.start()
        yield made
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def watch(made: ScriptedCamera, count: int = 3, **options: object) -> list[Arrival]:
    """Open a session, read until so many arrivals have come or it ends, and close it."""
    clock = SystemClock()
    silence_s = float(options.pop("silence_s", 2.0))  # type: ignore[arg-type]
    endpoint = Endpoint(made.url, open_timeout_s=2.0, **options)  # type: ignore[arg-type]
    session = open_own_session(endpoint, clock, PacketLoss(clock), silence_s)
    arrivals: list[Arrival] = []
    try:
        for arrival in session.read():
            arrivals.append(arrival)
            if len(arrivals) >= count:
                break
    finally:
        session.close()
    return arrivals


PICTURES = [make_picture("h264", number, key=number % 4 == 0, size=3000) for number in range(6)]
GOOD = b"".join(map(frame, send("h264", PICTURES)))


def test_session_is_opened_read_and_torn_down() -> None:
    """Four requests, the pictures as they were sent, and a goodbye; nothing is asked for that is not wanted."""
    with camera({"DESCRIBE": described(USUAL.encode())}, GOOD) as made:
        arrivals = watch(made, 6)
    assert [arrival.data for arrival in arrivals] == [picture.data for picture in PICTURES]
    assert [arrival.pts for arrival in arrivals] == [3600 * number for number in range(6)]
    # The last picture is known to be whole when nothing follows it; the camera is told meanwhile that we watch.
    assert [each for each in made.methods()[4:] if each != "OPTIONS"] == ["TEARDOWN"]
    assert made.methods()[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert "interleaved=0-1" in made.asked[2]
    assert "Session: 7\r\n" in made.asked[3]


def test_sound_is_set_up_only_if_it_is_wanted() -> None:
    """With ``audio`` there is a second SETUP, on channels of its own."""
    with camera({"DESCRIBE": described(USUAL.encode())}, GOOD) as made:
        watch(made, 1, audio=True)
    assert made.methods()[2:4] == ["SETUP", "SETUP"]
    assert "/trackID=1 RTSP" in made.asked[3]
    assert "interleaved=2-3" in made.asked[3]


def test_bytes_of_a_dripping_camera_are_put_together() -> None:
    """Answers and pictures that come byte by byte are the same."""
    with camera(media=GOOD, slowly=True) as made:
        arrivals = watch(made, 6)
    assert [arrival.data for arrival in arrivals] == [picture.data for picture in PICTURES]


STRAY = frame(b"\x80\x60" + bytes(30), 9) + frame(b"", 0) + frame(b"x", 1) + b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"


def test_what_nobody_asked_for_is_left_out() -> None:
    """Frames on other channels, empty ones, RTCP that is none, requests of the camera: before PLAY's answer, too."""
    ahead = STRAY + b"RTSP/1.0 200 OK\r\nCSeq: N\r\nSession: 7\r\n\r\n"
    with camera({"PLAY": ahead}, STRAY + GOOD + STRAY) as made:
        arrivals = watch(made, 6)
    assert [arrival.data for arrival in arrivals] == [picture.data for picture in PICTURES]


def test_camera_is_told_that_somebody_watches() -> None:
    """Twice in each time-out, by GET_PARAMETER where the camera knows it; a refusal ends nothing."""
    public = b"RTSP/1.0 200 OK\r\nCSeq: N\r\nPublic: DESCRIBE, GET_PARAMETER\r\n\r\n"
    refuses = b"RTSP/1.0 501 Not Implemented\r\nCSeq: N\r\n\r\n"
    with (
        camera({"OPTIONS": public, "GET_PARAMETER": refuses}, GOOD) as made,
        pytest.raises(CaptureError, match="no picture arrives"),
    ):
        watch(made, 99, silence_s=3.5)
    assert made.methods()[4:7] == ["GET_PARAMETER", "OPTIONS", "OPTIONS"]


HOSTILE: dict[str, tuple[dict[str, bytes], str]] = {
    "a head without end": ({"OPTIONS": b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 9000}, "protocol-error"),
    "a body without end": ({"DESCRIBE": b"RTSP/1.0 200 OK\r\nContent-Length: 9999999\r\n\r\n"}, "protocol-error"),
    "out of step": ({"DESCRIBE": b"\x00\x01\x02 what"}, "protocol-error"),
    "a web server": ({"OPTIONS": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, "protocol-error"),
    "frames for ever": ({"PLAY": frame(bytes(60_000)) * 60}, "no-answer"),
    "answers to something else": ({"DESCRIBE": b"RTSP/1.0 200 OK\r\nCSeq: 999\r\n\r\n" * 99}, "no-answer"),
    "a track that ends a line": (
        {"DESCRIBE": described(VIDEO_ONLY.replace(b"trackID=0", b"track\x0bID=0"))},
        "protocol-error",
    ),
    "both tracks on one channel": (
        {
            "DESCRIBE": described(USUAL.encode()),
            "SETUP": b"RTSP/1.0 200 OK\r\nCSeq: N\r\nSession: 7\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n",
        },
        "transport-refused",
    ),
    "no track": ({"DESCRIBE": described(b"v=0\r\n")}, "no-video"),
    "no description": ({"DESCRIBE": described(b"\xff\x00" * 300)}, "no-video"),
}


@pytest.mark.parametrize(("answers", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_camera_that_means_no_good_is_told(answers: dict[str, bytes], reason: str) -> None:
    """Each way to break the dialogue ends it, within the time to open, with a reason."""
    clock = SystemClock()
    with camera(answers) as made:
        began = clock.boot()
        with pytest.raises(CaptureError) as raised:
            watch(made, audio=True)
        assert clock.boot() - began < 5_000_000_000
    assert raised.value.reason == reason


def test_login_is_sent_once_however_often_it_is_refused() -> None:
    """A wrong password goes out once; a camera that calls every nonce stale gets it once more."""
    challenge = b'RTSP/1.0 401 No\r\nCSeq: N\r\nWWW-Authenticate: Digest realm="r", nonce="%s"%s\r\n\r\n'
    for stale, most in ((b"", 1), (b", stale=true", 2)):
        with camera({"DESCRIBE": challenge % (b"n", stale)}) as made, pytest.raises(CaptureError) as raised:
            watch(made, username="owner", password="secret-word")
        assert raised.value.reason == "unauthorized"
        assert sum("Authorization" in each for each in made.asked) == most
        assert not any("secret-word" in each for each in made.asked)


def test_each_use_of_a_nonce_is_counted() -> None:
    """RFC 7616: with a quality of protection the count of uses rises with each request."""
    challenge = b'RTSP/1.0 401 No\r\nCSeq: N\r\nWWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n\r\n'
    answers = {"DESCRIBE": challenge}

    with camera(answers, GOOD) as made:

        def admit(text: str) -> bytes:
            return described(VIDEO_ONLY) if "Authorization" in text else challenge

        class Admitting(dict[str, bytes]):
            def get(self, method: str, default: bytes) -> bytes:  # type: ignore[override]
                return admit(made.asked[-1]) if method == "DESCRIBE" else default

        made.answers = Admitting()
        watch(made, 2, username="owner", password="secret-word")
    counts = re.findall(r"nc=([0-9a-f]{8})", "".join(made.asked))
    assert counts == [f"{number:08x}" for number in range(1, len(counts) + 1)]
    assert len(counts) >= 4


ENDS: dict[str, tuple[bytes, str]] = {
    "silence": (b"", "stalled"),
    "out of step": (b"\0\0\0\1 what", "protocol-error"),
}


@pytest.mark.parametrize(("media", "reason"), ENDS.values(), ids=ENDS.keys())
def test_last_whole_picture_is_kept_when_a_session_ends(media: bytes, reason: str) -> None:
    """What the marker says is whole is handed over before the end is told; the half of a picture is not."""
    half = frame(send("h264", PICTURES[:1])[0])[:-100]
    with camera(media=GOOD + media if media else GOOD + half) as made:
        clock = SystemClock()
        session = open_own_session(Endpoint(made.url), clock, PacketLoss(clock), 1.0)
        arrivals = []
        with pytest.raises(CaptureError) as raised:
            arrivals.extend(iter_into(session.read(), arrivals.append))
        session.close()
    assert raised.value.reason == reason
    assert [arrival.data for arrival in arrivals] == [picture.data for picture in PICTURES]


def iter_into(items: Iterator[Arrival], take: Callable[[Arrival], None]) -> list[Arrival]:
    for item in items:
        take(item)
    return []


def test_packet_that_is_missing_is_counted_and_told() -> None:
    """A gap in the numbers over TCP: counted, and the pictures up to the next keyframe are damaged."""
    packets = send("h264", PICTURES)
    clock = SystemClock()
    loss = PacketLoss(clock)
    place = next(at for at, packet in enumerate(packets) if packet[4:8] == (7200).to_bytes(4, "big"))
    with camera(media=b"".join(frame(packet) for at, packet in enumerate(packets) if at != place)) as made:
        session = open_own_session(Endpoint(made.url), clock, loss, 1.0)
        arrivals: list[Arrival] = []
        with pytest.raises(CaptureError):
            iter_into(session.read(), arrivals.append)
        session.close()
    assert loss.facts()["lost_packets"] == 1
    assert [arrival.is_damaged for arrival in arrivals] == [False, False, True, True, False, False]
    assert not any(arrival.data for arrival in arrivals if arrival.is_damaged)


def test_flood_of_small_fragments_costs_the_others_little() -> None:
    """A camera that sends fragments of a byte as fast as its line takes them gets a small share of a processor."""
    nal = make_picture("h264", 1, key=True).nals[-1]
    head, kind = nal[0] & 0xE0 | 28, nal[0] & 0x1F
    parts = [bytes((head, 0x80 | kind)) + nal[1:]] + [bytes((head, kind)) + b"x"] * 40_000
    flood = b"".join(map(frame, number_packets([(part, 0, False) for part in parts])))
    clock, used_s, released = SystemClock(), 0.0, threading.Event()
    loss = PacketLoss(clock)

    with camera(media=flood * 30) as made:
        session = open_own_session(Endpoint(made.url), clock, loss, 2.0, released)

        def read() -> None:
            nonlocal used_s
            began = time.thread_time()
            with contextlib.suppress(CaptureError):
                iter_into(session.read(), lambda _: None)
            used_s = time.thread_time() - began

        reading = threading.Thread(target=read)
        began = clock.boot()
        reading.start()
        reading.join(3)
        released.set()
        reading.join(5)
        took_s = (clock.boot() - began) / SECOND_NS
        session.close()
    assert not reading.is_alive()
    assert used_s < took_s / 5, (used_s, took_s)
    assert 1 <= loss.facts()["held_back_s"] <= took_s


def test_camera_within_its_allowance_is_not_held_back() -> None:
    """Nor is one whose pictures wait because a disk is slow."""
    clock = SystemClock()
    loss = PacketLoss(clock)
    with camera(media=GOOD, closes=True) as made:
        session = open_own_session(Endpoint(made.url), clock, loss, 2.0)
        session._connection.allowance.spend(10_000)
        list(session.look())
        session.stand()
        time.sleep(1.1)
        with pytest.raises(CaptureError):
            iter_into(session.read(), lambda _: None)
        session.close()
    assert "held_back_s" not in loss.facts()


def test_a_network_layer_without_stamps_records_all_the_same(monkeypatch) -> None:
    """gVisor and qemu-user know no SO_TIMESTAMPNS: arrival is the moment of the read, and nothing fails."""
    monkeypatch.setattr("edge_agent.capture.rtsp.connection.SO_TIMESTAMPNS", 9999)
    with camera(media=GOOD) as made:
        before = time.time_ns()
        arrivals = watch(made)
        assert len(arrivals) == 3
        assert all(before <= each.utc <= time.time_ns() for each in arrivals)


def test_what_came_is_read_though_the_camera_takes_nothing() -> None:
    """A sign of life that cannot be sent ends no session: every picture is read first, then the end is told."""
    with camera(media=GOOD, closes=True) as made:
        clock = SystemClock()
        session = open_own_session(Endpoint(made.url), clock, PacketLoss(clock), 2.0)
        session._connection._socket.shutdown(socket.SHUT_WR)
        arrivals: list[Arrival] = []
        session._keep_alive._due = MonoNs(0)
        session.stand()
        session._keep_alive._due = MonoNs(0)
        with pytest.raises(CaptureError) as raised:
            iter_into(session.read(), arrivals.append)
        session.close()
    assert raised.value.reason == "ended"
    assert [arrival.data for arrival in arrivals] == [picture.data for picture in PICTURES]


def test_keep_alive_with_a_stale_nonce_is_repeated_at_once() -> None:
    """Once in a turn: the next turn may come when the session is over, and a camera may call every nonce stale."""
    challenge = b'RTSP/1.0 401 No\r\nCSeq: N\r\nWWW-Authenticate: Digest realm="c", nonce="n", stale=true\r\n\r\n'
    offers = b"RTSP/1.0 200 OK\r\nCSeq: N\r\nPublic: GET_PARAMETER\r\n\r\n"
    with camera({"OPTIONS": offers, "GET_PARAMETER": challenge}) as made:
        with pytest.raises(CaptureError, match="no picture arrives"):
            watch(made, silence_s=1.2, username="owner", password="secret")
        asked = [each for each in made.asked if each.startswith("GET_PARAMETER")]
    assert ["Authorization" in each for each in asked] == [False, True]

"""One plain question to a camera, and answers of many forms."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edge_agent.capture.session.rtsp_probe import ask_description, describe
from edge_agent.capture.session.sample import find_codec
from edge_agent.setup.probe import read_head

pytestmark = pytest.mark.peer
NOBODY = ("", "")
Talk = Callable[[socket.socket], None]
SDP = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


@contextmanager
def serve(talk: Talk) -> Iterator[str]:
    """Let one client in; give the address."""

    def run() -> None:
        with server.accept()[0] as connection:
            try:
                talk(connection)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/live"
    thread.join(10)


def say(*parts: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.02)
        connection.recv(4096)

    return talk


LENGTH = b"Content-Length: %d" % len(SDP)
ANSWERS = {
    "as it should be": (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n", LENGTH + b"\r\n\r\n", SDP),
    "bare line feeds": (b"RTSP/1.0 200 OK\nCSeq: 1\n" + LENGTH + b"\n\n" + SDP,),
    "the last one alone is bare": (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n" + LENGTH + b"\r\n\n" + SDP,),
    "cut in its end": (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n" + LENGTH + b"\r\n\r", b"\n" + SDP),
    "a frame before it": (b"$\0\0\4abcdRTSP/1.0 200 OK\r\nCSeq: 1\r\n" + LENGTH + b"\r\n\r\n" + SDP,),
}


@pytest.mark.parametrize("parts", ANSWERS.values(), ids=ANSWERS.keys())
def test_answer_is_understood_however_it_comes(parts: tuple[bytes, ...]) -> None:
    """What our own reader reads, the probes beside it read as well."""
    with serve(say(*parts)) as url:
        assert ask_description(url, NOBODY) == (200, [])
    with serve(say(*parts)) as url:
        assert find_codec(url, NOBODY) == "H264"


NO_ANSWERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "another banner": b"SSH-2.0-x\r\n",
    "nothing": b"",
    "a head without end": b"RTSP/1.0 200 OK\r\n" + b"X-Y: z\r\n" * 9000,
    "a body without end": b"RTSP/1.0 200 OK\r\nContent-Length: 999999999\r\n\r\n",
}


@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_is_no_answer_is_an_error(said: bytes) -> None:
    """At once, not after a time-out."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(said)

    began = time.monotonic()
    with serve(talk) as url, pytest.raises(OSError, match=r"."):
        ask_description(url, NOBODY)
    assert time.monotonic() - began < 2.5


@contextmanager
def drip(said: bytes) -> Iterator[socket.socket]:
    """Give a connection over which an answer begins and never ends: a byte each time before anybody gives up."""
    ours, theirs = socket.socketpair()
    done = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError):
            theirs.sendall(said)
            while not done.wait(0.1):
                theirs.sendall(b"x")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with ours, theirs:
        yield ours
        done.set()
        thread.join(10)


def test_head_that_drips_does_not_hold_a_probe_up() -> None:
    """There is one deadline for the whole question: each byte would begin a time-out of its own."""
    began = time.monotonic()
    with drip(b"RTSP/1.0 200 OK\r\nX: ") as connection, pytest.raises(TimeoutError):
        describe(connection, "rtsp://camera/x", time.monotonic() + 0.7)
    with drip(b"HTTP/1.1 200 OK\r\nX: ") as connection, pytest.raises(TimeoutError):
        read_head(connection, 0.7)
    assert time.monotonic() - began < 5


def test_all_answers_of_a_question_have_one_deadline() -> None:
    """A camera that answers slowly, again and again: a stale nonce may be answered twice."""
    challenge = b'RTSP/1.0 401 No\r\nWWW-Authenticate: Digest realm="c", nonce="n", stale=true\r\n\r\n'

    def talk(connection: socket.socket) -> None:
        while connection.recv(4096):
            time.sleep(0.6)
            connection.sendall(challenge)

    with serve(talk) as url, pytest.raises(TimeoutError):
        ask_description(url, ("owner", "secret"), longest_s=1.0)

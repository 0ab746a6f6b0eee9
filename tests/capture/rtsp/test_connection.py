"""What a connection keeps in memory, sends and waits for, whatever the camera does."""

import threading
import time

import pytest

from edge_agent.capture.rtsp.connection import MOST_AHEAD_BYTES, PLACE_BYTES
from edge_agent.capture.rtsp.session import open_own_session
from edge_agent.capture.session.interface import Endpoint
from edge_agent.capture.session.packet_loss import PacketLoss
from edge_agent.host.clock import SystemClock

from .packets import frame
from .test_session import camera

pytestmark = pytest.mark.peer


def test_empty_frames_before_an_answer_take_bounded_memory() -> None:
    """Of what comes before PLAY is answered, places count like bytes: empty frames are a place of 128 bytes each."""
    answer = b"RTSP/1.0 200 OK\r\nCSeq: N\r\nSession: 7\r\n\r\n"
    clock = SystemClock()
    with camera({"PLAY": frame(b"") * 12_000 + answer}) as made:
        session = open_own_session(Endpoint(made.url), clock, PacketLoss(clock))
        kept = sum(len(received.pieces.frames) for received in session._connection.ahead)
        session.close()
    assert kept * PLACE_BYTES <= MOST_AHEAD_BYTES


def test_session_of_a_camera_that_owes_is_closed_without_haste() -> None:
    """While the answer to TEARDOWN is waited for, nothing is read of a camera that has sent too much, nor asked for."""
    clock, released = SystemClock(), threading.Event()
    with camera({"TEARDOWN": b""}) as made:
        session = open_own_session(Endpoint(made.url), clock, PacketLoss(clock), released=released)
        session._connection.allowance.spend(1_000_000)
        released.set()
        began = time.thread_time()
        session.close()
        assert time.thread_time() - began < 0.05

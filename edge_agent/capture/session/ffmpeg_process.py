"""A session that FFmpeg reads in a child process (``session.ffmpeg_child``): its life, and what comes out of it.

Owns the child, from its start to its end, and the times after which it is killed: FFmpeg cannot be interrupted, a
process can. The login goes over a pipe, never by argument or environment. Arrivals are timed in the child, by the
time since boot, which is the same in every process; the wall clock is the recorder's.
"""

import contextlib
import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from edge_agent.capture.camera_tls import system_trust
from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.session import ffmpeg_messages as wire
from edge_agent.capture.session.interface import Arrival, Endpoint, LossListener
from edge_agent.host.clock import Clock
from edge_agent.media.packets import TrackTemplate
from edge_agent.units import SECOND_NS

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[3]
CHILD = (sys.executable, "-E", "-s", "-B", "-m", "edge_agent.capture.session.ffmpeg_child")
# Nothing of this process's environment; one heap, because the child has one thread that matters.
_CHILD_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
START_TIMEOUT_S = 30.0
"""Until Python has started and FFmpeg is loaded: 0.4 s, many seconds on a small machine that starts 16 at once."""
_GRACE_S = 2.0
"""FFmpeg's own time-outs come first: they know more."""
_CLOSE_S = 1.0
"""For TEARDOWN: a camera that is not told keeps its session for a minute."""
_LOOK_S = 0.2
_PIPE_BYTES = 1 << 20
_READ_BYTES = 256 << 10


class ProcessSession:
    """An open session (``interface.Session``) of a child. One thread only; close it.

    Args:
        child: Just started, with its job.
        clock: The gateway's clocks.
        loss: Told of packets that are lost, and of those that the camera sent.
        released: Ends opening and reading at once.
    """

    def __init__(
        self, child: "subprocess.Popen[bytes]", clock: Clock, loss: LossListener, released: threading.Event
    ) -> None:
        assert child.stdout is not None
        self._child, self._clock, self._loss, self._released = child, clock, loss, released
        self._out = child.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._received = bytearray()
        self._latest = clock.boot()
        self._silence_s = START_TIMEOUT_S
        self.tracks: tuple[TrackTemplate, ...] = ()
        self.reorders = False
        self.silence = ""

    def open(self, open_timeout_s: float, silence_s: float) -> None:
        """Wait until the session is open; CaptureError if it cannot be opened, or not in time."""
        kind, body = self._next(START_TIMEOUT_S, "reader-failed")
        if kind == wire.READY:
            if not any(body):
                _warn_of_no_wall()
            kind, body = self._next(open_timeout_s + _GRACE_S, "no-answer")
        if kind != wire.OPENED:
            raise CaptureError(wire.FAILED, "it did not begin")
        opened = wire.parse_opened(body)
        self.tracks, self.reorders, self.silence = opened.tracks, opened.reorders, opened.silence
        self._silence_s = silence_s + _GRACE_S

    def read(self) -> Iterator[Arrival]:
        """Yield access units as they arrive, until the session is released.

        Raises:
            CaptureError: The camera ended the session, was silent for too long, or broke the protocol; or the child
                did.
        """
        while not self._released.is_set():
            kind, body = self._next(self._silence_s, "stalled")
            if kind != wire.ARRIVED:
                raise CaptureError(wire.FAILED, "it began twice")
            boot, utc = self._clock.boot(), self._clock.utc()
            arrival = wire.parse_arrival(body, len(self.tracks), utc, boot, self._latest)
            self._latest = arrival.boot
            yield arrival

    def close(self) -> None:
        """Have the child say TEARDOWN, and end it in any case."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._child.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the child without a word to the camera."""
        self._child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_CLOSE_S)

    def _next(self, timeout_s: float, reason: str) -> tuple[bytes, bytes]:
        """Return the next message that is not about losses; CaptureError if the session or the child has ended.

        Args:
            timeout_s: How long it may take.
            reason: What it means if it takes longer.
        """
        while True:
            self._fill(wire.FRAME.size, timeout_s, reason)
            kind, size = wire.FRAME.unpack_from(self._received)
            if size > wire.MAX_MESSAGE_BYTES:
                raise CaptureError(wire.FAILED, "it sent too much at once")
            end = wire.FRAME.size + size
            self._fill(end, timeout_s, reason)
            body = bytes(memoryview(self._received)[wire.FRAME.size : end])
            del self._received[:end]
            if kind == wire.END:
                raise wire.parse_end(body)
            if kind == wire.MISSED:
                self._loss.missed(wire.parse_count(body)[1])
            elif kind == wire.SENT:
                self._loss.sent(*wire.parse_count(body))
            else:
                return kind, body

    def _fill(self, wanted: int, timeout_s: float, reason: str) -> None:
        until = self._clock.boot() + int(timeout_s * SECOND_NS)
        while len(self._received) < wanted:
            if self._released.is_set():
                raise CaptureError("ended")
            if self._poll.poll(_LOOK_S * 1000):
                part = os.read(self._out, _READ_BYTES)
                if not part:
                    raise CaptureError(wire.FAILED, self._find_end())
                self._received += part
            elif self._clock.boot() > until:
                raise CaptureError(reason)

    def _find_end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._child.wait(_CLOSE_S)
            return f"exit={code}" if code >= 0 else f"signal={signal.Signals(-code).name}"
        return "it closed its pipe"


def open_session(
    endpoint: Endpoint,
    clock: Clock,
    loss: LossListener,
    silence_s: float,
    released: threading.Event,
    program: Sequence[str] = CHILD,
) -> ProcessSession:
    """Start a child and have it open a session.

    Args:
        endpoint: Where and how.
        clock: The gateway's clocks.
        loss: Told of packets that are lost, and of those that the camera sent.
        silence_s: How long the session may send nothing before it is over.
        released: Set when nobody wants the session any more: opening and reading end at once.
        program: What is started; a test starts something worse.

    Raises:
        CaptureError: The reason in words; nothing secret in it. No child is left.
    """
    if endpoint.url.startswith("rtsps://") and endpoint.trust is None:
        endpoint = replace(endpoint, trust=system_trust())
    try:
        child = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            bufsize=0, cwd=_ROOT, env=_CHILD_ENVIRONMENT,
        )  # fmt: skip
    except OSError as error:
        raise CaptureError(wire.FAILED, f"it did not start: {error.strerror}") from None
    session = ProcessSession(child, clock, loss, released)
    try:
        _send_job(child, wire.ReadJob(endpoint, silence_s))
        session.open(endpoint.open_timeout_s, silence_s)
    except BaseException:
        session.kill()
        session.close()
        raise
    return session


def _send_job(child: "subprocess.Popen[bytes]", job: wire.ReadJob) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(OSError):  # a user has only so much room for pipes
        fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    # By the pipe: arguments and environment of a process can be read by its user's other programs.
    with contextlib.suppress(BrokenPipeError):  # its end is told by its exit
        wire.write_message(child.stdin.fileno(), wire.READY, wire.encode_job(job))


@cache
def _warn_of_no_wall() -> None:
    """Say once what this kernel lacks."""
    log.warning("kernel has no Landlock: a process that reads a camera by FFmpeg is not denied the recorder's files")

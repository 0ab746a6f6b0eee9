"""Hands keyframes to the child that looks at pictures, and takes back what it saw.

Owns the pipe, its time-outs and the child's life; the wire format of both directions. The libraries that decode
pictures and compare them (FFmpeg's decoder, OpenCV) live in the child alone: its crash costs a look, never recording. A
keyframe exists in memory only, and one that finds the child busy is dropped.
"""

import contextlib
import json
import logging
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.capture.backoff import Backoff
from edge_agent.host.clock import Clock
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs, UtcNs

log = logging.getLogger(__name__)

HEALTH_EVERY_NS = 10 * SECOND_NS
MOTION_EVERY_NS = SECOND_NS // 2
MAX_KEYFRAME_BYTES = 8 << 20
ANSWER_TIMEOUT_S = 5.0
START_TIMEOUT_S = 30.0
FIRST_SKIP_NS = MINUTE_NS
LONGEST_SKIP_NS = 60 * MINUTE_NS
_MAX_ANSWER_BYTES = 1024
_STOP_TIMEOUT_S = 2.0
_ROOT = Path(__file__).resolve().parents[3]
_CHILD = (sys.executable, "-E", "-s", "-B", "-m", "edge_agent.capture.pictures.analyser_child")
# Nothing of this process's environment; threads that NumPy starts when it is imported could not be confined any more.
_CHILD_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}

# One keyframe on the wire: a header, then extradata, then the keyframe. Little-endian.
#    0  2  stream       the recorder's number of it
#    2  1  codec        place in CODECS
#    3  1  wanted       WANTS_HEALTH | WANTS_MOTION
#    4  4  extradata    length in bytes
#    8  4  keyframe     length in bytes
# The answer is one line of JSON: {"health": code or null, "motion_percent": number or null}
HEADER = struct.Struct("<HBBII")
CODECS = ("h264", "hevc", "mjpeg")
WANTS_HEALTH, WANTS_MOTION = 1, 2

HEALTH = {
    "ok": "the picture is as usual",
    "black": "the picture is black",
    "covered": "the picture shows next to nothing: is something before the lens?",
    "frozen": "the same picture comes again and again",
    "out-of-focus": "the picture has become blurred",
    "moved": "the camera looks somewhere else than it used to",
}
"""The verdicts on a picture; the codes stand in the status."""


class StreamView:
    """The knowledge of one stream's pictures. Any thread.

    Args:
        number: Of the stream, on the wire.
        name: ``<camera>.<quality>``, for the log.
        looks_at_health: Whether its health is of interest.
        on_motion: Told the moved part of each picture in percent; None if motion triggers nothing.
    """

    def __init__(
        self, number: int, name: str, *, looks_at_health: bool, on_motion: Callable[[float], None] | None
    ) -> None:
        self.number, self.name = number, name
        self._looks_at_health, self._on_motion = looks_at_health, on_motion
        self._health: tuple[str, UtcNs] | None = None
        self._health_due = self._motion_due = self._skip_until = MonoNs(0)
        self._skip_ns = FIRST_SKIP_NS

    @property
    def health(self) -> tuple[str, UtcNs] | None:
        """The code of ``HEALTH`` and since when; None before the first look."""
        return self._health

    def wants(self, now: MonoNs) -> int:
        """Return what a keyframe of now would be looked at for; 0 for nothing."""
        if now < self._skip_until:
            return 0
        health = WANTS_HEALTH if self._looks_at_health and now >= self._health_due else 0
        motion = WANTS_MOTION if self._on_motion is not None and now >= self._motion_due else 0
        return health | motion

    def note_sent(self, wanted: int, now: MonoNs) -> None:
        """Remember that a keyframe is on its way."""
        if wanted & WANTS_HEALTH:
            self._health_due = MonoNs(now + HEALTH_EVERY_NS)
        if wanted & WANTS_MOTION:
            self._motion_due = MonoNs(now + MOTION_EVERY_NS)

    def take(self, health: object, motion_percent: object, utc: UtcNs) -> None:
        """Take in the child's verdict; one that it may not give is ignored."""
        self._skip_ns = FIRST_SKIP_NS
        if isinstance(health, str) and health in HEALTH and (self._health is None or self._health[0] != health):
            if health != "ok":
                log.warning("picture is %s stream=%s: %s", health, self.name, HEALTH[health])
            elif self._health is not None:
                log.info("picture is as usual again stream=%s", self.name)
            self._health = (health, utc)
        if self._on_motion is not None and isinstance(motion_percent, int | float):
            self._on_motion(float(motion_percent))

    def skip(self, now: MonoNs) -> None:
        """Leave this stream's pictures alone for a while, longer each time: the child fell over one."""
        self._skip_until = MonoNs(now + self._skip_ns)
        self._skip_ns = min(LONGEST_SKIP_NS, 2 * self._skip_ns)


@dataclass(frozen=True, slots=True)
class _Keyframe:
    view: StreamView
    wanted: int
    codec: int
    extradata: bytes = field(repr=False)
    data: bytes = field(repr=False)


class PictureWatch:
    """Runs the child for ever and gives it one keyframe at a time.

    Args:
        clock: The gateway's clocks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: dict[int, _Keyframe] = {}
        self._stopping = False
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._main, name="pictures", daemon=True)

    @property
    def child_pid(self) -> int | None:
        """The child's process id, while there is one."""
        child = self._child
        return None if child is None else child.pid

    def start(self) -> None:
        """Begin to look, with the first keyframe."""
        self._thread.start()

    def close(self) -> None:
        """End the child and the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            if self._child is not None:
                self._child.kill()
        if self._thread.ident is not None:
            self._thread.join(_STOP_TIMEOUT_S)

    def offer(self, view: StreamView, codec: str, extradata: bytes, keyframe: bytes) -> None:
        """Leave a keyframe to be looked at, if one is due. From the stream's own thread; never blocks.

        One keyframe per stream waits at most: a later one takes the place of one that the child was too busy for.
        """
        now = self._clock.boot()
        wanted = view.wants(now)
        if not wanted or codec not in CODECS or len(keyframe) > MAX_KEYFRAME_BYTES:
            return
        with self._changed:
            before = self._waiting.get(view.number)
            # The one that is replaced was never looked at: what it was wanted for still is.
            wanted |= before.wanted if before is not None else 0
            self._waiting[view.number] = _Keyframe(view, wanted, CODECS.index(codec), extradata, keyframe)
            view.note_sent(wanted, now)
            self._changed.notify()

    def _main(self) -> None:
        backoff = Backoff(random.SystemRandom())
        while not self._stopping:
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    self._start_child(theirs)
                if self._serve(ours):
                    backoff.reset()
            self._end_child()
            with self._changed:
                if not self._stopping:
                    log.warning("child that looks at pictures ended and is started again")
                    self._changed.wait_for(lambda: self._stopping, backoff.next_ns() / SECOND_NS)

    def _start_child(self, line: socket.socket) -> None:
        with self._changed:
            # No child before there is something to see, and none after the end.
            self._changed.wait_for(lambda: self._stopping or bool(self._waiting))
            if self._stopping:
                return
            try:
                self._child = subprocess.Popen(
                    _CHILD, stdin=line.fileno(), stdout=line.fileno(), cwd=_ROOT, env=_CHILD_ENVIRONMENT
                )
            except OSError as error:  # no process, memory or descriptor is left: nobody answers, and it is tried again
                log.warning("child that looks at pictures cannot be started: %s", error.strerror)

    def _serve(self, line: socket.socket) -> bool:
        """Hand over keyframes until the child fails or the end; tell whether it ever answered."""
        timeout_s, has_answered = START_TIMEOUT_S, False
        while (keyframe := self._next()) is not None:
            try:
                answer = _ask(line, keyframe, timeout_s)
            except (OSError, ValueError) as error:
                if not self._stopping:
                    log.warning("picture not looked at stream=%s: %s", keyframe.view.name, type(error).__name__)
                    keyframe.view.skip(self._clock.boot())
                return has_answered
            timeout_s, has_answered = ANSWER_TIMEOUT_S, True
            keyframe.view.take(answer.get("health"), answer.get("motion_percent"), self._clock.utc())
        return has_answered

    def _next(self) -> _Keyframe | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or bool(self._waiting))
            if self._stopping:
                return None
            # A dict keeps its order: the stream that has waited longest is next.
            return self._waiting.pop(next(iter(self._waiting)))

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_STOP_TIMEOUT_S)


def _ask(line: socket.socket, keyframe: _Keyframe, timeout_s: float) -> dict[str, object]:
    """Send a keyframe and return the child's answer; OSError or ValueError if none comes in time."""
    line.settimeout(timeout_s)
    sizes = len(keyframe.extradata), len(keyframe.data)
    line.sendall(HEADER.pack(keyframe.view.number, keyframe.codec, keyframe.wanted, *sizes))
    line.sendall(keyframe.extradata)
    line.sendall(keyframe.data)
    answer = b""
    while not answer.endswith(b"\n"):
        part = line.recv(_MAX_ANSWER_BYTES)
        answer += part
        if not part or len(answer) > _MAX_ANSWER_BYTES:
            raise ValueError("no answer")
    found = json.loads(answer)
    if not isinstance(found, dict):
        raise ValueError("no answer")
    return found

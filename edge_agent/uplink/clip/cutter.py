"""Drives the clip child: records in, MP4 and events out, in flat memory and bounded time.

Owns the child's life. The releaser decrypts; everything that parses a camera's bytes happens over there, behind two
pipes. The child's words about itself are checked (the digests against the record's commitment) or used as a name only.
"""

import fcntl
import io
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from edge_agent.errors import EdgeAgentError, EvidenceError
from edge_agent.uplink.clip import messages as wire

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[3]
CHILD = (sys.executable, "-E", "-s", "-B", "-m", "edge_agent.uplink.clip.cutter_child")
_CHILD_ENVIRONMENT = {
    # glibc would give every freed megabyte back and fault it in again for the next record.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
    # Threads that NumPy starts when it is imported could not be confined any more.
    "OPENBLAS_NUM_THREADS": "1",
}
_PIPE_BYTES = 1 << 20
"""The most that Linux by default grants without privileges (``pipe(7)``, pipe-max-size): the two processes
wake each other less often."""
_READ_BYTES = 256 << 10
_JOIN_S = 5.0
"""A process that was killed is gone in less, unless a disk holds it."""


class ClipError(EdgeAgentError):
    """The clip could not be made: the child crashed, hung, or broke its limits; other clips are not concerned."""

    exit_code = os.EX_DATAERR


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One record of the ring, decrypted, on its way to the child."""

    head: wire.RecordHead
    nut: bytes | memoryview


class _Feeder:
    """Writes records into the child from a thread of its own, so that neither pipe can block the other."""

    def __init__(self, pipe: IO[bytes], job: wire.Job, records: Iterable[ClipRecord]) -> None:
        self._pipe, self._job, self._records = pipe, job, records
        self.error: BaseException | None = None
        self.is_done = False
        """Everything went into the pipe, and that it is everything."""
        self.moved_at = time.monotonic()
        self.is_reading = False
        """The ring is being read: a slow disk is not a hanging child."""
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clip-feeder", daemon=True)
        self._thread.start()

    def join(self) -> bool:
        """Wait for the thread; False if it does not end in time."""
        self._thread.join(_JOIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self._pipe:
                self._feed()
        except BrokenPipeError:
            log.debug("clip child stopped reading")
        except BaseException as error:
            self.error = error

    def _feed(self) -> None:
        descriptor = self._pipe.fileno()
        wire.write_message(descriptor, wire.JOB, wire.encode_job(self._job))
        records = iter(self._records)
        while not self.stop.is_set():
            self.is_reading = True
            record = next(records, None)
            self.is_reading, self.moved_at = False, time.monotonic()
            if record is None:
                wire.write_message(descriptor, wire.END)
                self.is_done = True
                return
            wire.write_message(descriptor, wire.RECORD, wire.encode_head(record.head))
            wire.write_message(descriptor, wire.NUT, record.nut)
            self.moved_at = time.monotonic()


def cut_clips(
    job: wire.Job, records: Iterable[ClipRecord], *, stall_s: float = 60.0, program: Sequence[str] = CHILD
) -> Iterator[bytes | wire.ClipEvent]:
    """Cut records into clips, one MP4 per continuous run.

    ``records`` is read from a thread of this function's own, one record ahead. An abandoned iterator ends the child.

    Args:
        job: Windows, audio, limits.
        records: In the order of the ring.
        stall_s: How long the child may neither read nor write before it is killed.
        program: The command that is started; a test starts something worse.

    Yields:
        The bytes of each MP4 between its ``run-start`` and ``run-end``, and the child's events.

    Raises:
        ClipError: The child crashed, hung, or ended before its job did.
        EdgeAgentError: Any error of reading ``records``.
    """
    child = subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # FFmpeg's words about a camera's bytes are that camera's: they do not get into our log.
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd=_ROOT,
        env=_CHILD_ENVIRONMENT,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    for pipe in (child.stdin, child.stdout):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    feeder = _Feeder(child.stdin, job, records)
    try:
        is_complete = False
        for message in _messages(child.stdout, feeder, stall_s):
            if isinstance(message, wire.End):
                is_complete = True
                break  # what the child still does is to end, and nobody needs to wait for it
            if isinstance(message, wire.Ready) and not message.is_walled:
                _warn_of_no_wall()
            if isinstance(message, wire.Failed):
                raise ClipError(f"clip child failed: {message.reason}")
            yield message
        feeder.join()  # it closes the pipe before it tells what went wrong
        if feeder.error is not None:
            raise feeder.error
        # Both: a child that says End before it has all records would shorten a clip without a word.
        if not (is_complete and feeder.is_done):
            with suppress(subprocess.TimeoutExpired):
                child.wait(_JOIN_S)
            raise ClipError(f"clip child ended before its job: exit={child.returncode}")
    finally:
        feeder.stop.set()
        child.kill()
        child.wait(_JOIN_S)
        child.stdout.close()
        if not feeder.join():
            log.warning("clip feeder did not end in time")


@cache
def _warn_of_no_wall() -> None:
    """Say once what this kernel lacks."""
    log.warning("kernel has no Landlock: the process that cuts clips can open nothing, but is not denied every path")


def _messages(pipe: IO[bytes], feeder: _Feeder, stall_s: float) -> Iterator[bytes | wire.ClipEvent]:
    reader = io.BufferedReader(_TimedPipe(pipe.fileno(), feeder, stall_s), _READ_BYTES)
    is_open = False
    while True:
        try:
            message = wire.read_message(reader)
            event = wire.parse_event(message[1]) if message and message[0] == wire.EVENT else None
        except EvidenceError as error:
            raise ClipError(str(error)) from error
        if message is None:
            return
        if isinstance(event, wire.RunStart | wire.RunEnd):
            # The child is not believed: a run in a run would put the bytes of one clip under
            # another's name.
            if is_open is isinstance(event, wire.RunStart):
                raise ClipError("clip child began or ended a run twice")
            is_open = not is_open
        elif event is None and not (is_open and message[0] == wire.DATA):
            raise ClipError("clip child sent bytes outside a run")
        yield message[1] if event is None else event


class _TimedPipe(io.RawIOBase):
    """The child's pipe, which gives up on a child that does nothing."""

    def __init__(self, descriptor: int, feeder: _Feeder, stall_s: float) -> None:
        self._descriptor, self._feeder, self._stall_s = descriptor, feeder, stall_s
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        self._wait()
        return os.readv(self._descriptor, [into])

    def _wait(self) -> None:
        began = time.monotonic()
        while not self._poll.poll(min(1.0, self._stall_s) * 1000):
            idle_s = time.monotonic() - max(began, self._feeder.moved_at)
            if idle_s > self._stall_s and not self._feeder.is_reading:
                raise ClipError(f"clip child hangs: idle_s={idle_s:.0f}")

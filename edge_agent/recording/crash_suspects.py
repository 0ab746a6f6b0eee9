"""Which camera made the recorder fall over, and how long it is left alone for it.

Owns the crash file and the strikes. FFmpeg may abort the process over what a camera sends, and each restart costs every
ring the rest of its open block: the camera whose thread died is held back, longer each time, and the others go on.

How the suspect is known: all cameras wait inside FFmpeg most of the time, so a mark "inside FFmpeg" would accuse them
all. A fatal signal (SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL) reaches the very thread that caused it, and Python's
``faulthandler`` writes that thread's number to a file that was opened before. The file lies in the run folder: it
outlives the process, not the boot, and costs the flash nothing. A process that is killed from outside (power, SIGKILL,
no memory left) accuses nobody.
"""

import faulthandler
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from edge_agent.host.atomic_file import write_small_file
from edge_agent.host.clock import Clock
from edge_agent.host.regular_file import open_reader, open_regular, read_regular
from edge_agent.units import DAY_NS, MINUTE_NS, MonoNs, UtcNs

log = logging.getLogger(__name__)

FIRST_HOLD_NS = MINUTE_NS
LONGEST_HOLD_NS = 60 * MINUTE_NS
FORGET_NS = DAY_NS
"""A camera that has not made the recorder fall over for so long begins at the shortest hold again."""
_MAX_FILE_BYTES = 1 << 20
_WRITE_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_CURRENT = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)
_STREAM = re.compile(r"^stream 0x([0-9a-f]+) ([^ \t\r\n]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Strike:
    """How often a stream's thread took the recorder down, and until when it is left alone."""

    count: int
    struck_at: UtcNs
    boot_id: str
    hold_until: MonoNs
    """Boot time; a hold ends with the boot it began in."""


class CrashSuspects:
    """Finds the suspect of the last crash and holds it back; any thread.

    Args:
        crash_path: In a folder that outlives the process, but not the boot.
        strikes_path: In a folder that outlives both.
        clock: The gateway's clocks.
        boot_id: The kernel's id of this boot.
    """

    def __init__(self, crash_path: Path, strikes_path: Path, clock: Clock, boot_id: bytes) -> None:
        self._crash_path, self._strikes_path, self._clock = crash_path, strikes_path, clock
        self._boot_id = boot_id.hex()
        self._strikes: dict[str, Strike] = {}
        self._file: TextIO | None = None

    def start(self) -> None:
        """Judge how the process before ended; write down from now on how this one does."""
        self._strikes = _load_strikes(self._strikes_path)
        suspect = find_suspect(_read(self._crash_path))
        if suspect is not None:
            self._strike(suspect)
        try:
            self._file = os.fdopen(open_regular(self._crash_path, _WRITE_ANEW, mode=0o640), "w")
        except OSError as error:
            log.error("crash file not made path=%s: %s", self._crash_path, error.strerror)
            return
        faulthandler.enable(self._file, all_threads=True)

    def close(self) -> None:
        """Leave word that the process ended by itself."""
        if self._file is not None:
            faulthandler.disable()
            self._file.close()
            self._file = None
            self._crash_path.unlink(missing_ok=True)

    def watch(self, stream: str, thread_ident: int) -> None:
        """Note which thread works for which stream."""
        if self._file is not None:
            self._file.write(f"stream 0x{thread_ident:x} {stream}\n")
            self._file.flush()

    def is_held_back(self, stream: str) -> bool:
        """Tell whether a stream is to be left alone now."""
        strike = self._strikes.get(stream)
        return strike is not None and strike.boot_id == self._boot_id and self._clock.boot() < strike.hold_until

    def facts(self, stream: str) -> Mapping[str, object]:
        """Return what the status tells of a stream that made the recorder fall over lately."""
        strike = self._strikes.get(stream)
        return {} if strike is None else {"crashes": strike.count, "crashed_at_ns": strike.struck_at}

    def _strike(self, stream: str) -> None:
        now, before = self._clock.utc(), self._strikes.get(stream)
        count = before.count + 1 if before is not None and now - before.struck_at < FORGET_NS else 1
        hold_ns = min(LONGEST_HOLD_NS, FIRST_HOLD_NS << min(count - 1, 10))
        until = MonoNs(self._clock.boot() + hold_ns)
        self._strikes[stream] = Strike(count, now, self._boot_id, until)
        log.error(
            "recorder fell over a camera's stream, which is held back stream=%s times=%d minutes=%d",
            stream,
            count,
            hold_ns // MINUTE_NS,
        )
        strikes = {name: [s.count, s.struck_at, s.boot_id, s.hold_until] for name, s in self._strikes.items()}
        try:
            write_small_file(self._strikes_path, json.dumps(strikes).encode())
        except OSError as error:
            log.error("strikes not written path=%s: %s", self._strikes_path, error.strerror)


def find_suspect(dump: str) -> str | None:
    """Return the stream whose thread received the fatal signal, as a crash file tells it; None for any other end."""
    died = _CURRENT.search(dump)
    if died is None:
        return None
    streams = {int(ident, 16): stream for ident, stream in _STREAM.findall(dump)}
    return streams.get(int(died[1], 16))


def _read(path: Path) -> str:
    try:
        with open_reader(path) as file:
            return file.read(_MAX_FILE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        log.error("crash file not read path=%s: %s", path, error.strerror)
        return ""


def _load_strikes(path: Path) -> dict[str, Strike]:
    try:
        found = json.loads(read_regular(path))
        return {
            str(name): Strike(int(count), UtcNs(int(at)), str(boot_id), MonoNs(int(until)))
            for name, (count, at, boot_id, until) in found.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        # A damaged file costs the memory of strikes, never recording.
        log.error("strikes not read path=%s: %s", path, type(error).__name__)
        return {}

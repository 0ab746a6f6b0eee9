"""The gateway's clocks, and whether the wall clock may be believed.

Owns every read of time in the product: other modules are handed a ``Clock`` or a ``now``. A wall clock is
``synchronised`` when the kernel says so (``adjtimex``) or timesyncd has set it within a day, else ``floor-only``: it is
then good for ordering and for nothing that a decision depends on (a Raspberry Pi 4 has no battery-backed clock).
"""

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.units import ClockState, MonoNs, UtcNs

BOOT_ID_PATH = Path("/proc/sys/kernel/random/boot_id")
TIMESYNC_MARKER = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it whenever it has compared the clock with its server; gone with the boot."""
MARKER_GOOD_FOR_S = 24 * 3600
"""A clock that was right so long ago is off by seconds at the worst: 20 ppm are usual for a Raspberry Pi."""
# <sys/timex.h>: STA_UNSYNC, and TIME_ERROR, the return value of a clock that is not synchronised.
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class Clock(Protocol):
    """The program's source of time; passed in, so that tests can turn it."""

    def utc(self) -> UtcNs:
        """Read the wall clock."""

    def boot(self) -> MonoNs:
        """Read the time since boot, which never steps."""

    def state(self) -> ClockState:
        """Return the state of the wall clock: whether a time source disciplines it."""


class _Timex(ctypes.Structure):
    # struct timex of <sys/timex.h>; only `status` and the offsets are read. The kernel fills 208 bytes on 64 bits.
    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


@dataclass(frozen=True, slots=True)
class KernelTime:
    """The answer of ``adjtimex``: the state and the kernel's own bound on the error, in microseconds."""

    state: ClockState
    max_error_us: int


def read_kernel_time() -> KernelTime:
    """Ask the kernel whether its clock is disciplined (``adjtimex``, mode 0: read only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = _Timex()
    result = libc.adjtimex(ctypes.byref(timex))
    unsynchronised = result in (-1, _TIME_ERROR) or bool(timex.status & _STA_UNSYNC)
    return KernelTime(
        ClockState.FLOOR_ONLY if unsynchronised else ClockState.SYNCHRONISED, 0 if result == -1 else timex.maxerror
    )


def has_fresh_marker(marker: Path, now: UtcNs) -> bool:
    """Tell whether timesyncd has set the clock within ``MARKER_GOOD_FOR_S``.

    Some kernels say "unsynchronised" under a clock that timesyncd keeps (a container, a bound of 16 s that was exceeded
    while the line was down).
    """
    try:
        age_s = now // 1_000_000_000 - int(marker.stat().st_mtime)
    except OSError:
        return False
    # A marker of the future is none: the clock was set back since, and the marker says nothing of
    # that.
    return 0 <= age_s <= MARKER_GOOD_FOR_S


def read_boot_id() -> bytes:
    """Return the kernel's random id of this boot: 16 bytes.

    Under systemd it is handed over in the environment: the services see no ``/proc/sys`` (``ProcSubset=pid``).
    """
    text = os.environ.get("EDGE_AGENT_BOOT_ID") or BOOT_ID_PATH.read_text()
    return bytes.fromhex(text.strip().replace("-", ""))


@dataclass(frozen=True, slots=True)
class TimeSource:
    """Whether a time source disciplines the wall clock, and the witness of it."""

    state: ClockState
    by: str
    """``kernel``, ``timesyncd``, or ``configuration`` for a trial that believes the wall clock unseen."""


class SystemClock:
    """The gateway's own clocks.

    Args:
        floor: The earliest believable time: the larger of build time, last persisted time and trust bundle's issue
            time. A wall clock below it is never synchronised.
        trust_wall_clock: Take the wall clock as synchronised whatever the kernel says: for a trial on a machine whose
            container hides the kernel's state, never for a gateway.
        marker: Of timesyncd.
        read: Reads one of the kernel's clocks.
        ask_kernel: Asks it whether a time source disciplines the first of them.
    """

    def __init__(
        self,
        floor: int = 0,
        *,
        trust_wall_clock: bool = False,
        marker: Path = TIMESYNC_MARKER,
        read: Callable[[int], int] = time.clock_gettime_ns,
        ask_kernel: Callable[[], KernelTime] = read_kernel_time,
    ) -> None:
        self._marker, self._trust_wall_clock = marker, trust_wall_clock
        self._read, self._ask_kernel = read, ask_kernel
        self.set_floor(UtcNs(floor))

    @property
    def floor(self) -> UtcNs:
        """The earliest believable time."""
        return self._floor[0]

    def set_floor(self, floor: UtcNs) -> None:
        """Take another floor from now on; one assignment, so that any thread reads a whole one."""
        self._floor = floor, self.boot()

    def utc(self) -> UtcNs:
        """Read the wall clock; if that is below the floor, the floor and the time since it was set."""
        now, (floor, since) = self.wall(), self._floor
        return now if now >= floor else UtcNs(floor + self.boot() - since)

    def wall(self) -> UtcNs:
        """Read ``CLOCK_REALTIME`` as it is, whatever the floor says: for the owner's eyes and their confirmation."""
        return UtcNs(self._read(time.CLOCK_REALTIME))

    def boot(self) -> MonoNs:
        """Read ``CLOCK_BOOTTIME``."""
        return MonoNs(self._read(time.CLOCK_BOOTTIME))

    def state(self) -> ClockState:
        """Ask the floor, then the time source."""
        return ClockState.FLOOR_ONLY if self.wall() < self.floor else self.source().state

    def source(self) -> TimeSource:
        """Ask the kernel and timesyncd's marker, whatever the floor says."""
        if self._trust_wall_clock:
            return TimeSource(ClockState.SYNCHRONISED, "configuration")
        if has_fresh_marker(self._marker, self.wall()):
            return TimeSource(ClockState.SYNCHRONISED, "timesyncd")
        return TimeSource(self._ask_kernel().state, "kernel")


def read_build_time() -> UtcNs:
    """Return when this installation was written: no later wall clock can be before it."""
    return UtcNs(int(os.stat(__file__).st_mtime) * 1_000_000_000)

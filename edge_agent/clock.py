"""The gateway's clocks, and whether the wall clock may be believed.

Owns every read of time in the product: other modules are handed a ``Clock`` or a ``now``. A wall clock is
``synchronised`` when the kernel says so (``adjtimex``) or timesyncd has set it within a day, else ``floor-only``: it is
then good for ordering and for nothing that a decision leans on (design: a Raspberry Pi 4 has no battery-backed clock).
"""

import ctypes
import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from edge_agent.units import MonoNs, UtcNs

BOOT_ID_PATH = Path("/proc/sys/kernel/random/boot_id")
TIMESYNC_MARKER = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it whenever it has compared the clock with its server; gone with the boot."""
MARKER_GOOD_FOR_S = 24 * 3600
"""A clock that was right so long ago is off by seconds at the worst: 20 ppm are usual for a Raspberry Pi."""
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class ClockState(Enum):
    """What the wall clock is good for."""

    SYNCHRONISED = "synchronised"
    FLOOR_ONLY = "floor-only"


class Clock(Protocol):
    """Where the program gets its time; passed in, so that tests can turn it."""

    def utc(self) -> UtcNs:
        """Read the wall clock."""

    def boot(self) -> MonoNs:
        """Read the time since boot, which never steps."""

    def state(self) -> ClockState:
        """Tell whether the wall clock is disciplined by a time source."""


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
    """What ``adjtimex`` says: the state and the kernel's own bound on the error, in microseconds."""

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
    return 0 <= age_s <= MARKER_GOOD_FOR_S


def read_boot_id() -> bytes:
    """Return the kernel's random id of this boot: 16 bytes.

    Under systemd it is handed over in the environment: the services see no ``/proc/sys`` (``ProcSubset=pid``).
    """
    text = os.environ.get("EDGE_AGENT_BOOT_ID") or BOOT_ID_PATH.read_text()
    return bytes.fromhex(text.strip().replace("-", ""))


class SystemClock:
    """The gateway's own clocks.

    Args:
        floor: The earliest believable time: the larger of build time, last persisted time and trust bundle's issue
            time. A wall clock below it is never synchronised.
        marker: Of timesyncd.
        trust_wall_clock: Take the wall clock as synchronised whatever the kernel says: for a trial on a machine whose
            container hides the kernel's state, never for a gateway.
    """

    def __init__(self, floor: int = 0, *, trust_wall_clock: bool = False, marker: Path = TIMESYNC_MARKER) -> None:
        self._floor, self._marker = floor, marker
        self._started = self.boot()
        self._trust_wall_clock = trust_wall_clock

    def utc(self) -> UtcNs:
        """Read ``CLOCK_REALTIME``; where that is below the floor, the floor and what has gone by since the start."""
        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
        return UtcNs(now if now >= self._floor else self._floor + self.boot() - self._started)

    def boot(self) -> MonoNs:
        """Read ``CLOCK_BOOTTIME``."""
        return MonoNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def state(self) -> ClockState:
        """Ask the floor, the kernel, and timesyncd's marker."""
        now = UtcNs(time.clock_gettime_ns(time.CLOCK_REALTIME))
        if now < self._floor:
            return ClockState.FLOOR_ONLY
        if self._trust_wall_clock or has_fresh_marker(self._marker, now):
            return ClockState.SYNCHRONISED
        return read_kernel_time().state


def read_build_time() -> UtcNs:
    """Return when this installation was written: no later wall clock can be before it."""
    return UtcNs(int(os.stat(__file__).st_mtime) * 1_000_000_000)

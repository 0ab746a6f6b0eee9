"""Stand-ins that are code: clocks that tests turn."""

import time
from pathlib import Path

from edge_agent.host.clock import KernelTime, SystemClock
from edge_agent.units import ClockState, MonoNs, UtcNs


class FakeClock:
    """A clock that moves when told: ``advance`` moves both clocks, ``step`` the wall clock alone."""

    def __init__(self, utc: int = 1_790_000_000_000_000_000, boot: int = 1_000_000_000) -> None:
        self._utc = utc
        self._boot = boot
        self.clock_state = ClockState.SYNCHRONISED

    def utc(self) -> UtcNs:
        """Read the wall clock."""
        return UtcNs(self._utc)

    def boot(self) -> MonoNs:
        """Read the time since boot."""
        return MonoNs(self._boot)

    def state(self) -> ClockState:
        """Return the state that the test chose."""
        return self.clock_state

    def advance(self, by_ns: int) -> None:
        """Let time pass."""
        self._utc += by_ns
        self._boot += by_ns

    def step(self, by_ns: int) -> None:
        """Turn the wall clock."""
        self._utc += by_ns


class FakeKernel:
    """The kernel's two clocks and its word about the first: what ``SystemClock`` reads."""

    def __init__(self, wall: int = 1_790_000_000_000_000_000, boot: int = 20_000_000_000) -> None:
        self.wall, self.boot_ns = wall, boot
        self.kernel_state = ClockState.SYNCHRONISED

    def system(self, floor: int = 0) -> SystemClock:
        """Return the real clock, reading this kernel."""
        return SystemClock(floor, marker=Path("/nonexistent/marker"), read=self._read, ask_kernel=self._ask)

    def advance(self, by_ns: int) -> None:
        """Let time pass."""
        self.wall += by_ns
        self.boot_ns += by_ns

    def step(self, by_ns: int) -> None:
        """Set the wall clock."""
        self.wall += by_ns

    def reboot(self, away_ns: int) -> None:
        """Start anew after a while, with a wall clock that has gone on."""
        self.wall += away_ns
        self.boot_ns = 20_000_000_000

    def _read(self, which: int) -> int:
        return self.wall if which == time.CLOCK_REALTIME else self.boot_ns

    def _ask(self) -> KernelTime:
        return KernelTime(self.kernel_state, 1000)

"""Stand-ins that are code: a clock that tests turn."""

from edge_agent.clock import ClockState
from edge_agent.units import MonoNs, UtcNs


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

"""Every second of a camera is footage or a GAP with its reason: this keeps the account.

Owns the end of what is accounted for. Long holes are told in pieces while they last, so that neither a crash nor a
question in between finds them unexplained. If the gateway's wall clock is set, the account moves with it: a hole is
as long as it lasted by boot time, and no hole claims the time that never was.
"""

from edge_agent.capture.run.records import Gap, Sink
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs, UtcNs

FIRST_PIECE_NS = 10 * SECOND_NS
PIECE_NS = MINUTE_NS
SHORTEST_PIECE_NS = SECOND_NS // 5
"""A reason that held for less does not get a GAP of its own."""
CLOCK_STEP_NS = SECOND_NS
"""The wall clock comes away from boot time by so much only if it is set."""
SMALL_STEP_NS = SECOND_NS // 5
"""So much may also be a thread that had to wait between reading the one and the other; not several times in a row."""
_AFTER_FOOTAGE = "stalled"
"""Why nothing follows footage, until another reason is known."""


class GapKeeper:
    """The account of one stream. One thread only.

    Args:
        sink: Where GAP records go.
        covered_until: End of what is accounted for already; what lies between it and the first footage is a GAP.
        reason: Why there is no footage until then.
    """

    def __init__(self, sink: Sink, covered_until: UtcNs, reason: str) -> None:
        self._sink = sink
        self._covered_until = covered_until
        self._reason = reason
        self._told_a_piece = False
        self._utc_minus_boot_ns: int | None = None

    @property
    def covered_until(self) -> UtcNs:
        """End of the time that is accounted for."""
        return self._covered_until

    def footage(self, start: UtcNs, end: UtcNs, boot: MonoNs) -> None:
        """Account for footage that is about to be stored; first tell the hole before it, if there is one.

        ``boot`` is that of ``start``, by the clock that ``start`` was read from.
        """
        self.follow(start, boot)
        self._tell_until(start, boot)
        self._covered_until = max(self._covered_until, end)
        self._told_a_piece = False
        self._reason = _AFTER_FOOTAGE

    def because(self, reason: str, now: UtcNs, boot: MonoNs) -> None:
        """Say why there is no footage from now on."""
        self.follow(now, boot)
        if reason != self._reason:
            if now - self._covered_until >= SHORTEST_PIECE_NS:
                self._tell_until(now, boot)
            self._reason = reason

    def wait(self, now: UtcNs, boot: MonoNs) -> None:
        """Tell a piece of a long hole; call now and then while there is no footage."""
        self.follow(now, boot)
        if now - self._covered_until >= (PIECE_NS if self._told_a_piece else FIRST_PIECE_NS):
            self._tell_until(now, boot)
            self._told_a_piece = True

    def end(self, now: UtcNs, boot: MonoNs) -> None:
        """Tell the hole that there is now, if its reason is known: nobody goes on with this account."""
        self.follow(now, boot)
        if self._reason != _AFTER_FOOTAGE and now - self._covered_until >= SHORTEST_PIECE_NS:
            self._tell_until(now, boot)

    def follow(self, now: UtcNs, boot: MonoNs, least_ns: int = CLOCK_STEP_NS) -> None:
        """Take in both clocks, read together; a wall clock that was set by ``least_ns`` moves the account with it."""
        offset_ns = now - boot
        step_ns = 0 if self._utc_minus_boot_ns is None else offset_ns - self._utc_minus_boot_ns
        if abs(step_ns) > least_ns:
            self._covered_until = UtcNs(self._covered_until + step_ns)
        self._utc_minus_boot_ns = offset_ns

    def _tell_until(self, end: UtcNs, boot: MonoNs) -> None:
        if end > self._covered_until:
            start, duration_ns = self._covered_until, end - self._covered_until
            self._covered_until = end
            self._sink.gap(Gap(start, duration_ns, MonoNs(max(0, boot - duration_ns)), self._reason))

"""How one stream does, for people: since when, why, how much.

Owns the numbers that the status file shows. Written by the camera's thread, read by any.
"""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from edge_agent.capture.session.packet_loss import WARNING_HELD_BACK_S, PacketLoss, is_lossy
from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS, MonoNs, UtcNs

_RATE_WINDOW_NS = 10 * SECOND_NS
LONG_GOP_NS = 4 * SECOND_NS
"""So much may be missing at the start of a clip; the status warns from here on."""

CLOCK_RATE = "the camera's media clock does not run as fast as time does: its pictures are timed by their arrival"
CLOCK_STANDS = "the RTP time of the camera's pictures stands still: they are timed by their arrival"


class StreamStatus:
    """The state of one stream; every method is safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        self.loss = PacketLoss(clock)
        """The losses on the way; the session's own account."""
        self._lock = threading.Lock()
        self._state, self._reason, self._detail, self._since = "connecting", "", "", clock.utc()
        self._facts: dict[str, Any] = {}
        self._arrived: deque[tuple[MonoNs, int]] = deque()
        self._arrived_bytes = 0

    def enter(self, state: str, reason: str, now: UtcNs, detail: str = "") -> bool:
        """Note a state (``recording``, ``connecting``, ``down``, ``waiting``, ``off``) and its reason.

        Args:
            state: One of those.
            reason: One of ``capture.reasons``, or nothing.
            now: The time.
            detail: Other facts, such as a status number; nothing secret. A new one alone is no news.

        Returns:
            Whether that is news.
        """
        with self._lock:
            self._detail = detail
            if (state, reason) == (self._state, self._reason):
                return False
            self._state, self._reason, self._since = state, reason, now
            return True

    @property
    def state(self) -> str:
        """The state as last entered."""
        with self._lock:
            return self._state

    def note(self, **facts: Any) -> None:
        """Set facts by name."""
        with self._lock:
            self._facts.update(facts)

    def count(self, boot: MonoNs, size_bytes: int) -> None:
        """Count one packet that arrived."""
        with self._lock:
            self._arrived.append((boot, size_bytes))
            self._arrived_bytes += size_bytes
            while self._arrived[0][0] < boot - _RATE_WINDOW_NS:
                self._arrived_bytes -= self._arrived.popleft()[1]

    def snapshot(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        lost = self.loss.facts()
        with self._lock:
            span_ns = self._arrived[-1][0] - self._arrived[0][0] if self._arrived else 0
            rate = self._arrived_bytes * 8 * SECOND_NS // span_ns if span_ns > 0 else 0
            return {
                "state": self._state,
                "since": self._since,
                "reason": self._reason,
                "detail": self._detail,
                "bitrate": rate if self._state == "recording" else 0,
                **self._facts,
                **lost,
            }


def list_warnings(facts: Mapping[str, Any]) -> list[str]:
    """Return what somebody should know of a stream that is recorded, from its snapshot."""
    warnings = []
    if facts["state"] == "recording" and facts.get("gop_ns", 0) > LONG_GOP_NS:
        seconds = facts["gop_ns"] / SECOND_NS
        warnings.append(f"a keyframe only every {seconds:.1f}s: so much may be missing at a clip's start")
    if facts["state"] == "recording" and (ppm := facts.get("clock_rate_ppm", 0)):
        warnings.append(f"clock-rate: {CLOCK_RATE} (by {ppm / 10_000:+.1f} %): set the encoder's rate of pictures anew")
    if facts["state"] == "recording" and facts.get("clock_stands"):
        warnings.append(f"clock-stands: {CLOCK_STANDS}; newer firmware")
    if facts["state"] == "recording" and (silence := facts.get("silence")):
        warnings.append(f"sound is not recorded: {silence}: choose AAC, G.711 or Opus in the camera, or `audio: false`")
    if facts.get("pre_roll_short"):
        warnings.append(
            "a keyframe so rarely that what comes before an event is too much to keep: it is recorded from the next "
            "keyframe on; have the encoder send more of them"
        )
    if facts["state"] == "recording" and (held_s := facts.get("held_back_s", 0)) >= WARNING_HELD_BACK_S:
        warnings.append(
            f"it sends more than is taken of one camera, and was held back for {held_s}s in five minutes: "
            "a lower bit rate, or fewer slices a picture"
        )
    packets, percent = facts.get("lost_packets", 0), facts.get("lost_percent")
    if is_lossy(packets, percent):
        share = f"{packets} packets" if percent is None else f"{percent:g} % of the packets"
        warnings.append(
            f"{share} lost on the way in five minutes, most GOPs are damaged: use transport: tcp, or a lower bit rate"
        )
    return warnings

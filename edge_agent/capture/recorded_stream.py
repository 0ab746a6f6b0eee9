"""A stream for a camera's thread: its name, its address, and the rules by which it is recorded."""

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.capture.session.interface import Endpoint
from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS, MonoNs

BY_RULE = "not-by-rule"
"""The reason of a stream that waits for an event, one of ``capture.reasons``."""
WATCHDOG_NS = 10 * SECOND_NS
"""The longest time without a whole video access unit, whatever else the session does."""


@dataclass(frozen=True, slots=True)
class Look:
    """Another use of a stream's keyframes, besides recording them."""

    offer: Callable[[str, bytes, bytes], None]
    """Takes codec, extradata and a keyframe, at once or not at all."""
    keeps_open: bool = False
    """The session stays open while nothing is to be recorded by rule: its pictures tell when something is."""
    before_ns: int = 0
    """The span before such a moment that is recorded with it, besides the GOP in which it falls."""


@dataclass(frozen=True, slots=True)
class RecordedStream:
    """One stream of a camera, and the rules by which it is recorded."""

    name: str
    """``<camera>.<quality>``, for log and thread name."""
    resolve: Callable[[], Endpoint]
    """Returns the stream's address; asked before every attempt. May raise ``CaptureError``."""
    hold: Callable[[], str] = lambda: ""
    """Returns why the stream is not to be recorded now, or an empty text; asked all the time."""
    look: Look | None = None
    """Uses keyframes besides recording them."""
    watchdog_ns: int = WATCHDOG_NS
    """As ``WATCHDOG_NS``, for this stream."""


class Hold:
    """Tells why a stream is not to be recorded now, and remembers since when that is by rule. Any thread.

    Asked at each packet, or each round, by the thread that reads: also while a disk holds up the one that records.
    """

    def __init__(self, ask: Callable[[], str], clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self.ruled_since: MonoNs | None = None
        """Since when the stream waits for an event; None if it does not."""

    def __call__(self) -> str:
        """Return why the stream is not to be recorded now, or an empty text."""
        reason = self._ask()
        self.ruled_since = (self.ruled_since or self._clock.boot()) if reason == BY_RULE else None
        return reason

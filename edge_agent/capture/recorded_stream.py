"""A stream for a camera's thread: its name, its address, and the rules by which it is recorded."""

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.capture.session.interface import Endpoint
from edge_agent.units import SECOND_NS

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

"""How much of one stream was lost on the way, or had to wait, over the last minutes.

Owns the account of RTP packets that never came, of those that the camera says it sent, and of the time for which
nothing was read because the camera was over its allowance (``capture.rtsp.allowance``). Holds numbers only, in a
fixed number of places, whatever a camera does.

What can be known are the gaps in the numbers of RTP packets: over TCP and TLS our own reader sees them
(``capture.rtsp.rtp``), over UDP FFmpeg, before the packets are put together (``capture.session.ffmpeg_log``). If FFmpeg
reads over TCP, nothing is counted: it looks for gaps only if it is given a queue for reordering
(``reorder_queue_size``), and with one a camera that begins its numbers anew lost its session when that was tried.
Nothing counts what a camera drops before it numbers its packets.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from edge_agent.host.clock import Clock
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs

WINDOW_NS = 5 * MINUTE_NS
_PLACE_NS = 10 * SECOND_NS
"""So long one place counts; thirty of them are the window."""
MAX_GAP_PACKETS = 3000
"""A longer gap is not counted (RFC 3550 A.1, ``MAX_DROPOUT``): more likely the camera has begun to number anew. For
``capture.rtsp.rtp`` the picture in which it falls is damaged all the same: nothing tells which of the two it was."""
WARNING_PERCENT = 0.5
"""A GOP of two seconds at 4 Mbit/s is some 800 packets: from here on 98 in 100 of them lack something."""
WARNING_PACKETS = 600
"""If no sender reports come: the same share of 400 packets a second."""
WARNING_HELD_BACK_S = 30
"""In the last minutes: no camera that only sends large keyframes gets there."""
_COUNTER = 1 << 32


@dataclass(slots=True)
class _Place:
    since: MonoNs
    lost: int = 0
    compared: int = 0
    """Of the lost ones, those between two sender reports."""
    sent: int = 0
    held_back_ns: int = 0


class PacketLoss:
    """The account of one stream, over its sessions. Every method is safe from any thread.

    Args:
        clock: Its time since boot is used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._places: deque[_Place] = deque()
        self._is_counted = False
        self._waiting = 0
        self._totals: dict[int, int] = {}

    def begin(self, *, is_counted: bool) -> None:
        """Begin a session; ``is_counted`` tells whether its transport lets losses be seen."""
        with self._lock:
            self._is_counted = is_counted
            self._waiting = 0
            self._totals.clear()

    def missed(self, packets: int) -> None:
        """Note a gap in the numbers of packets."""
        if 0 < packets < MAX_GAP_PACKETS:
            with self._lock:
                self._place().lost += packets
                self._waiting += packets

    def sent(self, track: int, total: int) -> None:
        """Note a sender report: so many packets of a track has the camera sent in this session."""
        with self._lock:
            place, before = self._place(), self._totals.get(track)
            self._totals[track] = total
            if before is not None:
                # RFC 3550, 6.4.1: the packet count has 32 bits, and wraps.
                step = (total - before) % _COUNTER
                if step < _COUNTER // 2:  # a camera that counts anew tells nothing about the time in between
                    place.sent += step
                    place.compared += self._waiting
            # Lost before the first report, or across a camera's new count: no number of sent ones belongs to them.
            self._waiting = 0

    def held_back(self, duration_ns: int) -> None:
        """Note that for so long nothing was read of the camera: it sends more than it may."""
        if duration_ns > 0:
            with self._lock:
                self._place().held_back_ns += duration_ns

    def facts(self) -> dict[str, Any]:
        """Return what the status shows.

        Packets; the share in percent if sender reports tell it; and for how many seconds the camera was held back, if
        that is one at least.
        """
        with self._lock:
            if not self._is_counted:
                return {}
            self._forget()
            lost = sum(place.lost for place in self._places)
            sent = sum(place.sent for place in self._places)
            compared = min(sent, sum(place.compared for place in self._places))
            held_back_s = sum(place.held_back_ns for place in self._places) // SECOND_NS
            return (
                {"lost_packets": lost}
                | ({"lost_percent": round(100 * compared / sent, 2)} if sent else {})
                | ({"held_back_s": held_back_s} if held_back_s else {})
            )

    def _place(self) -> _Place:
        now = self._clock.boot()
        if not self._places or now - self._places[-1].since >= _PLACE_NS:
            self._places.append(_Place(now))
            self._forget()
        return self._places[-1]

    def _forget(self) -> None:
        now = self._clock.boot()
        while self._places and now - self._places[0].since >= WINDOW_NS:
            self._places.popleft()


def is_lossy(lost_packets: int, lost_percent: float | None) -> bool:
    """Tell whether so much is lost that most GOPs lack something."""
    return lost_packets >= WARNING_PACKETS if lost_percent is None else lost_percent >= WARNING_PERCENT

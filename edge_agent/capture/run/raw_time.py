"""The RTP time of a packet, free of what RTCP made of it: no sender report moves a picture.

Owns undoing FFmpeg's rule (libavformat/rtpdec.c, ``finalize_packet``): as soon as a session has sound as well, the time
of a packet is the NTP time of the last sender report and the RTP time since. Cameras send reports whose NTP time is 0,
or of a clock that is set back and forth (RFC 3550 6.4.1 demands neither). Pure: integers in, integers out.

1. Between two reports FFmpeg's PTS and RTP time differ by a constant. A report changes it by its own step in NTP time
   less its step in RTP time: that is known exactly, and is taken off again.
2. The first report changes it from the session's first RTP time to the NTP time that was seen first, of whichever
   track. Nothing tells by how much but the packets: what goes on without a step has none.
3. FFmpeg's parser hands out a report with the picture before the one that it moves: either may be meant, and the one
   that goes on without a step is. It also loses reports, those within a picture: a step of more than ``_STEP_S`` that
   neither the packets nor their arrivals explain is taken off as well, until the next report tells it exactly.
4. What the first report of each track tells about the distance of pictures and sound is believed if it brings their
   arrivals closer together. Sound whose arrivals lie further from those of the pictures than ``APART_NS`` is put back
   beside them: a report that came before the first packet, or clocks that run apart, have carried it away. Sound that
   comes before a picture has told its time has no place yet, and gets none.
"""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from edge_agent.units import SECOND_NS, MonoNs

APART_NS = 3 * SECOND_NS // 2
_FIRST_APART_NS = APART_NS // 2
"""For the first look: what lies near the limit is not to be moved by a later one, for that costs sound."""
_DELAY_WINDOW_NS = 10 * SECOND_NS
_STEP_S = 0.5
_WAIT_PACKETS = 3
"""After so many packets a report is in force, whatever their times look like."""
_WRAP = 1 << 32
_NTP_WRAP = 1 << 64
_REORDERED_STEPS = 4


@dataclass(frozen=True, slots=True)
class ReportTimes:
    """What a sender report says: NTP time, 32.32 bits, and the RTP time that belongs to it."""

    ntp: int
    rtp: int


class RawTime:
    """Takes RTCP out of the PTS of one track.

    Args:
        time_base: Of the track.
        reorders: Whether pictures are shown in another order than they come in.
    """

    def __init__(self, time_base: Fraction, *, reorders: bool = False) -> None:
        self._rate = 1 / time_base
        self._reorders = reorders
        self._shift_ticks = self._next_shift_ticks = 0
        self._report: ReportTimes | None = None
        self._ntp_sum = self._ntp_ticks = 0
        self._waits = 0
        self._is_first = self._is_placed = False
        self._latest: int | None = None
        self._latest_boot = MonoNs(0)
        # Until two packets have told it: 25 pictures a second.
        self._step_ticks = max(1, int(self._rate / 25))
        # The least delay of this window and of the one before.
        self._delays: deque[tuple[int, int]] = deque(maxlen=2)
        self._moved_ticks = 0

    @property
    def has_place(self) -> bool:
        """Tell whether a packet has told its time."""
        return self._latest is not None

    def take_moved_ns(self) -> int:
        """Return, once, how far the first report would have moved this track, if its NTP time is one."""
        moved, self._moved_ticks = self._moved_ticks, 0
        # RFC 3550, 6.4.1: a sender without a clock writes 0, which tells nothing of the other track.
        is_zero = self._report is not None and not self._report.ntp
        return 0 if is_zero else int(moved * SECOND_NS / self._rate)

    def follow_sync(self, other: "RawTime", moved_ns: int) -> int:
        """Move this track, of sound, against the other by what a first report tells, if rule 4 allows it.

        Returns:
            By how many ticks the packet that was taken last has moved with it.
        """
        apart_ns = self._apart_ns(other)
        is_closer = apart_ns is not None and abs(apart_ns - moved_ns) < abs(apart_ns)
        return self._move(moved_ns) if is_closer else 0

    def stay_beside(self, other: "RawTime") -> int:
        """Put this track, of sound, back beside the other if its arrivals say that it was carried away (rule 4).

        Returns:
            By how many ticks the packet that was taken last has moved with it.
        """
        apart_ns = self._apart_ns(other)
        if apart_ns is None:
            return 0
        is_far = abs(apart_ns) > (APART_NS if self._is_placed else _FIRST_APART_NS)
        self._is_placed = True
        return self._move(apart_ns) if is_far else 0

    def _apart_ns(self, other: "RawTime") -> int | None:
        if not self._delays or not other._delays:
            return None
        return min(least for _, least in self._delays) - min(least for _, least in other._delays)

    def _move(self, moved_ns: int) -> int:
        moved = int(moved_ns * self._rate / SECOND_NS)
        self._shift_ticks -= moved
        self._next_shift_ticks -= moved
        self._latest = None if self._latest is None else self._latest + moved
        self._delays = deque(((at, least - moved_ns) for at, least in self._delays), maxlen=2)
        return moved

    def take(self, pts: int | None, boot: MonoNs, report: ReportTimes | None) -> int | None:
        """Return a packet's PTS by its RTP time alone.

        Args:
            pts: As FFmpeg says.
            boot: When it was handed over.
            report: The sender report that came with it, if any did.
        """
        if report is not None:
            self._follow(report)
        if pts is None:
            return None
        if self._waits:
            self._decide(pts, boot)
        elif (step := self._unexplained(pts - self._shift_ticks, boot)) is not None:
            self._shift_ticks += step
        raw = pts - self._shift_ticks
        if self._latest is not None and 0 < raw - self._latest < self._rate:
            self._step_ticks = raw - self._latest
        self._latest, self._latest_boot = raw, boot
        return raw

    def note_arrival(self, pts: int, boot: MonoNs) -> None:
        """Take in where a packet that was taken lies in the end: by its RTP time, or by what stands in for it."""
        delay_ns = boot - pts * SECOND_NS // int(self._rate)
        place = boot // _DELAY_WINDOW_NS
        if self._delays and self._delays[-1][0] == place:
            delay_ns = min(delay_ns, self._delays.pop()[1])
        self._delays.append((place, delay_ns))

    def _follow(self, report: ReportTimes) -> None:
        before, self._report, self._waits = self._report, report, _WAIT_PACKETS
        self._is_first = before is None
        if before is not None:
            # Rounded from their sum, as FFmpeg does: what each step is rounded by would add up.
            self._ntp_sum += _signed(report.ntp - before.ntp, _NTP_WRAP)
            ntp_ticks = round(self._ntp_sum * self._rate / _WRAP)
            self._next_shift_ticks += ntp_ticks - self._ntp_ticks - _signed(report.rtp - before.rtp, _WRAP)
            self._ntp_ticks = ntp_ticks

    def _decide(self, pts: int, boot: MonoNs) -> None:
        self._waits -= 1
        if self._is_first:
            self._find_first_step(pts, boot)
        elif not self._waits or self._step(pts - self._next_shift_ticks, boot) < self._step(
            pts - self._shift_ticks, boot
        ):
            self._shift_ticks, self._waits = self._next_shift_ticks, 0

    def _find_first_step(self, pts: int, boot: MonoNs) -> None:
        if self._latest is None:
            self._waits = 0
            return
        allowed = self._step_ticks * (_REORDERED_STEPS if self._reorders else 1)
        if self._step(pts - self._shift_ticks, boot) <= allowed:
            return
        self._moved_ticks = pts - self._shift_ticks - self._latest - self._step_ticks
        self._shift_ticks += self._moved_ticks
        self._next_shift_ticks, self._waits = self._shift_ticks, 0

    def _unexplained(self, raw: int, boot: MonoNs) -> int | None:
        """Return by how much a packet has stepped away from its place, if only a lost report can have done that."""
        if self._latest is None or self._step(raw, boot) <= max(
            _STEP_S * self._rate, _REORDERED_STEPS * self._step_ticks
        ):
            return None
        return min(self._steps(raw, boot), key=abs)

    def _step(self, raw: int, boot: MonoNs) -> int:
        """Return how far a packet lies from its place: one step after the last, or as much later as it arrived."""
        return min((abs(step) for step in self._steps(raw, boot)), default=0)

    def _steps(self, raw: int, boot: MonoNs) -> tuple[int, ...]:
        if self._latest is None:
            return ()
        arrived = int((boot - self._latest_boot) * self._rate / SECOND_NS)
        return raw - self._latest - self._step_ticks, raw - self._latest - arrived


def _signed(value: int, wrap: int) -> int:
    return (value + wrap // 2) % wrap - wrap // 2

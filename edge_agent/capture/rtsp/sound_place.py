"""Where sound lies beside the pictures: each track has a media clock of its own, and only two things tell.

Owns the rule which of them counts. Pure: integers in, integers out.

1. The arrivals: what arrives together was taken together, less what each was held back. The least delay of some
   seconds is taken.
2. The sender reports of both tracks (RFC 3550 6.4.1), if they agree with the arrivals within ``NEAR_NS``: cameras send
   reports whose NTP time is 0, or of a clock that is set back and forth.
3. Sound is moved once by reports, and again only if it lies further from its arrivals than ``APART_NS``. Pictures are
   never moved.
"""

from collections import deque

from edge_agent.units import SECOND_NS, MonoNs

NEAR_NS = SECOND_NS // 2
APART_NS = 3 * SECOND_NS // 2
_WINDOW_NS = 10 * SECOND_NS
VIDEO, SOUND = 0, 1


class SoundPlace:
    """By how much the sound of one session lies later than its own media clock says, on that of the pictures."""

    def __init__(self) -> None:
        # The least delay of this window and of the one before: no older one counts.
        self._delays: tuple[deque[tuple[int, int]], deque[tuple[int, int]]] = (deque(maxlen=2), deque(maxlen=2))
        self._reports: list[int | None] = [None, None]
        self._shift_ns: int | None = None
        self._is_reported = False

    def arrive(self, track: int, media_ns: int, boot: MonoNs) -> None:
        """Take in when something of a track arrived, and where its own media clock has it."""
        delays = self._delays[track]
        delay_ns, window = boot - media_ns, boot // _WINDOW_NS
        if delays and delays[-1][0] == window:
            delay_ns = min(delay_ns, delays.pop()[1])
        delays.append((window, delay_ns))

    def report(self, track: int, ntp_ns: int, media_ns: int) -> None:
        """Take in a sender report: NTP time, and the place on the track's media clock that belongs to it."""
        # RFC 3550, 6.4.1: 0 is written by a sender that has no clock.
        self._reports[track] = ntp_ns - media_ns if ntp_ns else None

    def find_shift_ns(self) -> int | None:
        """Return by how much sound is to be moved; None while nothing tells."""
        video, sound = self._delays
        if not video or not sound:
            return self._shift_ns
        by_arrival = min(least for _, least in sound) - min(least for _, least in video)
        shift_ns = self._shift_ns
        if shift_ns is None or abs(shift_ns - by_arrival) > APART_NS:
            shift_ns, self._is_reported = by_arrival, False
        of_video, of_sound = self._reports
        if not self._is_reported and of_video is not None and of_sound is not None:
            reported = of_sound - of_video
            if abs(reported - by_arrival) <= NEAR_NS:
                shift_ns, self._is_reported = reported, True
        self._shift_ns = shift_ns
        return shift_ns

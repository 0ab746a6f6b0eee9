"""What FFmpeg makes of RTP time by reports, undone: a model of its rule against its inverse."""

import random
from fractions import Fraction

import pytest

from edge_agent.capture.run.raw_time import RawTime, ReportTimes
from edge_agent.units import SECOND_NS, MonoNs

RATE = 90_000
STEP = RATE // 25
NTP_S = 1 << 32
START_S = 3_900_000_000

CLOCKS = {
    "NTP 0": lambda now_s, dice: 0,
    "honest": lambda now_s, dice: int((START_S + now_s) * NTP_S),
    "set back and forth": lambda now_s, dice: int((START_S + now_s + dice.randrange(-5, 6)) * NTP_S),
    "another rate": lambda now_s, dice: int((START_S + now_s * 1.1) * NTP_S),
    "wraps": lambda now_s, dice: int(((1 << 32) - 7 + now_s) * NTP_S) % (1 << 64),
}


class Model:
    """FFmpeg's rule for a session of several streams (libavformat/rtpdec.c, ``finalize_packet``)."""

    def __init__(self, base: int) -> None:
        self._base, self._first, self._last = base, 0, None

    def report(self, ntp: int, rtp: int) -> None:
        if self._last is None:
            self._first, self._offset = ntp, rtp - self._base
        self._last = ntp, rtp

    def pts(self, rtp: int) -> int:
        if self._last is None:
            return rtp - self._base
        ntp, at = self._last
        moved = (ntp - self._first + NTP_S * (NTP_S >> 1)) % (1 << 64) - NTP_S * (NTP_S >> 1)
        return self._offset + round(Fraction(moved * RATE, NTP_S)) + rtp - at


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
@pytest.mark.parametrize("is_early", [False, True])
def test_reports_move_no_packet(clock, is_early: bool) -> None:  # type: ignore[no-untyped-def]
    """Whatever reports say, with their picture or the one before it: steps are those of RTP time."""
    for seed in range(20):
        dice = random.Random(seed)
        base = dice.getrandbits(31)
        model, raw = Model(base), RawTime(Fraction(1, RATE))
        seen = []
        for number in range(400):
            rtp = base + number * STEP
            boot = MonoNs(SECOND_NS + number * SECOND_NS // 25 + dice.randrange(SECOND_NS // 100))
            told = None
            before = model.pts(rtp)
            if number and number % 50 == 0:
                told = ReportTimes(clock(number / 25, dice), rtp % (1 << 32))
                model.report(told.ntp, rtp)
            # The parser may hand the report out with the picture before the one that it moves.
            seen.append(raw.take(before if is_early else model.pts(rtp), boot, told))
        assert seen == [number * STEP for number in range(400)]


def test_jump_of_rtp_time_is_not_hidden() -> None:
    """A camera whose RTP time and pictures pause together goes on later by as much, not at once."""
    raw = RawTime(Fraction(1, RATE))
    for number in range(50):
        raw.take(number * STEP, MonoNs(number * SECOND_NS // 25), None)
    pts = 49 * STEP + 5 * RATE
    assert raw.take(pts, MonoNs(49 * SECOND_NS // 25 + 5 * SECOND_NS), None) == pts

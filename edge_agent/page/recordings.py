"""Recordings as a resident reads them: a row per day, a cell per hour, and the gaps in words. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from edge_agent.page.languages import ENGLISH, Words
from edge_agent.page.views import say_day
from edge_agent.page.words import say_gap, say_length
from edge_agent.units import SECOND_NS, parse_rfc3339

HOUR_S = 3600
_SHORT_GAP_S = 5
"""Shorter gaps are between two connections, and not worth a sentence."""
_UNKNOWN_S = 60
"""Seconds are cut off in every part of an hour."""
UNKNOWN = "unknown"
HIDDEN_REASONS = frozenset({"time-jump", "clock-step", "new-parameters"})
"""A new run begins: nothing is missing."""


@dataclass(slots=True)
class Hour:
    """One hour of local time: the hour that clocks show twice is one cell."""

    footage_s: int = 0
    gaps_s: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def level(self) -> int:
        """How full it is: 0 nothing, 1 to 3 parts, 4 all of it."""
        if self.footage_s <= 0:
            return 0
        return 4 if self.footage_s >= HOUR_S - 60 else 1 + min(2, self.footage_s * 3 // HOUR_S)


@dataclass(frozen=True, slots=True)
class Day:
    """One day: 24 hours, and a sentence for each reason of a gap."""

    date: date
    hours: tuple[Hour, ...]
    gaps: tuple[str, ...]
    words: Words = ENGLISH

    @property
    def title(self) -> str:
        """Such as ``Sat 28 Nov``."""
        return say_day(self.date, self.words)

    @property
    def footage(self) -> str:
        """How much was recorded on this day."""
        seconds = sum(each.footage_s for each in self.hours)
        return say_length(seconds, self.words) if seconds else self.words("nothing")


def read_days(answer: Mapping[str, Any], zone: tzinfo, words: Words = ENGLISH) -> list[Day]:
    """Return the days of a camera, newest first.

    Args:
        answer: The releaser's ``recordings``: hours of UTC with seconds of footage and of each reason.
        zone: Of the house.
        words: Of the browser's language.
    """
    days: dict[date, list[Hour]] = defaultdict(lambda: [Hour() for _ in range(24)])
    cells = {_seconds(each["start"]): each for each in answer["hours"]}
    first_s, last_s = (_seconds(answer[name]) if answer.get(name) else 0 for name in ("oldest", "newest"))
    # In hours of UTC, each with its own local hour: none is lost or doubled on a day on which
    # clocks are set. In a zone of half hours a cell holds the hour that begins in it.
    for start_s in range(first_s - first_s % HOUR_S, last_s, HOUR_S) if cells else ():
        start = datetime.fromtimestamp(start_s, UTC).astimezone(zone)
        cell = cells.get(start_s, {"footage_s": 0, "gaps_s": {}})
        span_s = min(start_s + HOUR_S, last_s) - max(start_s, first_s)
        _add(days[start.date()][start.hour], cell, span_s)
    return [
        Day(each, tuple(hours), tuple(_say_gaps(hours, words)), words)
        for each, hours in sorted(days.items(), reverse=True)
    ]


def _add(hour: Hour, cell: Mapping[str, Any], span_s: int) -> None:
    """Add an hour of UTC, of which ``span_s`` seconds lie between the oldest footage and the newest."""
    footage_s = int(cell["footage_s"])
    hour.footage_s += footage_s
    for reason, seconds in cell["gaps_s"].items():
        hour.gaps_s[str(reason)] += int(seconds)
    unknown_s = span_s - footage_s - sum(map(int, cell["gaps_s"].values()))
    if unknown_s > _UNKNOWN_S:
        hour.gaps_s[UNKNOWN] += unknown_s


def _seconds(text: str) -> int:
    return parse_rfc3339(text) // SECOND_NS


def _say_gaps(hours: list[Hour], words: Words) -> list[str]:
    """Say each reason once: in which hours, and how long in all; the longest first."""
    total: dict[str, int] = defaultdict(int)
    touched: dict[str, list[int]] = defaultdict(list)
    for number, hour in enumerate(hours):
        for reason, seconds in hour.gaps_s.items():
            if reason not in HIDDEN_REASONS:
                total[reason] += seconds
                touched[reason].append(number)
    longest = sorted(total.items(), key=lambda item: -item[1])
    return [
        f"{_say_hours(touched[reason], words)}: {say_gap(reason, words)}, {say_length(seconds, words)}"
        for reason, seconds in longest
        if seconds > _SHORT_GAP_S
    ]


def _say_hours(numbers: list[int], words: Words) -> str:
    first, last = numbers[0], numbers[-1]
    hours = f"{first:02}:00–{(last + 1) % 24:02}:00"
    return words("between {hours}", hours=hours) if len(numbers) < last - first + 1 else hours

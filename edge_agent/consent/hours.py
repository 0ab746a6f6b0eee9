"""The hours of a camera: minutes of the week, as its owner's clock on the wall shows them.

Owns the texts (``mon-fri 22:00-06:00``), the set operations that consent needs, and their translation into UTC. An
instant is inside if the local time it shows is: the hour that is shown twice in autumn counts both times, the hour that
is skipped in spring never was. Pure: the time zone is passed in.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Self

from edge_agent.units import SECOND_NS, UtcNs, Window

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALWAYS = "always"
_MINUTE_NS = 60 * SECOND_NS

_LINE = re.compile(r"(?:([a-z,-]+)[ \t]+)?([0-9][0-9]):([0-9][0-9])-([0-9][0-9]):([0-9][0-9])")
_FORM = "such as 22:00-06:00, or mon-fri 08:00-18:00, or sat,sun 00:00-24:00"


@dataclass(frozen=True, slots=True)
class Hours:
    """A set of minutes of the week, Monday 00:00 being 0: disjoint half-open spans, in order, never adjoining."""

    spans: tuple[tuple[int, int], ...]

    @classmethod
    def always(cls) -> Self:
        """Return the whole week."""
        return cls(((0, WEEK_MINUTES),))

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int]]) -> Self:
        """Merge spans into the one form in which equal sets are equal values."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return cls(tuple(merged))

    def intersect(self, other: "Hours") -> "Hours":
        """Return the minutes in both."""
        return Hours.of((max(a, c), min(b, d)) for a, b in self.spans for c, d in other.spans if max(a, c) < min(b, d))

    def windows(self, window: Window, zone: tzinfo) -> tuple[Window, ...]:
        """Return the parts of a UTC window that lie in these hours, in order."""
        parts: list[Window] = []
        for piece, offset_ns in _pieces(window, zone):
            for start, end in self._spans_near(piece, offset_ns):
                part = piece.intersect(Window(UtcNs(start), UtcNs(end)))
                if part is None:
                    continue
                if parts and parts[-1].end == part.start:
                    part = Window(parts.pop().start, part.end)
                parts.append(part)
        return tuple(parts)

    def _spans_near(self, piece: Window, offset_ns: int) -> Iterator[tuple[int, int]]:
        """Yield these hours as UTC, for each week that a piece of constant offset touches."""
        # 1970-01-05 was the first Monday of the era.
        monday_ns = 4 * DAY_MINUTES * _MINUTE_NS
        week_ns = WEEK_MINUTES * _MINUTE_NS
        first = (piece.start + offset_ns - monday_ns) // week_ns
        last = (piece.end + offset_ns - monday_ns) // week_ns
        for week in range(first, last + 1):
            base = monday_ns + week * week_ns - offset_ns
            for start, end in self.spans:
                yield base + start * _MINUTE_NS, base + end * _MINUTE_NS


def parse_hours(value: object) -> Hours:
    """Read ``always`` or a list of lines; ValueError names the allowed forms."""
    if value == ALWAYS:
        return Hours.always()
    if not isinstance(value, list) or not value or len(value) > 32:
        raise ValueError(f"should be always, or a list of 1 to 32 lines {_FORM}")
    return Hours.of(span for line in value for span in _parse_line(line))


def _parse_line(line: object) -> Iterator[tuple[int, int]]:
    match = _LINE.fullmatch(line) if isinstance(line, str) else None
    if match is None:
        raise ValueError(f"should be days and times {_FORM}")
    start, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
    if int(match[3]) > 59 or int(match[5]) > 59 or start >= DAY_MINUTES or end > DAY_MINUTES or start == end:
        raise ValueError("times go from 00:00 to 24:00, and begin and end differ")
    if end < start:
        end += DAY_MINUTES  # past midnight: belongs to the day on which it begins
    for day in _parse_days(match[1] or "mon-sun"):
        begin, stop = day * DAY_MINUTES + start, day * DAY_MINUTES + end
        yield begin, min(stop, WEEK_MINUTES)
        if stop > WEEK_MINUTES:
            yield 0, stop - WEEK_MINUTES


def _parse_days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"days are {', '.join(DAYS)}, joined by a comma or a hyphen")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        yield from (day % 7 for day in range(begin, end + 1 + (7 if end < begin else 0)))


def encode_hours(hours: Hours) -> str | list[str]:
    """Write hours as ``parse_hours`` reads them, one line for all days that share a span."""
    if hours == Hours.always():
        return ALWAYS
    days_of: dict[tuple[int, int], list[str]] = {}
    for start, end in hours.spans:
        for day in range(start // DAY_MINUTES, (end - 1) // DAY_MINUTES + 1):
            base = day * DAY_MINUTES
            span = (max(start - base, 0), min(end - base, DAY_MINUTES))
            days_of.setdefault(span, []).append(DAYS[day])
    return [f"{_show_days(days)}{_clock(start)}-{_clock(end)}" for (start, end), days in sorted(days_of.items())]


def _show_days(days: list[str]) -> str:
    return "" if len(days) == 7 else ",".join(days) + " "


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def local_dates(window: Window, zone: tzinfo) -> tuple[date, ...]:
    """Return every date that the owner's calendar shows during a window."""
    dates: list[date] = []
    for piece, offset_ns in _pieces(window, zone):
        first = _utc(piece.start + offset_ns).date()
        last = _utc(piece.end - 1 + offset_ns).date()
        for day in range((last - first).days + 1):
            found = first + timedelta(days=day)
            if found not in dates:
                dates.append(found)
    return tuple(dates)


def _pieces(window: Window, zone: tzinfo) -> Iterator[tuple[Window, int]]:
    """Cut a window where the zone's offset changes, and yield each piece with its offset."""
    start = window.start
    while start < window.end:
        offset_ns = _offset(start, zone)
        end = start
        while end < window.end:
            # By the hour: no zone of the tz database has ever changed its offset twice within a day.
            probe = UtcNs(min(end + 3600 * SECOND_NS, window.end))
            if _offset(probe, zone) != offset_ns:
                end = _first_change(end, probe, offset_ns, zone)
                break
            end = probe
        yield Window(start, end), offset_ns
        start = end


def _first_change(low: UtcNs, high: UtcNs, offset_ns: int, zone: tzinfo) -> UtcNs:
    """Find the second at which the offset changes, between two instants of which only the first has ``offset_ns``."""
    # Zones change on whole seconds of UTC, so the instant looked for is a multiple of a second above `low`.
    first, last = low // SECOND_NS + 1, -(-high // SECOND_NS)
    while first < last:
        middle = (first + last) // 2
        if _offset(UtcNs(middle * SECOND_NS), zone) == offset_ns:
            first = middle + 1
        else:
            last = middle
    return UtcNs(min(first * SECOND_NS, high))


def _offset(at: UtcNs, zone: tzinfo) -> int:
    offset = _utc(at).astimezone(zone).utcoffset() or timedelta()
    return (offset.days * 86400 + offset.seconds) * SECOND_NS


def _utc(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC)

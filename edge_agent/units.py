"""Units of time and size, the half-open window of UTC, and the trust that a wall clock has.

Owns the integer types in which times travel inside the program, and their texts on the wire (RFC 3339 with ``Z``)
and in YAML (``72h``, ``32GiB``). Reads no clock; no float ever holds a time.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import NewType, Self

UtcNs = NewType("UtcNs", int)
"""Nanoseconds since 1970-01-01T00:00:00Z."""
MonoNs = NewType("MonoNs", int)
"""Nanoseconds since boot, time asleep included (``CLOCK_BOOTTIME``)."""

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

_YEARS = range(1970, 2200)
"""Every moment in them fits into 64 bits of nanoseconds, with room for an addition."""
_RFC3339 = re.compile(r"([0-9]{4}-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9])(?:\.([0-9]{1,9}))?Z")
_DURATION = re.compile(r"([0-9]{1,9}) ?(ms|s|min|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,9}) ?(B|KiB|MiB|GiB|TiB)")
_DURATION_NS = {"ms": 1_000_000, "s": SECOND_NS, "m": MINUTE_NS, "min": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS}
_SIZE_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class ClockState(Enum):
    """The trust that the wall clock has."""

    SYNCHRONISED = "synchronised"
    FLOOR_ONLY = "floor-only"


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open span of UTC, ``[start, end)``, never empty."""

    start: UtcNs
    end: UtcNs

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"window ends at or before its start: {self.start} {self.end}")

    @property
    def duration_ns(self) -> int:
        """Length in nanoseconds, at least 1."""
        return self.end - self.start

    def contains(self, other: "Window") -> bool:
        """Tell whether ``other`` lies wholly inside."""
        return self.start <= other.start and other.end <= self.end

    def intersect(self, other: "Window") -> "Window | None":
        """Return the common part; None if there is none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Window(start, end) if start < end else None

    def widen(self, by_ns: int) -> "Window":
        """Return the window with ``by_ns`` nanoseconds added at both ends."""
        return Window(UtcNs(self.start - by_ns), UtcNs(self.end + by_ns))

    @classmethod
    def parse(cls, start: str, end: str) -> Self:
        """Parse two RFC 3339 times; ValueError if either is malformed or the window is empty."""
        return cls(parse_rfc3339(start), parse_rfc3339(end))

    def __str__(self) -> str:
        return f"{encode_rfc3339(self.start)}/{encode_rfc3339(self.end)}"


def parse_rfc3339(text: str) -> UtcNs:
    """Parse an RFC 3339 time in UTC, written with ``Z`` and at most nine decimals.

    Raises:
        ValueError: Another form, another offset, no such time, or one before 1970 or after 2199.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time ending in Z: {text[:40]!r}")
    moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    if moment.year not in _YEARS:
        raise ValueError(f"not a time between {_YEARS.start} and {_YEARS.stop}: {text[:40]!r}")
    seconds = int(moment.timestamp())
    return UtcNs(seconds * SECOND_NS + int((match[2] or "").ljust(9, "0")))


def encode_rfc3339(time: UtcNs) -> str:
    """Write a time as RFC 3339 in UTC, with as many groups of three decimals as it needs."""
    seconds, rest_ns = divmod(time, SECOND_NS)
    text = datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
    if not rest_ns:
        return text + "Z"
    decimals = f"{rest_ns:09d}"
    while decimals.endswith("000"):
        decimals = decimals[:-3]
    return f"{text}.{decimals}Z"


def parse_duration(text: str) -> int:
    """Parse ``500ms``, ``5s``, ``10m``, ``72h`` or ``45d`` into nanoseconds; ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration (a whole number and ms, s, m, h or d, such as 72h): {text[:40]!r}")
    return int(match[1]) * _DURATION_NS[match[2]]


def encode_duration(duration_ns: int) -> str:
    """Write a duration in its largest whole unit; ``parse_duration`` reads it back (from 1 ms upwards)."""
    if not duration_ns:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if duration_ns % _DURATION_NS[unit] == 0:
            return f"{duration_ns // _DURATION_NS[unit]}{unit}"
    return f"{duration_ns // _DURATION_NS['ms']}ms"


def parse_size(text: str) -> int:
    """Parse ``512MiB`` or ``32GiB`` into bytes; ValueError for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size (a whole number and B, KiB, MiB, GiB or TiB, such as 32GiB): {text[:40]!r}")
    return int(match[1]) * _SIZE_BYTES[match[2]]


def encode_size(size_bytes: int) -> str:
    """Write a size in its largest whole unit; ``parse_size`` reads it back."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _SIZE_BYTES[unit] == 0:
            return f"{size_bytes // _SIZE_BYTES[unit]}{unit}"
    return f"{size_bytes}B"

"""Times as people write and read them, in one time zone: ``19:12``, ``yesterday 8:10pm``, ``10m-ago``.

Pure: takes ``now`` and the zone, reads no clock. A text that could mean two moments is refused with both of them
spelled out; so is a moment that no clock ever showed. On the wire and in JSON times stay RFC 3339 in UTC (``units``).
"""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_duration, parse_rfc3339

EXAMPLES = "19:12, 8:10pm, yesterday 19:12, 2026-11-28 19:12, 10m-ago, 2026-11-28T19:12:00-06:00"
"""For help texts and errors."""

_MS_NS = 1_000_000
_AGO = re.compile(r"([0-9]{1,9} ?(?:ms|s|min|m|h|d))[ -]ago")
_DAY = r"(?:(?P<day>today|yesterday|[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[t ,]+|$))?"
_CLOCK = r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<decimals>[0-9]{1,9}))?)?)?"
_HALF = r"(?: ?(?P<half>[ap])\.?m\.?)?"
_OFFSET = r" ?(?P<offset>z|utc|[+-][0-9]{2}:?(?:[0-9]{2})?)?"
_TIME = re.compile(_DAY + _CLOCK + _HALF + _OFFSET)
_DAY_ALONE = re.compile(r"today|yesterday|[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WIRE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z")
_OTHER_DATE = re.compile(r"[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{2,4}.*")


def parse_local(text: str, now: UtcNs, zone: tzinfo) -> UtcNs:
    """Read a time as people write it.

    Args:
        text: ``now``; ``10m-ago``; a time of day, which is the last one that is past; ``today``, ``yesterday`` or a
            date before it; and behind it an offset from UTC, without which it is a time of ``zone``.
        now: The moment.
        zone: Of the gateway, or of the machine at the RTCC.

    Raises:
        ValueError: Anything else; a moment that the clocks of ``zone`` showed twice, or never. The message names the
            right form.
    """
    wanted = " ".join(text.strip().lower().split())
    if wanted == "now":
        return now
    ago = _AGO.fullmatch(wanted)
    if ago is not None:
        return _bounded(now - parse_duration(ago[1]), text)
    match = _TIME.fullmatch(wanted)
    if match is None or (match["minute"] is None and match["half"] is None):
        raise ValueError(_refusal(text, wanted))
    try:
        clock, decimals_ns = _clock_of(match)
        day = _day_of(match["day"], now, zone)
        offset = match["offset"]
        if day is not None:
            return _bounded(_moment(datetime.combine(day, clock), zone, offset) + decimals_ns, text)
        return _bounded(_last(clock, now, zone, offset) + decimals_ns, text)
    except OverflowError:
        raise ValueError(f"no time that footage can have: {text[:40]!r}") from None


def _refusal(text: str, wanted: str) -> str:
    if _DAY_ALONE.fullmatch(wanted):
        return f"a day without a time: {text[:40]!r}; write for instance {wanted} 00:00"
    if _OTHER_DATE.fullmatch(wanted):
        return f"a date that is read in two ways: {text[:40]!r}; write year-month-day, such as 2026-11-28 19:12"
    return f"not a time: {text[:40]!r}; such as {EXAMPLES}"


def _clock_of(match: re.Match[str]) -> tuple[time, int]:
    hour, half = int(match["hour"]), match["half"]
    if half is not None:
        if not 1 <= hour <= 12:
            raise ValueError(f"no such time of day: {match[0][:40]!r}; with am or pm the hour is 1 to 12")
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        clock = time(hour, int(match["minute"] or 0), int(match["second"] or 0))
    except ValueError:
        raise ValueError(f"no such time of day: {match[0][:40]!r}; 00:00 to 23:59:59") from None
    return clock, int((match["decimals"] or "").ljust(9, "0"))


def _day_of(text: str | None, now: UtcNs, zone: tzinfo) -> date | None:
    if text is None:
        return None
    today = _local(now, zone).date()
    if text in ("today", "yesterday"):
        return today if text == "today" else today - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"no such date: {text}") from None


def _last(clock: time, now: UtcNs, zone: tzinfo, offset: str | None) -> int:
    """Return the last moment at which clocks showed this time of day."""
    today = _local(now, _offset_zone(offset) if offset else zone).date()
    moment = _moment(datetime.combine(today, clock), zone, offset)
    # Through the calendar and not by 24 hours: a day on which clocks are set has 23 or 25.
    return moment if moment <= now else _moment(datetime.combine(today - timedelta(days=1), clock), zone, offset)


def _moment(local: datetime, zone: tzinfo, offset: str | None) -> int:
    if offset:
        return _seconds(local.replace(tzinfo=_offset_zone(offset))) * SECOND_NS
    # PEP 495: ``fold`` chooses between the two moments of an hour that clocks showed twice. Of an
    # hour that they left out neither comes back as it was written.
    both = [local.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    shown = [each for each in both if each.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local]
    moments = sorted({_seconds(each) for each in shown})
    if not moments:
        raise ValueError(f"clocks never showed {local:%Y-%m-%d %H:%M:%S}: they were set forward over it")
    if len(moments) > 1:
        ways = " or ".join(each.isoformat() for each in both)
        raise ValueError(f"clocks showed {local:%Y-%m-%d %H:%M:%S} twice, for they were set back; write {ways}")
    return moments[0] * SECOND_NS


def _offset_zone(offset: str) -> tzinfo:
    if offset in ("z", "utc"):
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[3:].lstrip(":") or 0)
    # UTC+14 (Kiribati) is the largest offset in use.
    if hours > 14 or minutes > 59:
        raise ValueError(f"no such offset from UTC: {offset}")
    zone = datetime.strptime(f"{offset[0]}{hours:02}{minutes:02}", "%z").tzinfo
    assert zone is not None
    return zone


def _seconds(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def _bounded(moment_ns: int, text: str) -> UtcNs:
    try:
        return parse_rfc3339(encode_rfc3339(UtcNs(moment_ns)))
    except (ValueError, OverflowError):
        raise ValueError(f"no time that footage can have: {text[:40]!r}") from None


def _local(moment: UtcNs, zone: tzinfo) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment // SECOND_NS)).astimezone(zone)


def encode_local(moment: UtcNs, zone: tzinfo) -> str:
    """Write a moment as people read it: local time to the second, such as ``2026-11-28 19:12:00``."""
    return f"{_local(moment, zone):%Y-%m-%d %H:%M:%S}"


def say_moment(moment: UtcNs, zone: tzinfo) -> str:
    """Write a moment in both ways: ``2026-11-28 19:12:00 CST (2026-11-29T01:12:00Z)``.

    Decimals are shown as far as people write them, to the millisecond; those that only a clock makes are left out.
    """
    shown = moment if moment % _MS_NS == 0 else UtcNs(moment // SECOND_NS * SECOND_NS)
    return f"{encode_local(moment, zone)} {_local(moment, zone):%Z} ({encode_rfc3339(shown)})"


def localise(text: str, zone: tzinfo) -> str:
    """Return a sentence with every RFC 3339 time in UTC written as ``encode_local`` does."""

    def write(match: re.Match[str]) -> str:
        try:
            return encode_local(parse_rfc3339(match[0]), zone)
        except ValueError:
            return match[0]

    return _WIRE.sub(write, text)

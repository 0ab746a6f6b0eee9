"""The times of a command line: read by ``local_time``, and said back in both ways before anything is done by them.

Shared by both commands. The answer goes to stderr: stdout is data.
"""

import os
import sys
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edge_agent.errors import UsageError
from edge_agent.local_time import EXAMPLES, parse_local, say_moment
from edge_agent.units import SECOND_NS, UtcNs, Window, parse_duration

TIME_HELP = f"such as {EXAMPLES}"
END_HELP = "the same, or a length such as +5m"
_LOCALTIME = Path("/etc/localtime")


def find_machine_zone() -> tzinfo:
    """Return the zone of this machine: ``TZ``, else the target of ``/etc/localtime``, else UTC."""
    names = [os.environ.get("TZ", "").lstrip(":"), os.path.realpath(_LOCALTIME).partition("/zoneinfo/")[2]]
    for name in filter(None, names):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return ZoneInfo("UTC")


def read_time(name: str, text: str, now: UtcNs, zone: tzinfo) -> UtcNs:
    """Read one time of a person's; ``now`` and ``ago`` count in whole seconds.

    Args:
        name: The option that it was written behind, such as ``--from``.
        text: The typed text.
        now: The moment.
        zone: The zone of its local time.

    Raises:
        UsageError: See ``parse_local``.
    """
    try:
        return parse_local(text, UtcNs(now // SECOND_NS * SECOND_NS), zone)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


def read_window(start: str, end: str, now: UtcNs, zone: tzinfo, names: tuple[str, str] = ("--from", "--to")) -> Window:
    """Read a window of which the end may be a length, ``+5m``; see ``read_time``.

    Raises:
        UsageError: One is not a time, or the end is not after the start.
    """
    first = read_time(names[0], start, now, zone)
    if end.strip().startswith("+"):
        try:
            last = UtcNs(first + parse_duration(end.strip()[1:]))
        except ValueError as error:
            raise UsageError(f"{names[1]}: {error}") from error
    else:
        last = read_time(names[1], end, now, zone)
    if last <= first:
        raise UsageError(
            f"{names[1]} is not after {names[0]}: {say_moment(first, zone)} to {say_moment(last, zone)}",
            "a time of day alone is the last one that is past; name the day as well",
        )
    return Window(first, last)


def tell_window(window: Window, zone: tzinfo, label: str = "from") -> None:
    """Say to stderr what was understood, in local time and in UTC."""
    print(f"{label}: {say_moment(window.start, zone)}", file=sys.stderr)
    print(f"{'to':>{len(label)}}: {say_moment(window.end, zone)}", file=sys.stderr)


def tell_moment(moment: UtcNs, zone: tzinfo, label: str = "time") -> None:
    """Say to stderr what was understood of one time."""
    print(f"{label}: {say_moment(moment, zone)}", file=sys.stderr)

"""The form of one camera's terms: its choices, and the values that it sends, as the releaser takes them.

Owns the names of the fields. The releaser decides which values are allowed, and puts them into words.
"""

from collections.abc import Mapping
from typing import Any

from edge_agent.errors import UsageError
from edge_agent.page.languages import Words

MODES = {
    "ask": "Ask me every time",
    "auto": "Let it go by these terms, and tell me",
    "deny": "Never",
}
WINDOWS = ("5m", "10m", "30m", "1h", "2h")
TIMEOUTS = ("15m", "30m", "1h", "4h", "12h")
WAITS = ("0s", "10m", "30m", "1h", "4h")
VALIDITIES = ("7d", "30d", "45d", "90d", "365d")
UNITS: Mapping[str, tuple[str, str]] = {
    "s": ("{count} second", "{count} seconds"),
    "m": ("{count} minute", "{count} minutes"),
    "h": ("{count} hour", "{count} hours"),
    "d": ("{count} day", "{count} days"),
}


def say_duration(text: str, words: Words) -> str:
    """Say a duration of the file, such as ``45d``, in words; another text stays as it is."""
    count, unit = text[:-1], text[-1:]
    if unit not in UNITS or not (count.isascii() and count.isdigit()):
        return text
    return words(UNITS[unit][count != "1"], count=count)


CHOICES: Mapping[str, Any] = {
    "modes": MODES, "windows": WINDOWS, "timeouts": TIMEOUTS, "waits": WAITS, "validities": VALIDITIES,
}  # fmt: skip


def read_terms(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return what the form asks for: ``camera``, its ``terms`` and those of the ``house``.

    Raises:
        UsageError: A number is none, or a field is missing.
    """
    hours = [each.strip() for each in fields.get("hours", "").split(",") if each.strip()]
    return {
        "camera": _need(fields, "camera"),
        "terms": {
            "mode": _need(fields, "mode"),
            "hours": "always" if hours in ([], ["always"]) else hours,
            "categories": _list(fields, "category."),
            "distance_m": _number(fields, "distance_m"),
            "window": _need(fields, "window"),
            "requests_per_day": _number(fields, "requests_per_day"),
            "audio": fields.get("audio") == "yes",
        },
        "house": {
            "agencies": _list(fields, "agency."),
            "ask_timeout": _need(fields, "ask_timeout"),
            "cooling_off": _need(fields, "cooling_off"),
            "expires_after": _need(fields, "expires_after"),
        },
    }


def show_hours(value: Any) -> str:
    """Return hours as the field holds them."""
    return value if isinstance(value, str) else ", ".join(map(str, value))


def _list(fields: Mapping[str, str], prefix: str) -> list[str]:
    return sorted(name.removeprefix(prefix) for name in fields if name.startswith(prefix))


def _need(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise UsageError(f"The form has no {name}.")
    return value


def _number(fields: Mapping[str, str], name: str) -> int:
    text = _need(fields, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise UsageError(f"{name} should be a whole number.")
    return int(text)

"""The kinds of value that the configuration knows: durations, sizes, paths, URLs, hours.

Owns their YAML text, their limits and the words of a refusal. Reads no file; the folder that relative paths start
from is set by ``edge_agent.settings.gateway.load_config`` while it validates.
"""

import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from edge_agent.units import DAY_NS, encode_duration, encode_size, parse_duration, parse_size

base_dir: ContextVar[Path] = ContextVar("base_dir", default=Path("/"))
"""Where relative paths start: the folder of the file that is being read."""

ItemT = TypeVar("ItemT")

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_NEARLY = re.compile(r"([0-9]{1,9}) ?([A-Za-z]*)")
_RATE = re.compile(r"(.+)/s")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PIN = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_SECRET_IN_QUERY = re.compile(r"(?:passw(?:or)?d|pwd)=", re.IGNORECASE)


class Part(BaseModel):
    """One mapping of a configuration file: typed, closed, unchangeable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Quantity:
    """Annotates an int that is written with its unit, within limits that are part of its meaning."""

    least: int
    most: int
    example: str
    pattern: str
    parse: Callable[[str], int]
    encode: Callable[[int], str]
    units: tuple[str, ...]
    """Likely meanings of a number without one, the likeliest first."""

    def check(self, value: object) -> int:
        """Return the quantity; ValueError with the allowed values."""
        # YAML reads `72` as a number and `yes` as a bool, which Python counts among the numbers.
        text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
        try:
            quantity = self.parse(text)
        except ValueError:
            raise ValueError(
                f"should be a whole number with its unit, such as {self._suggest(text)} ({self.limits})"
            ) from None
        if not self.least <= quantity <= self.most:
            raise ValueError(f"{self.encode(quantity)} is outside {self.limits}")
        return quantity

    def _suggest(self, text: str) -> str:
        """Return what was probably meant, if it lies within the limits; else the example."""
        match = _NEARLY.fullmatch(text)
        for unit in self.units if match is not None else ():
            assert match is not None
            near = f"{match[1]}{unit}"
            is_meant = not match[2] or unit.lower().startswith(match[2][0].lower())
            if is_meant and self.least <= self.parse(near) <= self.most:
                return near
        return self.example

    @property
    def limits(self) -> str:
        """The limits in words."""
        return f"{self.encode(self.least)} to {self.encode(self.most)}"

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern, "examples": [self.example], "description": self.limits}


def duration(least: str, most: str) -> Quantity:
    """Annotate a duration in nanoseconds, written ``72h``."""
    pattern = "^[0-9]{1,9} ?(ms|s|min|m|h|d)$"
    lowest, highest = parse_duration(least), parse_duration(most)
    example = next((each for each in ("72h", "30s", "3s") if lowest <= parse_duration(each) <= highest), most)
    units = ("h", "d", "m", "s") if highest > DAY_NS else ("s", "m", "h", "ms")
    return Quantity(lowest, highest, example, pattern, parse_duration, encode_duration, units)


def size(least: str, most: str) -> Quantity:
    """Annotate a size in bytes, written ``32GiB``."""
    pattern = "^[0-9]{1,9} ?(B|KiB|MiB|GiB|TiB)$"
    lowest, highest = parse_size(least), parse_size(most)
    example = next(each for each in ("32GiB", "1MiB", most) if lowest <= parse_size(each) <= highest)
    return Quantity(lowest, highest, example, pattern, parse_size, encode_size, ("GiB", "MiB", "TiB", "KiB", "B"))


def _text(value: object, wanted: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"should be {wanted}")
    return value


def _check_rate(value: object) -> int:
    match = _RATE.fullmatch(_text(value, "a rate such as 500KiB/s"))
    if match is None:
        raise ValueError("should be a size per second, such as 500KiB/s")
    bytes_per_s = parse_size(match[1])
    # At 16 KiB/s a clip of 20 MB takes twenty minutes.
    if bytes_per_s < 16 << 10:
        raise ValueError(f"{match[0]} is below 16KiB/s: no clip would arrive in time")
    return bytes_per_s


Rate = Annotated[
    int,
    BeforeValidator(_check_rate),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9} ?(KiB|MiB|GiB)/s$", "description": "at least 16KiB/s"}),
]
"""Bytes per second, written ``500KiB/s``."""


@dataclass(frozen=True, slots=True)
class DailyHours:
    """A daily span of local time, in minutes after midnight; over midnight if ``end <= start``."""

    start: int
    end: int

    def contains(self, minute: int) -> bool:
        """Tell whether a minute of the day, 0 to 1439, lies inside."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def _check_hours(value: object) -> DailyHours:
    match = _HOURS.fullmatch(_text(value, "hours such as 22:00-06:00").replace(" ", ""))
    if match is None:
        raise ValueError("should be two times of day, such as 22:00-06:00 or 18:00-24:00")
    end = 24 * 60 if match[3] is None else int(match[3]) * 60 + int(match[4])
    start = int(match[1]) * 60 + int(match[2])
    if start == end:
        raise ValueError("begins and ends at the same time; leave it out to mean always, or write 00:00-24:00")
    return DailyHours(start, end)


HoursText = Annotated[
    DailyHours,
    BeforeValidator(_check_hours),
    WithJsonSchema({"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9] ?- ?[0-2][0-9]:[0-5][0-9]$"}),
]


def _check_path(value: object) -> Path:
    if isinstance(value, Path):
        value = str(value)
    text = _text(value, "a path, as text")
    if "\0" in text or not text:
        raise ValueError("should be a path")
    return base_dir.get() / text


FilePath = Annotated[
    Path,
    BeforeValidator(_check_path),
    WithJsonSchema({"type": "string", "description": "absolute, or relative to this file's folder"}),
]


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone of this system; should be a name such as America/Chicago or UTC") from None
    return value


TimeZone = Annotated[str, AfterValidator(_check_time_zone)]


def refuse_credentials(url: str) -> None:
    """Raise ValueError if a URL carries a name or password; never repeats it."""
    # In the authority alone: an ``@`` in the path is some cameras' own.
    if "@" in url.partition("//")[2].partition("/")[0] or _SECRET_IN_QUERY.search(url):
        raise ValueError(
            "carries a user name or password; write the URL without it, `credentials: NAME` beside it, and the "
            "password under NAME in the credentials file (mode 0600)"
        )


def _check_slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise ValueError("should be 1 to 32 of a-z, 0-9 and -, and not begin with -")
    return value


def _name_only(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError(
            "should be a name alone, such as door; user name and password stand under that name in the credentials file"
        )
    return value


SlugText = Annotated[
    str, AfterValidator(_check_slug), WithJsonSchema({"type": "string", "pattern": f"^{_SLUG.pattern}$"})
]
"""An id that is safe in a file name, a topic and a command line."""


NameText = Annotated[SlugText, BeforeValidator(_name_only)]
"""The name of an entry in a secret file."""


def _check_rtsp_url(url: str) -> str:
    refuse_credentials(url)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("rtsp", "rtsps") and parts.hostname and parts.port != 0 and not parts.fragment
    except ValueError:  # urlsplit's own complaint repeats the text
        usable = False
    if not usable:
        raise ValueError("should be rtsp://HOST[:PORT]/PATH or rtsps://…")
    if len(url) > 1024 or not url.isprintable() or " " in url:
        raise ValueError("should be at most 1024 printable characters without blanks")
    return url


RtspUrl = Annotated[
    str, AfterValidator(_check_rtsp_url), WithJsonSchema({"type": "string", "pattern": "^rtsps?://[^@ ]+$"})
]


def _check_onvif(address: str) -> str:
    bare = address.removeprefix("https://")
    host, port = bare, ""
    # The colons of an IPv6 address in brackets begin no port.
    if not bare.startswith("[") or "]:" in bare:
        host, _, port = bare.rpartition(":") if ":" in bare else (bare, "", "")
    if not _HOST.fullmatch(host) or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError("should be HOST, HOST:PORT or https://HOST[:PORT] of the camera, such as 192.168.1.40:8000")
    return address


OnvifAddress = Annotated[str, AfterValidator(_check_onvif)]


def _check_host(host: str) -> str:
    if not _HOST.fullmatch(host):
        raise ValueError("should be a host name or an address")
    return host


Host = Annotated[str, AfterValidator(_check_host)]


def _check_pin(value: str) -> str:
    if not _PIN.fullmatch(value):
        raise ValueError("should be sha256: and 64 hexadecimal digits (`openssl x509 -outform der | sha256sum`)")
    return value


CertificatePin = Annotated[
    str, AfterValidator(_check_pin), WithJsonSchema({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})
]


def check_latitude(degrees: float) -> float:
    """Return a latitude; ValueError beyond the poles: it asks if the longitude was written instead."""
    if not -90 <= degrees <= 90:
        raise ValueError("should be between -90 and 90; is it the longitude? lat is north (+) or south (-)")
    return degrees


def no_twice(name_of: Callable[[Any], str]) -> AfterValidator:
    """Return the validator that refuses two items of the same name."""

    def check(items: tuple[ItemT, ...]) -> tuple[ItemT, ...]:
        names = [name_of(item) for item in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"has twice: {', '.join(twice)}")
        return items

    return AfterValidator(check)


Listed = Strict(False)
"""Lets a YAML list be a tuple; the items stay strict."""

NONE_IS_EMPTY = BeforeValidator(lambda value: () if value is None else value)
"""Lets a key whose every entry is commented out mean an empty list."""

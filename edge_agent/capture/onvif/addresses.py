"""Addresses as cameras write them: split, and mended if their port stands twice. Pure."""

import re
from urllib.parse import SplitResult, urlsplit

_PORT_TWICE = re.compile(r"(:[0-9]{1,5})(?::[0-9]{1,5})+$")
_MOST_NETLOC = 300
"""A name of a host has 253 characters at most. The search for a port takes the square of the length."""


def split_address(url: str) -> SplitResult:
    """Split an address; of one like ``http://HOST:80:80/`` (some Hikvision-made) the first port counts.

    Raises:
        ValueError: It is none; host and port of the result can be read.
    """
    parts = urlsplit(url.strip())
    if len(parts.netloc) > _MOST_NETLOC:
        raise ValueError("host and port are too long")
    parts = parts._replace(netloc=_PORT_TWICE.sub(r"\1", parts.netloc))
    _ = parts.port, parts.hostname
    return parts

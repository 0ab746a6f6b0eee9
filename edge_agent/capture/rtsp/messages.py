"""RTSP 1.0 as text: requests to a camera, and its responses, with the odd headers that cameras write.

Owns RFC 2326 sections 6, 7 and 12 as far as a client that only plays needs them. Pure: sends nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 16 << 10
MAX_BODY_BYTES = 64 << 10
USER_AGENT = "edge-agent"
USUAL_TIMEOUT_S = 60
"""How long a session lives without a word, unless the camera says otherwise (RFC 2326 12.37)."""
_LONGEST_TIMEOUT_S = 3600
_STATUS = re.compile(r"RTSP/1\.[0-9] +([1-9][0-9]{2})(?![0-9])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_INTERLEAVED = re.compile(r"interleaved\s*=\s*([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?", re.IGNORECASE | re.ASCII)
_TIMEOUT = re.compile(r"timeout\s*=\s*\"?([0-9]{1,6})", re.IGNORECASE | re.ASCII)


class RtspSyntaxError(ValueError):
    """The camera does not speak RTSP, or says more than is allowed; the text holds nothing of its own words."""


@dataclass(frozen=True, slots=True)
class RtspResponse:
    """What a camera answered."""

    status: int
    head: tuple[str, ...]
    """Its lines after the first, as they came."""
    body: bytes = b""

    def find(self, name: str) -> str:
        """Return the value of the first header of that name; empty if there is none."""
        for line in self.head:
            key, colon, value = line.partition(":")
            if colon and key.strip().lower() == name:
                return value.strip()
        return ""

    @property
    def number(self) -> int:
        """The CSeq that it answers; -1 if it names none that can be read."""
        given = self.find("cseq")
        return int(given) if re.fullmatch(r"[0-9]{1,9}", given, re.ASCII) else -1


@dataclass(frozen=True, slots=True)
class SessionName:
    """The value of a ``Session`` header."""

    id: str
    timeout_s: int = USUAL_TIMEOUT_S


def encode_request(method: str, url: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """Write a request without a body.

    Args:
        method: Such as ``DESCRIBE``.
        url: Absolute.
        headers: In their order.

    Raises:
        RtspSyntaxError: Something in it would end a line: a camera's own words, or a login.
    """
    words = [method, url, *(part for header in headers for part in header)]
    if any(_CONTROL.search(word) for word in words) or " " in url:
        raise RtspSyntaxError("a request cannot hold that")
    lines = [f"{method} {url} RTSP/1.0", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode()


def parse_response(head: bytes, body: bytes) -> RtspResponse | None:
    """Parse a message from a camera; None if it is a request, which asks for nothing that we have.

    Args:
        head: Up to the blank line, at most ``MAX_HEAD_BYTES``.
        body: As long as the head says.
    """
    # Latin-1 reads any byte: a header in another encoding must not end the session.
    first, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    status = _STATUS.match(first)
    if status is None:
        return None
    return RtspResponse(int(status[1]), tuple(line for line in lines if line), body)


def parse_session(value: str) -> SessionName:
    """Parse a ``Session`` header: ``12345678;timeout=60``, with blanks anywhere."""
    name, _, rest = value.partition(";")
    timeout = _TIMEOUT.search(rest)
    seconds = min(int(timeout[1]), _LONGEST_TIMEOUT_S) if timeout else 0
    return SessionName(name.strip(), seconds or USUAL_TIMEOUT_S)


def parse_channels(value: str, asked: tuple[int, int]) -> tuple[int, int] | None:
    """Return the channels for RTP and RTCP that a ``Transport`` header grants (RFC 2326 12.39).

    Args:
        value: Of the header; its parameters may come in any order, with blanks and a ``;`` at the end.
        asked: The channels that were asked for, which a header that names none grants.

    Returns:
        Two channels, or None if it grants another transport than the interleaved one.
    """
    found = _INTERLEAVED.search(value)
    if found is None:
        is_other = "/tcp" not in value.lower() and ("port" in value.lower() or "udp" in value.lower())
        return None if is_other else asked
    first = int(found[1])
    second = int(found[2]) if found[2] else first + 1
    return (first, second) if first < 256 and second < 256 and first != second else None


def join_control(base: str, control: str) -> str:
    """Return the URL of a track or of the whole stream, from its ``a=control`` and the description's base.

    As FFmpeg and most servers do it: appended behind a slash, query strings and all, not by RFC 3986.
    """
    if control in ("", "*"):
        return base
    if re.match(r"rtsps?://", control, re.IGNORECASE):
        return control
    return f"{base if base.endswith('/') else base + '/'}{control.lstrip('/')}"


def find_base(response: RtspResponse, url: str) -> str:
    """Return what the description's controls are relative to (RFC 2326 C.1.1); ``url`` if it names nothing usable."""
    for name in ("content-base", "content-location"):
        value = response.find(name)
        if re.match(r"rtsps?://[^/\s]", value, re.IGNORECASE | re.ASCII) and not re.search(r"\s", value, re.ASCII):
            return value
    return url


def find_redirect(response: RtspResponse) -> tuple[str, str, str]:
    """Return where a 3xx response leads: scheme, host, and the whole URL; empty texts if that cannot be read."""
    location = response.find("location")
    try:
        parts = urlsplit(location)
        _ = parts.port  # raises, if it is none
        return parts.scheme.lower(), parts.hostname or "", location
    except ValueError:
        return "", "", ""

"""One RTSP request, as it is read from a client (RFC 2326, section 6)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

_MAX_REQUEST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class RtspRequest:
    """One RTSP request."""

    method: str
    url: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The URL's path without the track."""
        return re.sub(r"^rtsps?://[^/]*", "", self.url).split("?")[0].split("/track")[0].rstrip("/") or "/"


def read_request(stream: BinaryIO) -> RtspRequest | None:
    """Read one request, stepping over interleaved packets that a client sends; None at the end."""
    while True:
        first = stream.read(1)
        if not first:
            return None
        if first != b"$":
            break
        # RFC 2326, 10.12: "$", channel, u16 length, packet.
        header = stream.read(3)
        stream.read(int.from_bytes(header[1:], "big"))
    lines: list[str] = []
    total = 0
    while line := first + stream.readline(_MAX_REQUEST_BYTES):
        first, text, total = b"", line.rstrip(b"\r\n").decode("utf-8", "replace"), total + len(line)
        if total > _MAX_REQUEST_BYTES:
            raise ValueError("request too long")
        if not text:
            break
        lines.append(text)
    if not lines:
        return None
    method, _, rest = lines[0].partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (text.partition(":") for text in lines[1:])}
    stream.read(int(headers.get("content-length", "0")))
    return RtspRequest(method, rest.split(" ")[0], headers)

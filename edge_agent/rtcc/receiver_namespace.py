"""Each gateway's own part of the upload server: every path is ``/files/CN/…`` (PROTOCOL 9, step 4).

Owns the layer between the socket and tuspyserver: the path must name the CN of the client's
certificate, and the ``Location`` in an answer names it too. To a gateway, the uploads of another
are no path at all: always 404.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

PREFIX = "files"
EXTENSIONS = b"creation,expiration,termination"
"""tuspyserver announces three more, which ``receive`` refuses."""
RETRY_AFTER_S = 15
"""Said with every refusal that may mend."""
_DRAINED_BYTES = 1 << 20
"""Read of a refused body before its connection is closed; a sender of more loses the answer."""
_PATH = re.compile(rf"/{PREFIX}/(?P<cn>[A-Za-z0-9_-]{{1,64}})(?:/(?P<uid>[0-9a-f]{{32}})?)?")

AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
App = Callable[[AsgiMessage, Receive, Send], Awaitable[None]]


def find_inner_path(scope: AsgiMessage, peer: str) -> str | None:
    """Return the path as tuspyserver knows it; None for anything but the peer's own part.

    ``OPTIONS /files/`` concerns no upload, and is everybody's.
    """
    path = scope["path"]
    if scope["method"] == "OPTIONS" and path == f"/{PREFIX}/":
        return str(path)
    match = _PATH.fullmatch(path)
    # A client without a certificate has the empty name, which no path may stand for.
    if match is None or not peer or match["cn"] != peer:
        return None
    return f"/{PREFIX}/{match['uid'] or ''}"


def keep_apart(app: App, find_peer: Callable[[AsgiMessage], str]) -> App:
    """Wrap the tus application so that a gateway reaches nothing but its own part of it."""

    async def apart(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        peer = find_peer(scope)
        path = find_inner_path(scope, peer)
        if path is None:
            await refuse(receive, send, 404)
            return
        # tuspyserver would follow this header to another method than the one that was judged here.
        headers = [each for each in scope["headers"] if each[0].lower() != b"x-http-method-override"]
        inner = {**scope, "path": path, "raw_path": path.encode(), "headers": headers}

        async def send_apart(message: AsgiMessage) -> None:
            if message["type"] == "http.response.start":
                translated = [_translate(name, value, peer) for name, value in message["headers"]]
                message["headers"] = [*translated, *say_when(message["status"], translated)]
            await send(message)

        await app(inner, receive, send_apart)

    return apart


def _translate(name: bytes, value: bytes, peer: str) -> tuple[bytes, bytes]:
    if name.lower() == b"location":
        # Relative: behind a proxy nothing here knows which host the gateway dialled.
        return name, f"/{PREFIX}/{peer}/".encode() + value.rpartition(b"/")[2]
    if name.lower() == b"tus-extension":
        return name, EXTENSIONS
    return name, value


def say_when(status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the header that a 503 lacks: when to come again (RFC 9110, section 10.2.3)."""
    is_said = any(name.lower() == b"retry-after" for name, _ in headers)
    return [(b"retry-after", str(RETRY_AFTER_S).encode())] if status == 503 and not is_said else []


async def _drain(receive: Receive) -> None:
    """Take a small body in before it is refused: a connection that is closed over unread bytes loses the answer."""
    left = _DRAINED_BYTES
    while left > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


async def refuse(receive: Receive, send: Send, status: int) -> None:
    """Answer with nothing but a status, and close the connection."""
    await _drain(receive)
    headers = [(b"content-length", b"0"), (b"tus-resumable", b"1.0.0"), (b"connection", b"close")]
    headers += say_when(status, headers)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

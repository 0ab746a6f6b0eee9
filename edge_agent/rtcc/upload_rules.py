"""Questions of an upload server elsewhere: which uploads are allowed, which gateways were revoked (docs/adr/0071).

Owns a socket that its own user alone may open, and the few questions on it; the caller answers them. Never
sees a byte of an upload. The server is ``city/uploads``; to it, whatever is not a plain answer is a no.
"""

import base64
import binascii
import json
import logging
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.protocol.renewal import PATH
from edge_agent.rtcc.receiver_certificates import Renew, answer_renewal
from edge_agent.rtcc.receiver_namespace import AsgiMessage, Receive, Send, refuse
from edge_agent.rtcc.server_thread import ServerThread, make_server
from edge_agent.rtcc.state_questions import NO_ANSWER, StateQuestions

_GATEWAY = re.compile(r"/gateways/(?P<gateway>[A-Za-z0-9_-]{1,64})(?:/uploads/(?P<upload>[A-Za-z0-9_-]{8,64}))?")

log = logging.getLogger(__name__)


class UploadRules(ServerThread):
    """The questions of an upload server, answered in a thread of this process or in the foreground.

    Args:
        path: The socket; one that an earlier run left is taken over.
        is_announced: Tells whether a verified ``queued`` of this gateway names this upload.
        on_received: Called with the gateway's id and the upload's name once it is whole and durable.
        find_signed: SHA-256 (hex) that this gateway's kept ``delivered`` names for this upload; None before one.
        is_revoked: Tells whether nothing more is taken from a gateway.
        renew: Issues a gateway's further certificate; without it nobody gets one.

    Raises:
        OSError: The socket cannot be made.
    """

    def __init__(
        self,
        path: Path,
        is_announced: Callable[[str, str], bool],
        on_received: Callable[[str, str], None],
        find_signed: Callable[[str, str], str | None],
        is_revoked: Callable[[str], bool],
        renew: Renew | None = None,
    ) -> None:
        self._is_announced, self._on_received = is_announced, on_received
        self._find_signed, self._is_revoked, self._renew = find_signed, is_revoked, renew
        self._questions = StateQuestions()
        # A bound method is not seen to be ``asgi3``.
        server = make_server(self._answer, interface="asgi3", http="h11")
        super().__init__("upload-rules", server, _bind(path))

    def stop(self) -> None:
        """Stop, and wait for the thread."""
        super().stop()
        self._questions.close()

    async def _answer(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        if path.startswith(PATH) and self._renew is not None:
            renew = self._questions.defer(self._renew)
            await answer_renewal(_show_certificate(scope), receive, send, renew)
            return
        try:
            await self._answer_of(path, scope["method"], receive, send)
        except NO_ANSWER as error:
            log.error("no answer, for the state gives none: %s", error)
            await refuse(receive, send, 503)

    async def _answer_of(self, path: str, method: str, receive: Receive, send: Send) -> None:
        match = _GATEWAY.fullmatch(path)
        if match is None:
            await refuse(receive, send, 404)
        elif method == "GET":
            await _send_json(send, await self._questions.ask(self._judge, match["gateway"], match["upload"]))
        elif method == "POST" and match["upload"]:
            await self._questions.ask(self._on_received, match["gateway"], match["upload"])
            await _send_json(send, {})
        else:
            await refuse(receive, send, 404)

    def _judge(self, gateway: str, upload: str | None) -> dict[str, Any]:
        is_revoked = self._is_revoked(gateway)
        if upload is None:
            return {"revoked": is_revoked}
        return {
            "revoked": is_revoked,
            # A revoked gateway begins nothing, whatever it announced before.
            "announced": not is_revoked and self._is_announced(gateway, upload),
            "signed": self._find_signed(gateway, upload) or "",
        }


def _bind(path: Path) -> socket.socket:
    if path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Before `bind`, which makes the file: a `chmod` after it would leave a moment for others to
    # connect.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener


def _show_certificate(scope: AsgiMessage) -> AsgiMessage:
    """Put the gateway and the certificate that it showed to the upload server into the scope's state, for a renewal."""
    shown = dict(scope["headers"]).get(b"x-client-certificate", b"")
    try:
        certificate = base64.b64decode(shown, validate=True)
    except binascii.Error:
        certificate = b""
    state = {"peer": str(scope["path"]).removeprefix(PATH), "certificate": certificate}
    return {**scope, "state": state}


async def _send_json(send: Send, value: dict[str, Any]) -> None:
    content = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})

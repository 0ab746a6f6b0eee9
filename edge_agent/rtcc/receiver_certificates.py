"""``POST /certificates/CN`` of the upload server: a gateway's further certificate (PROTOCOL 7.5).

Owns the HTTP of it; ``edge_agent.rtcc.office.renewal`` decides. The answer is a certificate and
nothing else: no address, no authority, no other member of an enrolment ever comes this way.
"""

import logging
from collections.abc import Awaitable, Callable

from edge_agent.errors import CustodyError, EvidenceError
from edge_agent.protocol.renewal import MAX_RENEWAL_BYTES, MEDIA_TYPE, PATH
from edge_agent.rtcc.receiver_namespace import AsgiMessage, Receive, Send, refuse
from edge_agent.rtcc.state_questions import NO_ANSWER

Renew = Callable[[str, bytes, bytes], bytes]
"""Takes a gateway's id, the certificate that it showed (DER) and its message; returns the further one (PEM)."""

log = logging.getLogger(__name__)


def is_renewal(scope: AsgiMessage) -> bool:
    """Tell whether a request is for this part of the server."""
    return str(scope["path"]).startswith(PATH)


async def answer_renewal(
    scope: AsgiMessage, receive: Receive, send: Send, renew: Callable[[str, bytes, bytes], Awaitable[bytes]]
) -> None:
    """Answer 200 with the certificate; 404 elsewhere than at one's own path, 403 if refused, 503 without key or state.

    Args:
        scope: Of the request; ``peer`` and ``certificate`` are in its state.
        receive: Of the request.
        send: Of the request.
        renew: As ``Renew``, asked where nobody's event loop waits.
    """
    state = scope.get("state", {})
    gateway, shown = str(state.get("peer", "")), state.get("certificate", b"")
    # The path must name the gateway of the certificate: one gateway never asks for another.
    if not gateway or not shown or scope["path"] != PATH + gateway or scope["method"] != "POST":
        await refuse(receive, send, 404)
        return
    receive = _end_with_the_body(receive)
    body = await _read(receive)
    if body is None:
        await refuse(receive, send, 413)
        return
    try:
        content = await renew(gateway, shown, body)
    except EvidenceError as error:
        log.warning("certificate refused: %s", error)
        await refuse(receive, send, 403)
    except CustodyError as error:
        log.error("certificates cannot be renewed here: %s", error)
        await refuse(receive, send, 503)
    except NO_ANSWER as error:
        log.error("certificate was not renewed, the state does not answer: gateway=%s %s", gateway, error)
        await refuse(receive, send, 503)
    else:
        log.info("certificate renewed: gateway=%s", gateway)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _end_with_the_body(receive: Receive) -> Receive:
    """Return what receives a body and no more: a refusal reads the rest, and behind its end nothing comes for long."""
    is_over = False

    async def receive_body() -> AsgiMessage:
        nonlocal is_over
        if is_over:
            return {"type": "http.disconnect"}
        message = await receive()
        is_over = not message.get("more_body", False)
        return message

    return receive_body


async def _read(receive: Receive) -> bytes | None:
    """Read the body; None for one that is too long, or was cut off."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += bytes(message.get("body", b""))
        # Before the next piece is read: a sender without an end fills no memory.
        if len(body) > MAX_RENEWAL_BYTES:
            return None
        if not message.get("more_body", False):
            return body

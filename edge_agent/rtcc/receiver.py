"""The RTCC's upload server: a tus endpoint behind mutual TLS.

Owns the HTTP side: the right to create an upload, its size and name, and the time-out of a silent
one; ``edge_agent.rtcc.receiver_storage`` puts the bytes away. An upload is ciphertext without its
age header: no key of this machine opens it before the gateway's signed answer brings that header.
"""

import asyncio
import logging
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from tuspyserver import create_tus_router

from edge_agent.host.accepting import ConnectionPlaces, CountingListener, QuickHandshakeLoop
from edge_agent.rtcc.receiver_certificates import Renew, answer_renewal, is_renewal
from edge_agent.rtcc.receiver_connections import MAX_IN_ALL, MAX_OF_ONE_ADDRESS, PeerProtocol
from edge_agent.rtcc.receiver_namespace import (
    PREFIX,
    RETRY_AFTER_S,
    App,
    AsgiMessage,
    Receive,
    Send,
    keep_apart,
    refuse,
)
from edge_agent.rtcc.receiver_room import STALLED_S, NoRoom
from edge_agent.rtcc.receiver_storage import UPLOAD_NAME, ReceiveStorage, peer
from edge_agent.rtcc.server_thread import ServerThread, make_server
from edge_agent.rtcc.state_questions import NO_ANSWER, Revocations, StateQuestions

MAX_UPLOAD_BYTES = 64 << 30
KEEP_FREE_BYTES = 1 << 30
"""Left to the other programs of this disk, the state's database among them."""
KEEP_DAYS = 5
"""An upload without a new byte goes after so long, even if there is room (docs/rtcc.md)."""
IDLE_TIMEOUT_S = 30.0
"""A body that brings nothing for so long is taken as cut off: its lock is given to the next attempt."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """The receiver's address, its certificate, its folders and its limits (bytes)."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    uploads_dir: Path
    received_dir: Path
    max_upload_bytes: int = MAX_UPLOAD_BYTES
    keep_free_bytes: int = KEEP_FREE_BYTES


class Receiver(ServerThread):
    """A receiver in a thread of this process; use it as a context manager, or ``serve`` it in the foreground."""

    def __init__(
        self,
        settings: ReceiverSettings,
        is_announced: Callable[[str, str], bool],
        on_received: Callable[[str, str], None] | None = None,
        find_signed: Callable[[str, str], str | None] | None = None,
        is_revoked: Callable[[str], bool] | None = None,
        renew: Renew | None = None,
    ) -> None:
        """Prepare, and finish what an earlier run left.

        Args:
            settings: Port 0 takes a free one.
            is_announced: Tells whether a verified ``queued`` of this gateway names this upload.
            on_received: Called with the gateway's id and the upload's name once it is whole and durable.
            find_signed: SHA-256 (hex) that this gateway's kept ``delivered`` names for this upload; None before one.
            is_revoked: Tells whether nothing more is taken from a gateway; asked at the beginning and the end of every
                request, and every second while bytes come.
            renew: Issues a gateway's further certificate; without it nobody gets one here.

        A question that raises ``UnavailableError`` or ``ConfigError`` has no answer: the gateway is told to come again.
        """
        self._settings = settings
        self._questions = StateQuestions()
        storage = ReceiveStorage(
            settings.uploads_dir, settings.received_dir, on_received or _log_received, find_signed or _find_nothing
        )
        storage.recover(KEEP_DAYS)
        self._storage = storage
        listener = CountingListener(
            socket.create_server((settings.host, settings.port)), ConnectionPlaces(MAX_OF_ONE_ADDRESS, MAX_IN_ALL)
        )
        self.port = int(listener.getsockname()[1])
        server = make_server(
            build_app(storage, settings, self._questions, is_announced, is_revoked or _nobody, renew),
            http=PeerProtocol,
            timeout_keep_alive=75,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            ssl_ca_certs=str(settings.ca),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
        )
        super().__init__("receiver", server, listener, QuickHandshakeLoop)

    @property
    def url(self) -> str:
        """The URL for enrolment files; a gateway creates its uploads under ``CN/`` in it."""
        return f"https://{self._settings.host}:{self.port}/{PREFIX}/"

    def stop(self) -> None:
        """Stop, and wait for the thread."""
        super().stop()
        self._storage.close()
        self._questions.close()


def build_app(
    storage: ReceiveStorage,
    settings: ReceiverSettings,
    questions: StateQuestions,
    is_announced: Callable[[str, str], bool],
    is_revoked: Callable[[str], bool],
    renew: Renew | None = None,
) -> App:
    """Return the ASGI application."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    for kind in NO_ANSWER:
        app.add_exception_handler(kind, _answer_later)

    def judge(request: Request) -> Callable[[dict[str, str], dict[str, Any]], Awaitable[None]]:
        async def judge_creation(metadata: dict[str, str], upload: dict[str, Any]) -> None:
            _refuse_unfit(request, metadata, upload, settings)
            name = metadata["filename"]
            if not await questions.ask(is_announced, peer.get(), name):
                # PROTOCOL 8, A15. The `queued` that names it may be on its way, or no program takes answers in now.
                raise _not_now(503, "no queued answer names this upload yet")
            _reserve(storage, settings, name, upload["size"])

        return judge_creation

    app.include_router(
        create_tus_router(
            prefix=PREFIX,
            files_dir=str(settings.uploads_dir),
            max_size=settings.max_upload_bytes,
            days_to_keep=KEEP_DAYS,
            pre_create_dep=judge,  # type: ignore[arg-type]  # it awaits what it is given
            storage=storage,
        )
    )
    later = None if renew is None else questions.defer(renew)
    # Revocation is judged before the path: a revoked gateway learns nothing about other uploads.
    return _guard(keep_apart(app, _find_peer), Revocations(questions, is_revoked), later)


def _guard(apart: App, revocations: Revocations, renew: Callable[[str, bytes, bytes], Awaitable[bytes]] | None) -> App:
    """Let nothing in from a gateway that was revoked, and nothing while nobody can say whether it was."""

    async def guarded(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        gateway = _find_peer(scope)

        async def receive_or_end() -> AsgiMessage:
            try:
                return await asyncio.wait_for(receive(), IDLE_TIMEOUT_S)
            except TimeoutError:
                return {"type": "http.disconnect"}

        async def receive_in_time() -> AsgiMessage:
            message = await receive_or_end()
            if message["type"] != "http.request":
                return message
            # The last piece asks the state anew: a gateway that was revoked during its upload must
            # not finish it.
            ask = revocations.ask_lately if message.get("more_body", False) else revocations.ask
            try:
                is_over = await ask(gateway)
            except NO_ANSWER as error:
                log.error("upload is cut off, the state does not answer: gateway=%s %s", gateway, error)
                is_over = True
            return {"type": "http.disconnect"} if is_over else message

        try:
            if await revocations.ask(gateway):
                await refuse(receive_or_end, send, 403)
                return
        except NO_ANSWER as error:
            log.error("nothing is taken, the state does not answer: gateway=%s %s", gateway, error)
            await refuse(receive_or_end, send, 503)
            return
        if renew is not None and is_renewal(scope):
            await answer_renewal(scope, receive_in_time, send, renew)
            return
        # The storage reads the gateway from here alone: no path and no header says whose an upload
        # is.
        peer.set(gateway)
        await apart(scope, receive_in_time, send)

    return guarded


async def _answer_later(_request: Request, error: Exception) -> Response:
    log.error("upload has to wait, the state does not answer: %s", error)
    return Response(status_code=503)


def _find_peer(scope: AsgiMessage) -> str:
    return str(scope.get("state", {}).get("peer", ""))


def _refuse_unfit(
    request: Request, metadata: dict[str, str], upload: dict[str, Any], settings: ReceiverSettings
) -> None:
    """Refuse an upload that we would never want, before anything of it is written."""
    size, name = upload["size"], metadata.get("filename", "")
    if not peer.get():
        raise HTTPException(403, "no client certificate")
    # Room is reserved by the announced size: an upload without one could fill the disk.
    if size is None or upload["defer_length"] or size <= 0:
        raise HTTPException(400, "Upload-Length is needed")
    # tuspyserver would read the whole body of a creation into memory and write it past the storage.
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise HTTPException(400, "a creation has no body")
    if "upload-concat" in request.headers:
        raise HTTPException(400, "uploads are not concatenated")
    if not UPLOAD_NAME.fullmatch(name):
        raise HTTPException(400, "Upload-Metadata needs a filename of 8 to 64 letters, digits, - and _")
    if size > settings.max_upload_bytes:
        raise HTTPException(413, "upload is too large")


def _reserve(storage: ReceiveStorage, settings: ReceiverSettings, name: str, size: int) -> None:
    """Make room; at the cost of uploads that stalled, but of a gateway's own ones if it is at its own limit."""
    storage.drop_stalled(KEEP_DAYS * 86400.0)
    refusal = _allow(storage, settings, name, size)
    # A gateway at its own limit costs no other gateway what it has sent so far.
    if refusal and storage.drop_stalled(STALLED_S, peer.get() if refusal.status == 429 else None):
        refusal = _allow(storage, settings, name, size)
    if refusal:
        raise _not_now(refusal.status, refusal.why)


def _allow(storage: ReceiveStorage, settings: ReceiverSettings, name: str, size: int) -> NoRoom | None:
    free_bytes = shutil.disk_usage(settings.uploads_dir).free - settings.keep_free_bytes
    return storage.room.allow(peer.get(), name, size, free_bytes)


def _not_now(status: int, why: str) -> HTTPException:
    return HTTPException(status, why, headers={"Retry-After": str(RETRY_AFTER_S)})


def _find_nothing(gateway: str, name: str) -> str | None:  # noqa: ARG001
    return None


def _nobody(gateway: str) -> bool:  # noqa: ARG001
    return False


def _log_received(gateway: str, name: str) -> None:
    log.info("upload received: gateway=%s upload=%s", gateway, name)

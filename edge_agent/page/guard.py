"""The guard before every page: the hosts that are answered, the origins of forms, and the rules for the browser.

Owns the allow-list of ``Host`` (against DNS rebinding), the origin of every POST (against forms of other pages), the
limit of a body, and the headers of every answer. An ASGI middleware: nothing behind it sees a request that it refused.
"""

import logging
import re
import traceback
from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 8 * 1024
"""The page's forms are some hundred bytes; the rest is room for a long name in UTF-8."""
_READS = ("GET", "HEAD")
_LENGTH = re.compile("[0-9]{1,9}")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    # For browsers that do not know frame-ancestors.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms (Fetch, 3.2).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # A house's requests, and their times, stay in no cache.
    "Cache-Control": "no-store",
}


PAGE_MEND = "Use an address that `edge-agent page` prints, or add a name: edge-agent page on --name NAME"


def find_fault(
    method: str, headers: Headers, hosts: frozenset[str], mend: str = PAGE_MEND, max_body: int = MAX_BODY_BYTES
) -> tuple[int, str] | None:  # fmt: skip
    """Return the status and the words of a refusal; None for a request that may go on.

    Args:
        method: Of the request.
        headers: Of the request.
        hosts: Every ``Host`` that is answered.
        mend: The advice to somebody who asked for another one.
        max_body: Bytes of a form.
    """
    found = headers.getlist("host")
    # RFC 9110, 15.5.20 (421). Before the method and before any cookie is read: a rebound name
    # learns nothing.
    if len(found) != 1 or found[0].lower() not in hosts:
        return 421, f"This page is not known by that name.\n{mend}\n"
    if method in _READS:
        return None
    if method != "POST":
        return 405, "This page takes GET and POST.\n"
    if not _is_own_form(headers, f"https://{found[0].lower()}"):
        return 403, "This form did not come from this page. Open the page and press the button there.\n"
    if headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return 415, "This page takes plain forms only.\n"
    # No length, no form: a chunked body could grow while it is read.
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length) or int(length) > max_body:
        return 413, f"A form here has at most {max_body} bytes, and says how many.\n"
    return None


def _is_own_form(headers: Headers, origin: str) -> bool:
    """Tell whether a POST was begun by this very page. Every browser sends ``Origin`` with a POST."""
    # Older browsers do not send Sec-Fetch-Site: then `Origin` alone decides, and its absence
    # refuses.
    site = headers.get("sec-fetch-site", "same-origin")
    return site == "same-origin" and headers.get("origin", "").lower() == origin


class Guard:
    """The middleware.

    Args:
        app: Answers the requests that may go on.
        hosts: Every ``Host`` that is answered.
        mend: The advice to somebody who asked for another one.
        headers: Of every answer.
        max_body: Bytes of a form.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Iterable[str],
        mend: str = PAGE_MEND,
        headers: Mapping[str, str] = HEADERS,
        max_body: int = MAX_BODY_BYTES,
    ) -> None:
        self._app, self._hosts = app, frozenset(each.lower() for each in hosts)
        self._mend, self._headers, self._max_body = mend, headers, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on; in both cases with the headers."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        fault = find_fault(scope["method"], Headers(scope=scope), self._hosts, self._mend, self._max_body)
        if fault is None:
            try:
                await self._app(scope, receive, send_guarded)
            except Exception as error:
                # It was answered; uvicorn would write a page of trace for each.
                at = traceback.extract_tb(error.__traceback__)[-1]
                log.error("page failed: error=%s at=%s:%d", type(error).__name__, at.name, at.lineno or 0)
        else:
            answer = PlainTextResponse(fault[1], fault[0], {"Connection": "close"})
            await answer(scope, receive, send_guarded)

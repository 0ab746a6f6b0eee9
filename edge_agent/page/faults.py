"""The page that a browser is shown if something goes wrong: the same for the page and the desk, with no traceback."""

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edge_agent.errors import EdgeAgentError, UnavailableError, UsageError
from edge_agent.page.languages import Words, load_words, pick_language

RenderFault = Callable[[int, str, str, bool, Words], Response]
"""Takes a status, a sentence, a hint, whether the browser looks again by itself, and its language; returns the page."""


def find_words(request: Request) -> Words:
    """Return the words of a browser's language."""
    return load_words(pick_language(request.headers.get("accept-language", "")))


def make_exception_handlers(render: RenderFault, broken: str) -> dict[Any, Any]:
    """Return Starlette's exception handlers.

    Args:
        render: Makes the page.
        broken: The sentence for an error of the program.
    """

    def say_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return render(error.status_code, error.detail, "", False, find_words(request))

    def say_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, EdgeAgentError)
        if isinstance(error, UnavailableError):  # of this process: nobody answered. A form is never sent again.
            return render(503, str(error), error.hint, request.method == "GET", find_words(request))
        # A process refuses by its exit code: its error's class does not come through the socket.
        return render(
            400 if error.exit_code == UsageError.exit_code else 502, str(error), error.hint, False, find_words(request)
        )

    def say_nothing(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)

    def say_broken(request: Request, _error: Exception) -> Response:
        return render(500, broken, "", False, find_words(request))

    return {
        HTTPException: say_refusal,
        EdgeAgentError: say_error,
        ClientDisconnect: say_nothing,
        Exception: say_broken,
    }

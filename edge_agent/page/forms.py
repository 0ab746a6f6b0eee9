"""A form of the page, read: names once each, all text, bounded in bytes and fields."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from edge_agent.errors import UsageError
from edge_agent.page.guard import MAX_BODY_BYTES

MAX_FIELDS = 16
"""The page's own forms have four at most; the desk sets a bound of its own."""


async def read_form(
    request: Request, max_fields: int = MAX_FIELDS, max_bytes: int = MAX_BODY_BYTES
) -> Mapping[str, str]:  # fmt: skip
    """Return the fields of a POST.

    Raises:
        UsageError: Too long, not UTF-8, too many fields, or one of them twice.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:  # whatever Content-Length said: a chunked body may say less
            raise UsageError("the form is too long")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=max_fields,
            errors="strict",
        )  # fmt: skip
    except ValueError as error:
        raise UsageError("the form cannot be read") from error
    fields = dict(pairs)
    # Of two values a check could read the one and an act the other.
    if len(fields) != len(pairs):
        raise UsageError("a field of the form came twice")
    return fields

"""One range of bytes, as a browser that plays asks for it (RFC 9110, 14.1.2)."""

import re

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte that are wanted; None for all of it.

    A header that is malformed, names several ranges, or none that there is, counts as none (14.2 allows it).
    """
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or size <= 0:
        return None
    first, last = match.groups()
    if not first:
        start, end = size - int(last or 0), size - 1
    else:
        start, end = int(first), int(last) if last else size - 1
    start, end = max(0, start), min(end, size - 1)
    return (start, end) if start <= end else None

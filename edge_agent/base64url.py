"""base64 in the one spelling that each value has: another text for the same bytes is refused. Pure."""

import base64


def encode_b64(raw: bytes | bytearray) -> str:
    """Write base64 (RFC 4648, 4)."""
    return base64.b64encode(raw).decode()


def parse_b64(text: object) -> bytes:
    """Read base64; ValueError for anything else, spare bits and other alphabets included."""
    if isinstance(text, str):
        raw = base64.b64decode(text, validate=True)
        if encode_b64(raw) == text:
            return raw
    raise ValueError("not base64")


def encode_b64url(raw: bytes) -> str:
    """Write base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_b64url(text: object) -> bytes:
    """Read base64url without padding; ValueError for anything else, spare bits and other alphabets included."""
    if isinstance(text, str):
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if encode_b64url(raw) == text:
            return raw
    raise ValueError("not base64url without padding")

"""The header of an age file, read as strictly as the format has it (C2SP age, "Header").

Owns its grammar, because the library that decrypts is laxer: it takes a stanza without a body, and one whose body does
not end with a short line. Two readers must not take one file for two. Pure; holds no key, so the MAC is not its own.
"""

import re

from edge_agent.errors import EvidenceError

_INTRO = b"age-encryption.org/v1"
# Arguments are printable ASCII, one blank between each two.
_STANZA = re.compile(rb"-> [!-~]+(?: [!-~]+)*")
# HMAC-SHA-256: 32 bytes are 43 letters of unpadded base64 (RFC 4648, 4).
_MAC = re.compile(rb"--- [A-Za-z0-9+/]{43}")
# C2SP age: bodies are wrapped at 64 columns, and end with a line that is shorter.
_FULL, _SHORT = re.compile(rb"[A-Za-z0-9+/]{64}"), re.compile(rb"[A-Za-z0-9+/]{0,63}")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def verify_header(header: bytes) -> None:
    """Verify the form of a whole header, from its first line to the line feed behind its MAC.

    Raises:
        EvidenceError: It is no header of age, version 1, to the letter; the message names the line.
    """
    lines = header.split(b"\n")
    # Intro, one stanza of two lines, MAC, and the empty rest behind the last line feed: five.
    if lines[0] != _INTRO or lines[-1] != b"" or len(lines) < 5:
        raise EvidenceError("age header is not a whole one of version 1")
    at, end = 1, len(lines) - 2
    while at < end:
        if _STANZA.fullmatch(lines[at]) is None:
            raise _fault("is no stanza", at)
        at = _skip_body(lines, at + 1, end)
    if _MAC.fullmatch(lines[end]) is None or not _is_canonical(lines[end][4:]):
        raise _fault("is no MAC", end)


def _skip_body(lines: list[bytes], at: int, end: int) -> int:
    """Return the line behind a stanza's body: full lines, then a short one, which may be empty but is there."""
    while at < end and _FULL.fullmatch(lines[at]):
        at += 1
    if at >= end or _SHORT.fullmatch(lines[at]) is None:
        raise _fault("does not end its stanza's body", at)
    if not _is_canonical(lines[at]):
        raise _fault("is no base64", at)
    return at + 1


def _is_canonical(text: bytes) -> bool:
    """Tell whether the end of unpadded base64 has no spare bits; full lines before it have none."""
    # RFC 4648, 3.5: two letters carry 8 of 12 bits, three 16 of 18; one alone carries no byte.
    spare = {0: 0, 1: None, 2: 0x0F, 3: 0x03}[len(text) % 4]
    return spare is not None and not (spare and _ALPHABET.index(text[-1:]) & spare)


def _fault(what: str, at: int) -> EvidenceError:
    return EvidenceError(f"age header has a line that {what}: line={at + 1}")

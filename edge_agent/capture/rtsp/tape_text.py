"""The words of a camera, made fit to be handed to a stranger who mends our reader.

Owns what of a dialogue a tape keeps: what our reader understands, and the shape of the rest. Nothing is kept because it
looks harmless. A value, or a part of one between separators, is kept if a pattern for that header or attribute
understands all of it; any other is replaced by ``x``. So addresses, paths, session ids, realms, nonces, names and
times go, whatever stands before or behind them. Pure.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping

HOST = "192.0.2.1"
"""Of no network (RFC 5737)."""
_GONE = "x"
_MOST_VALUE = 300
_MOST_SET = 512
WordMask = Callable[[str], str]

_METHODS = "OPTIONS|DESCRIBE|SETUP|PLAY|PAUSE|TEARDOWN|GET_PARAMETER|SET_PARAMETER|ANNOUNCE|RECORD|REDIRECT"
_START = re.compile(rf"(?:(?P<status>RTSP/1\.[0-9] +[1-9][0-9]{{2}})|(?P<method>{_METHODS}) )(?![0-9])")
_NAME = re.compile(r"[A-Za-z][A-Za-z-]{0,39}")
"""Of a header or an attribute: written by who made the camera."""
_URL = re.compile(r"(?P<scheme>rtsps?)://(?P<host>[^\s/]+)(?P<path>/\S*)?", re.IGNORECASE | re.ASCII)
_PORT = re.compile(r"[^@]*(:(?:322|554|8554))")
_TRACK = re.compile(r"(?:track|trackID|stream|streamid|video)=?[0-9]{0,2}", re.IGNORECASE | re.ASCII)
"""The last name of a path if it is no more than that; anything else may be a name or a token."""


def _keep(pattern: str) -> WordMask:
    understood = re.compile(pattern, re.IGNORECASE | re.ASCII)
    return lambda value: value if understood.fullmatch(value) else _GONE


def _drop(_: str) -> str:
    return _GONE


def _keep_parts(separators: str, mask: WordMask) -> WordMask:
    """Return a mask for each part between separators; the separators stay, and so do blanks around a part."""
    parts = re.compile(rf"[^{separators}]+")

    def mask_part(part: str) -> str:
        word = part.strip(" ")
        return part.replace(word, mask(word), 1) if word else part

    return lambda value: parts.sub(lambda found: mask_part(found[0]), value)


def mask_answer(head: bytes, body: bytes) -> tuple[str, str]:
    """Return head and body of a message as a tape holds them; the body is a description, or empty."""
    first, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    masked_body = mask_description(body) if body.lstrip().startswith(b"v=") else ""
    kept = [_mask_header(line, len(masked_body)) for line in lines if line]
    start = _START.match(first)
    begin = start["status"] if start else None
    method = start["method"] if start and start["method"] else _GONE.upper()
    return "\r\n".join([f"{begin} {_GONE}" if begin else f"{method} * RTSP/1.0", *kept]), masked_body


def _mask_header(line: str, body_bytes: int) -> str:
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name.strip()):
        return _GONE
    key = name.strip().lower()
    # The body was masked before: its length is another now.
    if key == "content-length":
        return f"{name}: {body_bytes}"
    mask, word = _HEADERS.get(key), value.strip()
    blanks = " " if value.startswith(" ") else ""
    return f"{name}:{blanks}{mask(word) if mask is not None and len(word) <= _MOST_VALUE else _GONE}"


def mask_url(value: str) -> str:
    """Replace an address: host, path and query, but the last name if it is one of a track; ``x`` if it is none."""
    found = _URL.fullmatch(value)
    if found is None:
        return _GONE
    path, query, _ = (found["path"] or "").partition("?")
    names, port = path.strip("/").split("/"), _PORT.fullmatch(found["host"])
    kept = f"{found['scheme'].lower()}://{HOST}{port[1] if port else ''}"
    kept += f"{path[:1]}{'stream' if path.strip('/') else ''}"
    kept += f"/{names[-1]}" if len(names) > 1 and _TRACK.fullmatch(names[-1]) else ""
    kept += "?x=x" if query else ""
    return kept + ("/" if value.endswith("/") and not kept.endswith("/") else "")


def _mask_control(value: str) -> str:
    if value in ("", "*") or _TRACK.fullmatch(value):
        return value
    masked = mask_url(value)
    return masked + "?x=x" if masked == _GONE and "?" in value else masked


def _mask_challenge(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    names = dict(re.findall(r"([A-Za-z]{1,12})\s*=\s*\"?([^\",]*)", rest))
    known = [
        (name, _CHALLENGE[name.lower()](text.strip())) for name, text in names.items() if name.lower() in _CHALLENGE
    ]
    quoted = ", ".join(f'{name}="{text}"' for name, text in known)
    return f"{_keep('Digest|Basic')(scheme)} {quoted}"


def _mask_session(value: str) -> str:
    name, semicolon, rest = value.partition(";")
    return f"{'1' if name else ''}{semicolon}{_TIMEOUT(rest)}"


def _mask_sets(value: str) -> str:
    """Keep parameter sets in base64 (RFC 6184 8.1, RFC 7798 7.1) if each is one of H.264 or H.265, and nothing more."""
    return value if all(map(_is_set, value.split(","))) else _GONE


def _is_set(text: str) -> bool:
    try:
        nal = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    nal = nal.removeprefix(b"\0").removeprefix(b"\0\0\1")
    # The header bytes of an SPS or a PPS of H.264 (any nal_ref_idc but 0), and of a VPS, SPS or PPS of H.265.
    is_one = bool(nal) and (
        nal[0] in (0x27, 0x47, 0x67, 0x28, 0x48, 0x68) or nal[:2] in (b"\x40\1", b"\x42\1", b"\x44\1")
    )
    return is_one and len(nal) <= _MOST_SET and b"\0\0\1" not in nal


def _mask_field(part: str) -> str:
    name, equals, value = part.partition("=")
    mask = _FIELDS.get(name.strip().lower())
    return f"{name}={mask(value.strip())}" if equals and mask is not None else _GONE


def _mask_fmtp(value: str) -> str:
    number, blank, rest = value.partition(" ")
    return f"{_keep('[0-9]{1,3}')(number)}{blank}{_keep_parts(';', _mask_field)(rest)}"


def _mask_stream_part(part: str) -> str:
    return f"url={mask_url(part[4:])}" if part.startswith("url=") else _keep("seq=[0-9]{1,5}|rtptime=[0-9]{1,10}")(part)


_TIMEOUT = _keep_parts(";", _keep(r"timeout ?= ?\"?[0-9]{1,6}\"?"))
_CHALLENGE: Mapping[str, WordMask] = {
    **dict.fromkeys(("realm", "nonce", "opaque", "domain"), _drop),
    "algorithm": _keep("(?:MD5|SHA-256|SHA-512-256)(?:-sess)?"),
    "qop": _keep("auth|auth-int"),
    "stale": _keep("true|false"),
    "charset": _keep("UTF-8"),
    "userhash": _keep("true|false"),
}
_HEADERS: Mapping[str, WordMask] = {
    "cseq": _keep("[0-9]{1,9}"),
    "content-type": _keep("application/sdp|text/parameters"),
    "public": _keep_parts(",", _keep(_METHODS)),
    "allow": _keep_parts(",", _keep(_METHODS)),
    "content-base": mask_url,
    "content-location": mask_url,
    "location": mask_url,
    "session": _mask_session,
    "transport": _keep_parts(
        ";",
        _keep(
            r"RTP/S?AVPF?(?:/TCP|/UDP)?|unicast|multicast|mode ?= ?\"?PLAY\"?|ssrc ?= ?[0-9a-f]{1,8}"
            r"|interleaved ?= ?[0-9]{1,3}(?: ?- ?[0-9]{1,3})?|(?:client|server)_port ?= ?[0-9]{1,5}(?:-[0-9]{1,5})?"
        ),
    ),
    "rtp-info": _keep_parts(",;", _mask_stream_part),
    "www-authenticate": _mask_challenge,
}
_LINES: Mapping[str, WordMask] = {
    "v": _keep("0"),
    "t": lambda _: "0 0",
    "o": lambda _: f"- 0 0 IN IP4 {HOST}",
    "c": lambda _: f"IN IP4 {HOST}",
    "m": _keep(
        r"(?:video|audio|application) [0-9]{1,5}(?:/[0-9])? (?:RTP/S?AVPF?|RTP/AVP/TCP)(?: {1,2}[0-9]{1,3}){1,16}"
    ),
    "b": _keep(r"(?:AS|CT|TIAS|RS|RR):[0-9]{1,9}"),
}
_CODECS = "H26[345]|H263-1998|JPEG|MP4V-ES|AV1|PCM[AU]|G72[1-9]|G726-[0-9]{2}|L16|OPUS|MP[A24]|MPEG4-GENERIC|MP4A-LATM"
_CODECS += r"|vnd\.onvif\.metadata(?:\.[a-z]{1,10})?"
_NUMBER = _keep("[0-9]{1,5}")
_FIELDS: Mapping[str, WordMask] = {
    **dict.fromkeys(("sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps"), _mask_sets),
    **dict.fromkeys(("packetization-mode", "profile-space", "profile-id", "tier-flag", "level-id"), _NUMBER),
    **dict.fromkeys(("sprop-max-don-diff", "sprop-depack-buf-nalus", "sprop-interleaving-depth"), _NUMBER),
    **dict.fromkeys(("streamtype", "sizelength", "indexlength", "indexdeltalength", "object"), _NUMBER),
    **dict.fromkeys(("cpresent", "constantduration", "stereo", "sprop-stereo"), _NUMBER),
    "profile-level-id": _keep("[0-9a-f]{1,6}"),
    "interop-constraints": _keep("[0-9a-f]{1,12}"),
    "mode": _keep("AAC-hbr|AAC-lbr|generic"),
    "config": _keep("[0-9a-f]{2,64}"),
}
_ATTRIBUTES: Mapping[str, WordMask] = {
    "rtpmap": _keep(rf"[0-9]{{1,3}} {{1,2}}(?:{_CODECS}) ?/ ?[0-9]{{1,7}}(?: ?/ ?[0-9]{{1,2}})?"),
    "fmtp": _mask_fmtp,
    "control": _mask_control,
    "framerate": _keep(r"[0-9]{1,3}(?:\.[0-9]{1,6})?"),
}
_FLAGS = frozenset({"recvonly", "sendonly", "sendrecv", "inactive"})


def mask_description(body: bytes) -> str:
    """Return a description as a tape holds it: its tracks, their codecs and their controls."""
    lines = body[: 64 << 10].decode("latin-1").replace("\r\n", "\n").split("\n")
    return "\r\n".join(_mask_line(line) for line in lines)


def _mask_line(line: str) -> str:
    kind, equals, value = line.partition("=")
    if not equals or not re.fullmatch("[a-z]", kind):
        return _GONE if line.strip() else ""
    return f"{kind}={_mask_attribute(value) if kind == 'a' else _LINES.get(kind, _drop)(value.strip())}"


def _mask_attribute(value: str) -> str:
    name, colon, rest = value.partition(":")
    if not colon:
        return name.strip() if name.strip() in _FLAGS else _GONE
    mask = _ATTRIBUTES.get(name, _drop)
    return f"{name if _NAME.fullmatch(name) else _GONE}:{mask(rest.strip())}"

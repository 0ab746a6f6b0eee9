"""The words of a camera, made fit to be handed to a stranger who mends our reader.

Owns what of a dialogue a tape keeps: what our reader understands, and the shape of the rest. Nothing is kept because it
looks harmless: a header or a line that is not named here keeps its name and loses its value. Addresses, paths, session
ids, realms, nonces, names and times are replaced. Pure.
"""

import re
from collections.abc import Callable, Mapping

HOST = "192.0.2.1"
"""Of no network (RFC 5737)."""
_GONE = "x"
_MOST_VALUE = 300
_URL = re.compile(r"rtsps?://[^\s;,\"]*", re.IGNORECASE)
_USUAL_NAME = re.compile(r"[A-Za-z]{1,12}[=_-]?[0-9]{0,3}")
"""Of a track, such as ``trackID=1``; anything else may be a token."""
_PARAMETER = re.compile(r"\s*([A-Za-z_-]{1,20})\s*(?:=\s*\"?([^;,\"]*)\"?)?\s*")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9 ,./_=;:+*()-]*")


def mask_answer(head: bytes, body: bytes) -> tuple[str, str]:
    """Return head and body of a message as a tape holds them; the body is a description, or empty."""
    first, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    masked_body = mask_description(body) if body.lstrip().startswith(b"v=") else ""
    kept = [_mask_header(line, len(masked_body)) for line in lines if line]
    status = re.match(r"RTSP/1\.[0-9] +[1-9][0-9]{2}|[A-Z_]{1,20}", first)
    begin = status[0] if status else _GONE
    return "\r\n".join([f"{begin} {_GONE}" if begin.startswith("RTSP") else f"{begin} * RTSP/1.0", *kept]), masked_body


def _mask_header(line: str, body_bytes: int) -> str:
    name, colon, value = line.partition(":")
    if not colon:
        return _GONE
    key = name.strip().lower()
    if key == "content-length":
        return f"{name}: {body_bytes}"
    mask = _HEADERS.get(key)
    blanks = value[: len(value) - len(value.lstrip())]
    return f"{name[:40]}:{blanks}{mask(value.strip()[:_MOST_VALUE]) if mask is not None else _GONE}"


def mask_urls(text: str) -> str:
    """Replace every address in a text: host, path and query, but the last name if it is one of a track."""
    return _URL.sub(lambda found: _mask_url(found[0]), text)


def _mask_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    port = re.search(r":([0-9]{1,5})$", host)
    names = path.rstrip("/").partition("?")[0].split("/")
    last = names[-1] if len(names) > 1 and _USUAL_NAME.fullmatch(names[-1]) else ""
    kept = f"{scheme.lower()}://{HOST}{f':{port[1]}' if port else ''}{slash}"
    kept += "stream" if path.strip("/") else ""
    kept += f"/{last}" if last else ""
    kept += "?x=x" if "?" in path else ""
    return kept + ("/" if path.endswith("/") else "")


def _mask_control(value: str) -> str:
    if value in ("", "*") or _USUAL_NAME.fullmatch(value):
        return value
    return mask_urls(value) if _URL.match(value) else _GONE + ("?x=x" if "?" in value else "")


def _keep(value: str) -> str:
    return value if _PLAIN_VALUE.fullmatch(value) else _GONE


def _mask_parameters(separator: str, kept: frozenset[str]) -> Callable[[str], str]:
    def mask(value: str) -> str:
        return separator.join(mask_one(part) for part in value.split(separator))

    def mask_one(part: str) -> str:
        found = _PARAMETER.fullmatch(part)
        if found is None or found[2] is None:
            return part if _PLAIN_VALUE.fullmatch(part) and "=" not in part else f" {_GONE}"
        return part if found[1].lower() in kept and _PLAIN_VALUE.fullmatch(found[2]) else part.replace(found[2], _GONE)

    return mask


def _mask_challenge(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    names = dict(re.findall(r"([A-Za-z]{1,12})\s*=\s*\"?([^\",]*)", rest))
    kept = {name: text if name.lower() in _CHALLENGE and _keep(text) == text else _GONE for name, text in names.items()}
    quoted = ", ".join(f'{name}="{text}"' for name, text in kept.items())
    return f"{_keep(scheme)} {quoted}"


def _mask_session(value: str) -> str:
    timeout = re.search(r";\s*timeout\s*=\s*\"?[0-9]{1,6}\"?", value, re.IGNORECASE)
    return f"1{timeout[0] if timeout else ''}" if value else ""


def _mask_rtp_info(value: str) -> str:
    parts = (mask_urls(part.strip()) for part in value.split(";"))
    return ";".join(
        part if re.fullmatch(r"url=rtsps?://\S+|(?:seq|rtptime)=[0-9]+.*", part) else _GONE for part in parts
    )


_CHALLENGE = frozenset({"algorithm", "qop", "stale", "charset", "userhash"})
_TRANSPORT = frozenset({"interleaved", "unicast", "mode", "ssrc", "client_port", "server_port"})
_HEADERS: Mapping[str, Callable[[str], str]] = {
    "cseq": _keep,
    "content-type": _keep,
    "public": _keep,
    "allow": _keep,
    "range": _keep,
    "scale": _keep,
    "server": _keep,
    "unsupported": _keep,
    "content-base": mask_urls,
    "content-location": mask_urls,
    "location": mask_urls,
    "session": _mask_session,
    "transport": _mask_parameters(";", _TRANSPORT),
    "rtp-info": _mask_rtp_info,
    "www-authenticate": _mask_challenge,
}
_LINES = {"v": _keep, "t": _keep, "m": _keep, "b": _keep}
_ATTRIBUTES: Mapping[str, Callable[[str], str]] = {
    "rtpmap": _keep,
    "fmtp": _keep,
    "control": _mask_control,
    "range": _keep,
    "framerate": _keep,
    "framesize": _keep,
    "x-dimensions": _keep,
    "cliprect": _keep,
    "recvonly": _keep,
    "sendonly": _keep,
    "sendrecv": _keep,
}


def mask_description(body: bytes) -> str:
    """Return a description as a tape holds it: its tracks, their codecs and their controls."""
    lines = body[: 64 << 10].decode("latin-1").replace("\r\n", "\n").split("\n")
    return "\r\n".join(_mask_line(line) for line in lines)


def _mask_line(line: str) -> str:
    kind, equals, value = line.partition("=")
    if not equals or len(kind) != 1:
        return _GONE if line.strip() else ""
    if kind == "o":
        return f"o=- 0 0 IN IP4 {HOST}"
    if kind == "c":
        return f"c=IN IP4 {HOST}"
    if kind == "a":
        name, colon, rest = value.partition(":")
        mask = _ATTRIBUTES.get(name)
        return f"a={name[:40]}{colon}{mask(rest.strip()) if mask is not None else _GONE if colon else ''}"
    mask_kind = _LINES.get(kind)
    return f"{kind}={mask_kind(value.strip()) if mask_kind is not None else _GONE}"

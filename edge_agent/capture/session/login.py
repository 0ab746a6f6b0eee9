"""Answers to RTSP and HTTP login challenges: Digest with MD5 or SHA-256, and Basic.

Owns which of several offers is taken and what is answered (RFC 7616, RFC 2617, RFC 7617). Pure but for the nonce of the
client, which the caller gives.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_CHALLENGE = re.compile(r"www-authenticate:\s*(\w+)\s*(.*)", re.IGNORECASE | re.ASCII)
_NEXT_OFFER = re.compile(r",\s*(?=(?:digest|basic)\s+\w+=)", re.IGNORECASE | re.ASCII)
# A name is bounded and begins at its border: a camera must not have us look for it at each of 16,000 letters.
_FIELD = re.compile(r'(?<!\w)(\w{1,40})\s*=\s*(?:"([^"]*)"|([^",\s]*))', re.ASCII)
_HASHES: dict[str, Callable[[str], str]] = {
    "MD5": lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
    "SHA-256": lambda text: hashlib.sha256(text.encode()).hexdigest(),
}


@dataclass(frozen=True, slots=True)
class LoginOffer:
    """One way to log in that a server offers."""

    scheme: str
    """``digest`` or ``basic``, in small letters; others are kept too, and never answered."""
    algorithm: str
    """``MD5`` if a Digest offer names none."""
    realm: str = ""
    nonce: str = ""
    opaque: str = ""
    has_qop: bool = False
    is_stale: bool = False

    @property
    def strength(self) -> int:
        """Which is taken first: Digest with SHA-256, with MD5, Basic; 0 for one that cannot be answered."""
        if self.scheme == "digest":
            return {"SHA-256": 3, "MD5": 2}.get(self.algorithm, 0)
        return int(self.scheme == "basic")


def read_offers(head: Sequence[str]) -> list[LoginOffer]:
    """Return the offers in the lines of an answer's head, in their order; several may share a line."""
    offers = []
    for line in head:
        if (found := _CHALLENGE.match(line)) is None:
            continue
        for each in _NEXT_OFFER.split(f"{found[1]} {found[2]}"):
            scheme, _, rest = each.partition(" ")
            fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(rest)}
            offers.append(
                LoginOffer(
                    scheme.lower(),
                    fields.get("algorithm", "MD5").upper(),
                    fields.get("realm", ""),
                    fields.get("nonce", ""),
                    fields.get("opaque", ""),
                    "auth" in re.split(r"[,\s]+", fields.get("qop", "")),
                    fields.get("stale", "").lower() == "true",
                )
            )
    return offers


def choose(offers: Sequence[LoginOffer], *, may_send_password: bool) -> LoginOffer | None:
    """Return the best offer that can be answered; Basic only if the password may be sent as it is."""
    usable = [offer for offer in offers if offer.strength and (may_send_password or offer.scheme != "basic")]
    return max(usable, key=lambda offer: offer.strength, default=None)


def is_answered_by_ffmpeg(offers: Sequence[LoginOffer]) -> bool:
    """Tell whether FFmpeg can log in: it takes the last Digest offer, whichever it is, and knows MD5 alone."""
    digests = [offer for offer in offers if offer.scheme == "digest"]
    if digests:
        return digests[-1].algorithm in ("MD5", "MD5-SESS")
    return any(offer.scheme == "basic" for offer in offers)


def answer(offer: LoginOffer, method: str, url: str, login: tuple[str, str], client_nonce: str, uses: int = 1) -> str:
    """Return the value of the ``Authorization`` header; it holds no password unless the offer is Basic.

    Args:
        offer: One of ``choose``.
        method: Of the request.
        url: Of the request, as its first line has it.
        login: User name and password.
        client_nonce: Fresh, hexadecimal; used if the offer has a quality of protection.
        uses: How many requests this offer's nonce has answered, this one included (RFC 7616 3.4, ``nc``).
    """
    username, password = login
    if offer.scheme == "basic":
        return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
    digest = _HASHES[offer.algorithm]
    # RFC 7616, 3.4.1 to 3.4.3: A1, A2; without qop as in RFC 2617, 3.2.2.1.
    secret, asked = digest(f"{username}:{offer.realm}:{password}"), digest(f"{method}:{url}")
    middle = f"{offer.nonce}:{uses:08x}:{client_nonce}:auth" if offer.has_qop else offer.nonce
    # RFC 9110, 5.6.4: a quoted string. The digest is over the name as it is.
    name = username.replace("\\", "\\\\").replace('"', '\\"')
    fields = [f'username="{name}"', f'realm="{offer.realm}"', f'nonce="{offer.nonce}"', f'uri="{url}"']
    fields += [f'response="{digest(f"{secret}:{middle}:{asked}")}"', f"algorithm={offer.algorithm}"]
    fields += ["qop=auth", f"nc={uses:08x}", f'cnonce="{client_nonce}"'] if offer.has_qop else []
    fields += [f'opaque="{offer.opaque}"'] if offer.opaque else []
    return "Digest " + ", ".join(fields)

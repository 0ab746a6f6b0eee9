"""The logins of the simulated camera: Digest and Basic (RFC 2617)."""

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.demo.rtsp_request import RtspRequest

_REALM = "camera"


@dataclass(frozen=True, slots=True)
class Account:
    """The allowed logins; without a user name everybody may."""

    username: str = ""
    password: str = field(default="", repr=False)
    basic: bool = False

    def challenges(self, nonce: str, algorithms: Sequence[str], *, is_stale: bool = False) -> list[tuple[str, str]]:
        """Return the ``WWW-Authenticate`` headers: one for each algorithm, of which an empty one is not named."""
        if self.basic:
            return [("WWW-Authenticate", f'Basic realm="{_REALM}"')]
        offers = []
        for algorithm in algorithms:
            named = f", algorithm={algorithm}" if algorithm else ""
            stale = ", stale=true" if is_stale else ""
            offers.append(f'Digest realm="{_REALM}", nonce="{nonce}"{named}{stale}')
        # The fault `sha256-then-md5` offers Basic beside them.
        offers += [f'Basic realm="{_REALM}"'] if len(algorithms) > 1 and algorithms[-1] == "MD5" else []
        return [("WWW-Authenticate", offer) for offer in offers]

    def admits(self, request: RtspRequest, nonce: str, algorithms: Sequence[str]) -> bool:
        """Check a request's credentials; one of the algorithms has to be used."""
        if not self.username:
            return True
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if self.basic:
            wanted = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return scheme == "Basic" and secrets.compare_digest(rest.strip(), wanted)
        if scheme != "Digest":
            return False
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', rest))
        # RFC 2617, 3.2.1: MD5 if none is named.
        algorithm = given.get("algorithm", "MD5")
        if algorithm not in {each or "MD5" for each in algorithms}:
            return False
        # RFC 2617, 3.2.2.1, without `qop`, which no challenge of ours offers.
        digest = _sha256 if algorithm == "SHA-256" else _md5
        first = digest(f"{self.username}:{_REALM}:{self.password}")
        second = digest(f"{request.method}:{given.get('uri', '')}")
        good = secrets.compare_digest(given.get("response", ""), digest(f"{first}:{nonce}:{second}"))
        return good and given.get("username") == self.username and given.get("nonce") == nonce


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

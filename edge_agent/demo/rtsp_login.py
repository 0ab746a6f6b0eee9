"""Who may watch the simulated camera: Digest and Basic (RFC 2617)."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from edge_agent.demo.rtsp_request import RtspRequest

_REALM = "camera"


@dataclass(frozen=True, slots=True)
class Account:
    """Who may watch; without a user name everybody may."""

    username: str = ""
    password: str = field(default="", repr=False)
    basic: bool = False

    def challenge(self, nonce: str, *, sha256_only: bool = False) -> tuple[str, str]:
        """Return the ``WWW-Authenticate`` header."""
        if self.basic:
            return "WWW-Authenticate", f'Basic realm="{_REALM}"'
        algorithm = ", algorithm=SHA-256" if sha256_only else ""
        return "WWW-Authenticate", f'Digest realm="{_REALM}", nonce="{nonce}"{algorithm}'

    def admits(self, request: RtspRequest, nonce: str) -> bool:
        """Check a request's credentials."""
        if not self.username:
            return True
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if self.basic:
            wanted = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return scheme == "Basic" and secrets.compare_digest(rest.strip(), wanted)
        if scheme != "Digest":
            return False
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', rest))
        first = _md5(f"{self.username}:{_REALM}:{self.password}")
        second = _md5(f"{request.method}:{given.get('uri', '')}")
        good = secrets.compare_digest(given.get("response", ""), _md5(f"{first}:{nonce}:{second}"))
        return good and given.get("username") == self.username and given.get("nonce") == nonce


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

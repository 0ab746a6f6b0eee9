"""What lets a browser begin at the desk: a link from the page, good for an hour.

Owns the ticket (an HMAC, RFC 2104, over its end). It is no key to anything: the desk takes passphrase and code as well.
It keeps whoever is on the Wi-Fi and is no paired device from having the owner told codes without end.
"""

import hashlib
import hmac
from collections.abc import Callable

LIFE_S = 3600
KEY_BYTES = 32


class Tickets:
    """Makes and reads tickets.

    Args:
        key: Shared by the page and the desk.
        now_s: The wall clock, in seconds.
    """

    def __init__(self, key: bytes, now_s: Callable[[], int]) -> None:
        self._key, self._now_s = key, now_s

    def make(self) -> str:
        """Return a ticket."""
        end = str(self._now_s() + LIFE_S)
        return f"{end}.{self._seal(end)}"

    def is_good(self, ticket: str) -> bool:
        """Tell whether the page made this ticket, and not long ago."""
        end, _, seal = ticket.partition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(end).encode()):
            return False
        return 0 <= int(end) - self._now_s() <= LIFE_S

    def _seal(self, end: str) -> str:
        return hmac.new(self._key, b"edge-agent desk ticket v1 " + end.encode(), hashlib.sha256).hexdigest()

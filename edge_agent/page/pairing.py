"""The one-time code that makes a browser a device: asked for at the gateway, good for ten minutes and once.

Owns the code and the pauses after a wrong one. The code has 60 random bits, so that guessing over the network is
hopeless even without the pauses; they keep it from being tried at the network's speed.
"""

import hmac
import secrets
import threading
from collections.abc import Callable

LIFE_S = 600.0
"""Long enough to walk from the gateway to the phone."""
FIRST_LIFE_S = 3600
"""Of the code that ``page on`` prints, before the page has started."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's Base32: no letter that looks like another."""
_GROUPS, _GROUP = 3, 4
"""Twelve letters of five bits: 60 bits."""
_MAX_STRANGERS = 256
"""Addresses whose pause is remembered; the oldest goes. 60 bits hold without it."""
_ALIKE = str.maketrans("OIL", "011")
"""Letters that people read for a digit, as Crockford has it."""


class Pairing:
    """At most one code at a time. Safe from any thread.

    Args:
        now_s: A clock that no one sets.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._code = ""
        self._until_s = 0.0
        self._pauses: dict[str, tuple[float, float]] = {}
        """By address: no guess before, and how long the next pause is."""

    def offer(self) -> str:
        """Make a new code, in groups; the one before it is worth nothing any more."""
        code = make_code()
        self.accept(code, LIFE_S)
        return code

    def accept(self, code: str, life_s: float) -> None:
        """Take this code from now on, for so long; the one before it is worth nothing any more."""
        with self._lock:
            self._code, self._until_s = _read(code), self._now_s() + life_s
            self._pauses.clear()

    def wait_s(self, address: str) -> float:
        """Return how long an address must wait before its next guess; 0: not at all."""
        with self._lock:
            return max(0.0, self._pauses.get(address, (0.0, 0.0))[0] - self._now_s())

    def redeem(self, code: str, address: str) -> bool:
        """Use the code up; False if it is wrong, over, or comes within a pause, which a guess makes longer."""
        given = _read(code)
        with self._lock:
            now_s = self._now_s()
            not_before_s, pause_s = self._pauses.get(address, (0.0, FIRST_PAUSE_S))
            is_right = bool(self._code) and now_s < self._until_s and hmac.compare_digest(given, self._code)
            # A right code within a pause counts as wrong: else the pause would bound nothing.
            if is_right and now_s >= not_before_s:
                self._code = ""
                self._pauses.pop(address, None)
                return True
            if len(self._pauses) >= _MAX_STRANGERS:
                self._pauses.pop(next(iter(self._pauses)))
            self._pauses[address] = (now_s + pause_s, min(LONGEST_PAUSE_S, 2 * pause_s))
            return False


def make_code() -> str:
    """Return a new code, in groups."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_GROUPS * _GROUP))
    return "-".join(letters[start : start + _GROUP] for start in range(0, len(letters), _GROUP))


def _read(code: str) -> str:
    return "".join(letter for letter in code.upper().translate(_ALIKE) if letter in _LETTERS)

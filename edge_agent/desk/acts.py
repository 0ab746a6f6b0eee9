"""The acts that the owner is about to sign: one act behind each form, by a number that is good for one try.

Owns the forms' nonces, in memory alone. Safe from any thread.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import UsageError

MAX_ACTS = 64
"""In memory; a browser that draws forms without end pushes out the oldest."""


@dataclass(frozen=True, slots=True)
class Act:
    """A draft of the releaser's, as the desk has it."""

    what: str
    draft: str
    """The releaser's name for it."""
    messages: tuple[tuple[str, str], ...]
    """Type and payload of each."""
    sentence: str
    told: str
    """The services that took the code."""
    until_s: float
    beside: str = ""
    """A fixed text that is signed as well."""


class Acts:
    """Acts that wait for a signature.

    Args:
        now_s: A clock that no one sets.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._acts: dict[str, Act] = {}
        self._lock = threading.Lock()

    def add(self, act: Act) -> str:
        """Return the nonce of a new form for this act; of too many the oldest goes."""
        nonce = secrets.token_urlsafe(16)
        with self._lock:
            while len(self._acts) >= MAX_ACTS:
                self._acts.pop(next(iter(self._acts)))
            self._acts[nonce] = act
        return nonce

    def take(self, nonce: str) -> Act:
        """Return the act of a form, once; UsageError if it is over or was sent before."""
        with self._lock:
            # Taken, whatever follows: a form that is sent twice cannot sign twice.
            act = self._acts.pop(nonce, None)
        if act is None or act.until_s <= self._now_s():
            raise UsageError("This form is over, or was sent before.", "Begin anew from the page.")
        return act

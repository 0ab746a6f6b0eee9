"""The six digits that let one act of the desk through, and the draft behind each of them.

Owns the drafts that wait for their code, and the bound on guessing. The releaser makes the code for the digest of the
exact bytes that are to be signed. It tells the code to the owner's notice services alone, beside the sentence that it
made from these bytes itself: a stranger who draws the desk's pages draws neither. Nothing of it is on a disk,
and a restart forgets all of it.
"""

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.growing_pause import GrowingPause

LIFE_S = 300.0
"""As long as an order is good (``owner_order.MAX_AGE_NS``)."""
TRIES = 3
"""Of one draft."""
MAX_WAITING = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 3600.0
"""Between wrong codes, of whichever draft: a guesser who has the passphrase gets 24 tries a day."""


class WrongCodeError(EdgeAgentError):
    """The code is not the one of this draft."""

    exit_code = os.EX_NOPERM


@dataclass(frozen=True, slots=True)
class ToSign:
    """One message before it is signed."""

    typ: str
    payload: bytes
    """The very bytes that the owner's key has to sign."""


@dataclass(frozen=True, slots=True)
class DeskDraft:
    """One act before it is signed."""

    what: str
    """``approve``, ``resume``, ``look``, ``play``, ``export``, ``sign`` or ``join``: as the ledger names it."""
    messages: tuple[ToSign, ...]
    sentence: str
    """Their meaning, as the notice tells it and as the desk shows it."""
    command: str
    """Of the owner's socket, which carries it out."""
    members: Mapping[str, Any] = field(default_factory=dict)
    """The members that the command takes beside the signed bytes."""
    subject: Mapping[str, Any] = field(default_factory=dict)
    """The camera or the request, as the ledger names it."""
    beside: str = ""
    """A fixed text that is signed as well and lets no more footage leave: the desk alone shows it."""

    @property
    def digest(self) -> str:
        """SHA-256 over types and bytes, in hexadecimal: the code is good for these bytes alone."""
        parts = [[each.typ, hashlib.sha256(each.payload).hexdigest()] for each in self.messages]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(slots=True)
class _Waiting:
    draft: DeskDraft
    code: str
    until_s: float
    tries: int = 0


class Codes:
    """Drafts that wait for their code. Safe from any thread.

    Args:
        now_s: A clock that no one sets.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._pause = GrowingPause(FIRST_PAUSE_S, LONGEST_PAUSE_S, now_s)

    def offer(self, draft: DeskDraft) -> str:
        """Make the code of a draft; of more than ``MAX_WAITING`` the oldest goes."""
        code = f"{secrets.randbelow(1_000_000):06}"
        with self._lock:
            self._drop_old()
            while len(self._waiting) >= MAX_WAITING:
                self._waiting.pop(next(iter(self._waiting)))
            # By the digest of the bytes: the code of one act lets no other through, however alike
            # they read.
            self._waiting[draft.digest] = _Waiting(draft, code, self._now_s() + LIFE_S)
        return code

    def take_back(self, draft: DeskDraft) -> None:
        """Forget a draft of which nobody could be told."""
        with self._lock:
            self._waiting.pop(draft.digest, None)

    def find(self, digest: str) -> DeskDraft:
        """Return the draft that waits; UsageError if none of that digest does."""
        with self._lock:
            self._drop_old()
            waiting = self._waiting.get(digest)
        if waiting is None:
            raise UsageError("this is over, or was done", "begin anew: a code is good once, and for five minutes")
        return waiting.draft

    def redeem(self, draft: DeskDraft, code: str) -> None:
        """Use a draft's code up.

        Raises:
            WrongCodeError: It is another one; after ``TRIES`` the draft is gone.
            UsageError: The draft is over, or a pause after a wrong code is not.
        """
        with self._lock:
            self._drop_old()
            waiting = self._waiting.get(draft.digest)
            if waiting is None:
                raise UsageError("this is over, or was done", "begin anew: a code is good once, and for five minutes")
            # Before the comparison: within a pause a right code is not taken either, so a guess
            # tells nothing.
            if (wait_s := self._pause.wait_s()) > 0:
                raise UsageError(f"after a wrong code no other is taken for a while: wait {int(wait_s) + 1} s")
            if hmac.compare_digest(code.encode(), waiting.code.encode()):
                del self._waiting[draft.digest]
                self._pause.end()
                return
            self._pause.grow()
            waiting.tries += 1
            if waiting.tries >= TRIES:
                del self._waiting[draft.digest]
        raise WrongCodeError("this is not the code of this act", "read it in the message, beside the same sentence")

    def _drop_old(self) -> None:
        now_s = self._now_s()
        for digest in [each for each, waiting in self._waiting.items() if waiting.until_s <= now_s]:
            del self._waiting[digest]

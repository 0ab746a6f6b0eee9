"""When a stream is tried again, by why it was lost. Pure but for its dice.

Owns the three ways to wait. A trouble that passes by itself is tried every second or two, so that a camera that is back
is recorded at once. One that a person has to mend is tried at growing intervals. A login that was refused is tried less
often still: several cameras lock the user after five wrong passwords.
"""

import random

from edge_agent.capture.backoff import Backoff
from edge_agent.capture.reasons import CaptureError
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs

SOON_NS = 3 * SECOND_NS // 2
_FIRST_LOGIN_NS = 15 * SECOND_NS
PASSING = frozenset({"unreachable", "no-answer", "stalled", "ended", "busy", "session-still-open", "lost-packets"})
_PASSING_ONCE_IT_WORKED = frozenset({"not-found", "refused", "no-video", "protocol-error", "internal-error"})
"""Reasons that a camera or bridge also gives while it starts."""
_LOGIN = frozenset({"unauthorized", "digest-sha256-only", "login-unusable", "redirected"})
_MISSED = frozenset({"unreachable", "no-answer"})
SESSION_NS = MINUTE_NS + 2 * SECOND_NS
"""So long a camera holds a session whose client is gone, unless it says otherwise (RFC 2326, 12.37)."""


class Retry:
    """The waits between the attempts at one stream, and the bearing of the last one on the next.

    Args:
        dice: A quarter more or less, so that cameras do not come back at once.
        lost: When the last session was lost without a word, by the time since boot; None if that is not known.
    """

    def __init__(self, dice: random.Random, lost: MonoNs | None = None) -> None:
        self._dice, self._lost = dice, lost
        self._backoff = Backoff(dice)
        self._login_ns = _FIRST_LOGIN_NS
        self._has_worked = False
        self.knocks = False
        """Whether the camera is to be asked for a sign of life first: an opening waits for ten seconds."""

    def next_ns(self, reason: str, *, is_patient: bool = False) -> int:
        """Return how long to wait after a failure.

        Args:
            reason: One of ``capture.reasons``.
            is_patient: Nothing is tried every second: the camera runs on a battery, or its bridge wakes it.
        """
        self.knocks = reason in _MISSED and not is_patient
        if reason in _LOGIN:
            wait_ns = self._login_ns
            self._login_ns = min(MINUTE_NS, 2 * self._login_ns)
            return min(MINUTE_NS, wait_ns * self._dice.randrange(750, 1250) // 1000)
        passes = reason in PASSING or (self._has_worked and reason in _PASSING_ONCE_IT_WORKED)
        if passes and not is_patient:
            return SOON_NS * self._dice.randrange(750, 1250) // 1000
        return self._backoff.next_ns()

    def reset(self) -> None:
        """Begin again at the shortest waits: there was footage."""
        self._has_worked = True
        self._login_ns = _FIRST_LOGIN_NS
        self._backoff.reset()

    def resume(self) -> None:
        """Begin again at the shortest of the growing waits: the stream was not wanted, and is.

        That says nothing of whether the camera works, and a login that was refused is no better for it.
        """
        self._backoff.reset()

    def lose_session(self, now: MonoNs) -> None:
        """Take in that a session that was open has broken off."""
        self._lost = now

    def explain(self, trouble: CaptureError, now: MonoNs) -> CaptureError:
        """Return why a camera is busy, if it may be because it still holds the session that broke off."""
        if trouble.reason == "busy" and self._lost is not None and now - self._lost < SESSION_NS:
            return CaptureError("session-still-open", trouble.detail)
        return trouble

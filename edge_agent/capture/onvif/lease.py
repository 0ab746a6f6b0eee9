"""How long an ONVIF pull point lasts, as its camera grants it: when to renew it, when to make another. Pure.

A camera may grant less than was asked for, and need not renew a pull point because it is pulled (ONVIF Core
Specification, 9.3). Its answer is used as a duration only: its clock may be wrong.
"""

RENEW_EVERY_S = 30.0
LONGEST_WAIT_S = 5.0
_SHORTEST_WAIT_S = 1.0
_LEAST_GRANT_S = 1.0
"""A shorter one is no grant but a camera that does not know the time."""
_PARTS = 3


class Lease:
    """The life of one pull point.

    Args:
        left_s: For how long it was granted; None if the camera does not say.
        now_s: By a clock that does not step.
    """

    def __init__(self, left_s: float | None, now_s: float) -> None:
        self._granted_s: float | None = None
        self._until_s = self._renewed_s = now_s
        self.extend(left_s, now_s)

    @property
    def wait_s(self) -> float:
        """How long a pull may wait for events: several pulls fit into the granted time."""
        if self._granted_s is None:
            return LONGEST_WAIT_S
        return max(_SHORTEST_WAIT_S, min(LONGEST_WAIT_S, self._granted_s / (2 * _PARTS)))

    def extend(self, left_s: float | None, now_s: float) -> None:
        """Take in the end of the lease that an answer names."""
        if left_s is None or left_s < _LEAST_GRANT_S:
            return
        self._granted_s = max(left_s, self._granted_s or 0.0)
        self._until_s = now_s + left_s

    def is_due(self, now_s: float) -> bool:
        """Tell, once, whether it is to be renewed: after a third of its life, and every half minute."""
        every_s = RENEW_EVERY_S if self._granted_s is None else min(RENEW_EVERY_S, self._granted_s / _PARTS)
        if now_s - self._renewed_s < every_s:
            return False
        self._renewed_s = now_s
        return True

    def is_ending(self, now_s: float) -> bool:
        """Tell whether less than a third of its life is left, and so nothing has renewed it."""
        return self._granted_s is not None and self._until_s - now_s < self._granted_s / _PARTS

"""How much work a camera may cause in a round: packets, NAL units, messages, pictures and bytes, in one measure.

Owns the price of each. What costs more than is left is done all the same, because it cannot be cut, and is paid in the
rounds that follow: nothing is read of a camera that owes something, and TCP makes it wait. Pure.
"""

from edge_agent.units import SECOND_NS, MonoNs

ROUND_NS = SECOND_NS // 10
"""For so long a share is reckoned; and so often a session looks that is read by itself, without ``session.hub``."""
ROUND_WORK = 3000
"""In units of 1 to 5 µs of this process. 4K at 60 pictures a second, 40 Mbit/s and 135 slices takes 1900 of them a
round, over TLS with a record for each packet 2500."""
NAL, PICTURE = 1, 20
"""As a packet takes one (``split.Pieces.steps``). A picture costs the thread that records it more than its packets
cost the one that reads them."""
WORK_BYTES = 4096
"""So many bytes are hashed twice, encrypted and copied by one unit of work."""
_MOST_SAVED = 5 * ROUND_WORK
"""Between two rounds of ``session.hub``, and a quarter more, for a round that is late."""


class Allowance:
    """What is left of one camera's share. One thread at a time.

    Args:
        now: The time since boot.
    """

    def __init__(self, now: MonoNs) -> None:
        self._left, self._renewed = ROUND_WORK, now

    @property
    def is_spent(self) -> bool:
        """Tell whether nothing more may be read before the next round."""
        return self._left <= 0

    def renew(self, now: MonoNs) -> None:
        """Add what the time since the last call brings; half a second's at most is saved up."""
        earned = (now - self._renewed) * ROUND_WORK // ROUND_NS
        if earned > 0:
            # By what was credited: whoever looks often would lose the rest each time.
            self._renewed = MonoNs(self._renewed + earned * ROUND_NS // ROUND_WORK)
            self._left = min(_MOST_SAVED, self._left + earned)

    def spend(self, work: int) -> None:
        """Take work off, below zero if need be."""
        self._left -= work

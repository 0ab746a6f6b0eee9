"""A pause that grows with each wrong try, for everybody at once. It bounds guessing whoever guesses, and from where."""

import threading
from collections.abc import Callable


class GrowingPause:
    """Safe from any thread.

    Args:
        first_s: After the first wrong try; each further one doubles it.
        longest_s: It grows no longer than this.
        now_s: A clock that no one sets.
    """

    def __init__(self, first_s: float, longest_s: float, now_s: Callable[[], float]) -> None:
        self._first_s, self._longest_s, self._now_s = first_s, longest_s, now_s
        self._pause_s, self._until_s = first_s, 0.0
        self._lock = threading.Lock()

    def wait_s(self) -> float:
        """Return the seconds until the next try is taken; 0 if one is taken now."""
        with self._lock:
            return max(0.0, self._until_s - self._now_s())

    def grow(self) -> None:
        """Note a wrong try."""
        with self._lock:
            self._until_s = self._now_s() + self._pause_s
            self._pause_s = min(self._longest_s, 2 * self._pause_s)

    def end(self) -> None:
        """Note a right try: the next wrong one begins anew."""
        with self._lock:
            self._pause_s, self._until_s = self._first_s, 0.0

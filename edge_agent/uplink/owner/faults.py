"""Which faults of the gateway the owner is told of, and when: once, and once more when all is well again.

Pure: takes what is wrong now and the time since boot, and returns what is news. A fault is told when it has lasted for
as long as its kind says, so that a camera that hesitates wakes nobody. It counts as mended when it has not been seen
for ``WELL_NS``. One that comes nearer (an end in seven days, in one, now) is told again at each stage.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from edge_agent.units import MINUTE_NS, MonoNs

WELL_NS = MINUTE_NS
"""So long must a fault be gone: a camera that comes and goes is told of once."""

Key = tuple[str, str]
"""A fault's kind and subject."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong now.

    Attributes:
        kind: One of ``fault_words.WORDS``.
        subject: Which camera or folder; empty for the gateway itself.
        detail: Why, in words; may change without being news.
        since: When it began, as local time; empty if that is not known.
        after_ns: It is told when it has lasted for so long.
        stage: How near an end is; a higher one is news.
    """

    kind: str
    subject: str = ""
    detail: str = ""
    since: str = ""
    after_ns: int = 0
    stage: int = 0

    @property
    def key(self) -> Key:
        """Two faults with one key are the same fault."""
        return self.kind, self.subject


@dataclass(frozen=True, slots=True)
class Turn:
    """News: a fault that began, came nearer, or is over."""

    fault: Fault
    is_over: bool = False
    told: int | None = None
    """The stage that was told of it before; None if it was not told."""


class FaultWatch:
    """Knows the faults that were told.

    Args:
        told: The faults that were told before this process began and are not over: stages by fault.
    """

    def __init__(self, told: Mapping[Key, int]) -> None:
        self._told = dict(told)
        self._first_seen: dict[Key, MonoNs] = {}
        self._last_seen: dict[Key, MonoNs] = {}

    @property
    def told(self) -> Mapping[Key, int]:
        """The faults that were told and are not over: to be kept for the next start."""
        return dict(self._told)

    def look(self, faults: Iterable[Fault], well: Collection[Key], now: MonoNs) -> list[Turn]:
        """Take in the faults of now, and the subjects that are well; return the news.

        Args:
            faults: Everything that is seen to be wrong.
            well: Every subject that is seen to be well. Of the rest nothing is known, and nothing is said: a camera
                that was switched off is neither.
            now: Time since boot.
        """
        current = {fault.key: fault for fault in faults}
        turns = [turn for fault in current.values() for turn in self._see(fault, now)]
        for key in (self._first_seen.keys() | self._told.keys()) - current.keys():
            if key not in self._told:
                self._first_seen.pop(key)
            # Only if it is seen to be well: a subject that nobody can judge is not mended by that.
            elif key in well:
                turns += self._miss(key, now)
        return turns

    def take_back(self, turn: Turn) -> None:
        """Be again as before a turn, of which nobody could be told: it is news once more."""
        if turn.told is None:
            self._told.pop(turn.fault.key, None)
        else:
            self._told[turn.fault.key] = turn.told

    def _see(self, fault: Fault, now: MonoNs) -> list[Turn]:
        since = self._first_seen.setdefault(fault.key, now)
        self._last_seen[fault.key] = now
        told = self._told.get(fault.key)
        if now - since < fault.after_ns or (told is not None and told >= fault.stage):
            return []
        self._told[fault.key] = fault.stage
        return [Turn(fault, told=told)]

    def _miss(self, key: Key, now: MonoNs) -> list[Turn]:
        if now - self._last_seen.setdefault(key, now) < WELL_NS:
            return []
        told = self._told.pop(key)
        del self._last_seen[key]
        self._first_seen.pop(key, None)
        return [Turn(Fault(*key), is_over=True, told=told)]

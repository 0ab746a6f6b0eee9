"""Which blocks are too old to stay, and the time that may be believed.

Owns the rule that a forward step of the wall clock erases nothing until boot time has caught up or the owner has
confirmed it. Pure: is handed the index and the times.
"""

from dataclasses import dataclass

from edge_agent.buffer.index import BlockEntry, RingIndex
from edge_agent.units import HOUR_NS, ClockState, MonoNs, UtcNs

MAX_STEP_NS = HOUR_NS
"""FORMAT 7.6: no wall clock is believed that is further ahead of boot time and earlier blocks."""


@dataclass(slots=True)
class RetentionClock:
    """The latest time that retention may act on: the wall clock, within the bound that boot time sets."""

    anchor_utc_ns: UtcNs
    anchor_boot_ns: MonoNs

    def now(self, utc: UtcNs, boot: MonoNs) -> UtcNs:
        """Return the wall clock, held back to one hour ahead of the anchor plus the time since."""
        return UtcNs(min(utc, self.anchor_utc_ns + (boot - self.anchor_boot_ns) + MAX_STEP_NS))

    def is_held_back(self, utc: UtcNs, boot: MonoNs) -> bool:
        """Tell whether the owner should look at the clock."""
        return self.now(utc, boot) < utc

    def confirm(self, utc: UtcNs, boot: MonoNs) -> None:
        """Take the wall clock at its word: the owner said so."""
        self.anchor_utc_ns, self.anchor_boot_ns = utc, boot


def anchor_clock(index: RingIndex, boot_id: bytes, utc: UtcNs, boot: MonoNs) -> RetentionClock:
    """Find the newest time that the ring itself vouches for.

    Blocks of earlier boots are believed as written, but for those that claim a time to come. Of this boot only the
    oldest block counts, and at most one hour ahead of them: a step made since then, and a restart after it, move
    nothing.
    """
    timed = [entry for entry in index.entries() if _is_timed(entry, utc)]
    earlier = max((_latest_ns(entry, utc) for entry in timed if entry.boot_id != boot_id), default=None)
    first = next((entry for entry in timed if entry.boot_id == boot_id), None)
    if first is not None:
        # A restart must not turn a wrong time into a right one: the boot's first block was held to
        # the same bound.
        base = first.opened_utc_ns if earlier is None else min(first.opened_utc_ns, earlier + MAX_STEP_NS)
        return RetentionClock(UtcNs(base), first.opened_boot_ns)
    return RetentionClock(utc if earlier is None else UtcNs(min(earlier, utc)), boot)


def _latest_ns(entry: BlockEntry, utc: UtcNs) -> int:
    known = (entry.first_start_ns, entry.opened_utc_ns, entry.newest_ns if entry.ended else 0)
    return max((time for time in known if time <= utc + MAX_STEP_NS), default=0)


def _is_timed(entry: BlockEntry, utc: UtcNs) -> bool:
    """Tell whether a block's time is believable: of a synchronised clock, and not of a time to come.

    A clock that was far ahead once leaves blocks that would stay until that time had come.
    """
    return entry.clock_state is ClockState.SYNCHRONISED and _oldest_ns(entry) <= utc + MAX_STEP_NS


@dataclass(frozen=True, slots=True)
class RetentionMoment:
    """The times by which blocks are aged."""

    utc: UtcNs
    """The wall clock: a time ahead of it is yet to come."""
    now: UtcNs
    """The time that retention may act on (``RetentionClock.now``)."""
    boot: MonoNs
    """Boot time."""
    boot_id: bytes
    """Of this boot."""


def find_expired(index: RingIndex, moment: RetentionMoment, keep_for_ns: int, open_seq: int) -> list[int]:
    """Return the blocks whose oldest record is ``keep_for`` old, oldest first.

    A block without a believable time is aged by boot time in its own boot; in a later one it is as old as the opening
    of the next block that has one.

    Args:
        index: The ring's blocks.
        moment: The times now.
        keep_for_ns: The age at which a block goes.
        open_seq: The open block, which stays.
    """
    limit = moment.now - keep_for_ns
    expired: list[int] = []
    later_expired = False
    for entry in reversed(index.entries()):
        if _is_timed(entry, moment.utc):
            is_old = _oldest_ns(entry) <= limit
            # Not by its oldest record: that may be a hole which began when footage of an earlier boot ended.
            later_expired = later_expired or entry.opened_utc_ns <= limit
        elif entry.boot_id == moment.boot_id:
            # Boot time counts suspended hours too and cannot be set: in its own boot it ages any
            # block.
            is_old = moment.boot - entry.opened_boot_ns >= keep_for_ns
        else:
            is_old = later_expired
        if is_old and not entry.tombstone and entry.seq != open_seq:
            expired.append(entry.seq)
    return expired[::-1]


def _oldest_ns(entry: BlockEntry) -> int:
    known = min(entry.first_start_ns, entry.opened_utc_ns)
    return min(known, entry.oldest_ns) if entry.ended and entry.oldest_ns else known

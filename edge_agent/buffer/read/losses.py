"""Footage of a ring that cannot be had: its span, its reason, and the error of a caller who asked for all of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_agent.buffer.block_scan import Damage
from edge_agent.buffer.read.live_block import LoadedBlock
from edge_agent.buffer.read.timeline import TimedRecord
from edge_agent.errors import IntegrityError, OverwrittenError, RingError
from edge_agent.units import UtcNs, Window


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of a window that cannot be had: it becomes a declared gap."""

    seq: int
    index: int | None
    window: Window | None
    reason: str
    """``overwritten``, ``erased``, ``damaged``, ``unreadable``, ``clock-conflict`` or ``source-changed``."""


def losses_of(block: LoadedBlock, timed: Sequence[TimedRecord], windows: Sequence[Window]) -> Iterator[Loss]:
    """Yield the stretches of a block whose headers are gone, with the span between their neighbours."""
    for damage in block.scan.damage:
        if damage.reason == "chain":
            continue  # The record itself will fail its digest, if it is the one that was changed.
        span = _span_around(damage, timed)
        if span is None or any(span.intersect(window) for window in windows):
            yield Loss(block.page.seq, damage.index, span, "damaged")


def _span_around(damage: Damage, timed: Sequence[TimedRecord]) -> Window | None:
    before = max((_end_ns(record) for record in timed if record.place.header.index < damage.index), default=None)
    after = min(
        (
            record.start_ns
            for record in timed
            if record.place.header.index > damage.index and record.start_ns is not None
        ),
        default=None,
    )
    if before is None or after is None or before >= after:
        return None
    return Window(UtcNs(before), after)


def _end_ns(record: TimedRecord) -> int:
    return 0 if record.start_ns is None else record.start_ns + record.place.header.duration_ns


def reason_of(error: RingError) -> str:
    """Return the reason of a loss for an error of the ring."""
    if isinstance(error, OverwrittenError):
        # The one class has two causes, which differ for the owner: an erasure was wanted.
        return "erased" if str(error).startswith("erased") else "overwritten"
    return "damaged" if isinstance(error, IntegrityError) else "unreadable"


def pass_over(_loss: Loss) -> None:
    """A note that cannot be had is no loss of footage."""


def raise_loss(loss: Loss) -> None:
    """Raise OverwrittenError or IntegrityError for a loss that nothing else deals with."""
    message = f"{loss.reason}: block={loss.seq} index={loss.index}"
    if loss.reason in ("overwritten", "erased"):
        raise OverwrittenError(message)
    raise IntegrityError(message)

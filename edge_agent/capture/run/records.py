"""What capture hands on: footage, holes, runs and notes about the clock, each with its UTC.

Owns the values that cross the border to whoever stores them. Knows nothing of rings; holds no type of PyAV.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_agent.units import MonoNs, UtcNs


@dataclass(frozen=True, slots=True)
class Gop:
    """A GOP, or a part of one, as the payload of a record.

    ``start_ns`` is the UTC of the first video access unit in decode order; the UTC of every other unit of the record
    is that plus the difference of their PTS.
    """

    start_ns: UtcNs
    duration_ns: int
    boot_ns: MonoNs
    payload: bytes = field(repr=False)
    commitment: bytes
    continues: bool
    """Goes on where the record before ended, without a keyframe of its own."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A span without footage; a long one is told in pieces while it lasts."""

    start_ns: UtcNs
    duration_ns: int
    boot_ns: MonoNs
    reason: str
    """A stable code, see ``capture.reasons``."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A new run: what the camera sends and from where, without credentials."""

    start_ns: UtcNs
    boot_ns: MonoNs
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClockNote:
    """How far the gateway's and the camera's clock could be believed at a moment."""

    start_ns: UtcNs
    boot_ns: MonoNs
    facts: Mapping[str, Any]


class Sink(Protocol):
    """Where a camera's records go, in the order of their start. Called from the camera's own thread only."""

    def gop(self, gop: Gop) -> None:
        """Store footage; raises an error of the tree where that fails."""

    def gap(self, gap: Gap) -> None:
        """Store a hole."""

    def run(self, run: RunInfo) -> None:
        """Store the facts of a run, before its first footage."""

    def clock(self, note: ClockNote) -> None:
        """Store a note about the clocks."""

    @property
    def sync_due(self) -> MonoNs | None:
        """When ``tick`` has to be called at the latest; None if nothing is to be synced."""

    def tick(self) -> None:
        """Do what is due; called at ``sync_due``, and every second or two."""

"""The counters of a ring since the recorder began, for ``edge-agent metrics``.

Counters that only grow, and begin at zero with the process: a reader takes differences.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class RingFigures:
    """The counters of one ring. Written under the sink's lock or by the camera's thread; read by any."""

    stored_bytes: int = 0
    records: int = 0
    failures: int = 0
    gap_ns: dict[str, int] = field(default_factory=dict)

    def count_record(self, size_bytes: int) -> None:
        """Count one record that the ring took."""
        self.stored_bytes += size_bytes
        self.records += 1

    def count_gap(self, reason: str, duration_ns: int) -> None:
        """Count a time without footage, by its reason."""
        # A new dict each time: another thread may be reading the one before.
        self.gap_ns = {**self.gap_ns, reason: self.gap_ns.get(reason, 0) + duration_ns}

    def facts(self) -> Mapping[str, Any]:
        """Return them as JSON values."""
        return {
            "stored_bytes": self.stored_bytes,
            "records": self.records,
            "failures": self.failures,
            "gap_ns": dict(self.gap_ns),
        }

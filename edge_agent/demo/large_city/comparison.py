"""The clips that were granted against those that were opened whole: two sets of (gateway, request, camera). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ClipId = tuple[str, str, str]
"""Gateway, jti, camera."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class GrantComparison:
    """The gateways that were asked, their grants, and the clips that came.

    Each set has another source: ``expected`` the owners' terms, ``granted`` the gateways' own ledgers, ``opened`` the
    bundles that were fetched out of the object store, decrypted, and found whole.
    """

    expected: frozenset[ClipId]
    granted: frozenset[ClipId]
    opened: frozenset[ClipId]
    faults: Mapping[ClipId, str]
    """Why a delivery was not opened whole."""

    @property
    def is_equal(self) -> bool:
        """Tell whether just the granted footage was opened whole, and the grants are those that the terms give."""
        return bool(self.granted) and self.expected == self.granted == self.opened

    def as_text(self) -> str:
        """Write sizes and differences, one a line."""
        lines = [
            f"granted, by the gateways' ledgers:           {len(self.granted)} (gateway, jti, camera)",
            f"opened whole, out of the object store:       {len(self.opened)}",
        ]
        lines += self._tell("granted against the owners' terms", self.granted - self.expected)
        lines += self._tell("not granted, though the terms allow it", self.expected - self.granted)
        lines += self._tell("granted and not opened whole", self.granted - self.opened)
        lines += self._tell("opened and not granted", self.opened - self.granted)
        lines.append("the sets are equal" if self.is_equal else "THE SETS DIFFER")
        return "\n".join(lines)

    def _tell(self, what: str, clips: Iterable[ClipId]) -> list[str]:
        found = sorted(clips)
        lines = [f"{what}: {len(found)}"] if found else []
        lines += [f"  {' '.join(clip)} {self.faults.get(clip, '')}".rstrip() for clip in found[:_SHOWN]]
        return lines + ([f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])

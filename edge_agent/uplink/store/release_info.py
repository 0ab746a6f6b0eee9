"""What is known of one camera's release in each of its states, and how it is stored.

Owns the fields of a release that waits, of one that is built, and of one that ended without a bundle. Pure.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """The grant is in the ledger; there is no bundle yet."""

    entry: int
    """Index of the grant's entry."""
    tries: int = 0
    crashes: int = 0
    """How often the process that cuts clips died over it."""
    needs: int = 0
    """Bytes of the staging folder that it needs at least, as far as is known."""
    reason: str | None = None
    """Why the last try failed, if that may still be told at the end."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """There is a bundle: staged, uploaded, or delivered."""

    granted: Mapping[str, Any]
    """What it was built under and to whom it is sealed; see ``payload.describe``."""
    sha256: str
    """Of the payload, hexadecimal."""
    size: int
    """Of the payload, bytes."""
    delivered: tuple[str, ...] = ()
    """Spans, ``<start>/<end>``."""
    gaps: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """There is no bundle, and there will be none."""

    granted: Mapping[str, Any]
    reason: str
    """A code of PROTOCOL 8.2."""


ReleaseInfo = Waiting | Bundle | Ended
_SHAPES: Mapping[str, type[ReleaseInfo]] = {
    "waiting": Waiting,
    "built": Bundle,
    "uploaded": Bundle,
    "delivered": Bundle,
    "no-footage": Ended,
    "failed": Ended,
}


def encode_info(info: ReleaseInfo) -> dict[str, Any]:
    """Write what is known of a release as JSON values."""
    return {name: value for name, value in asdict(info).items() if value is not None}


def parse_info(state: str, found: Mapping[str, Any]) -> ReleaseInfo:
    """Read what is stored of a release in a state.

    Of one that ended, earlier versions stored the bundle's members as well, and no reason if nothing was recorded.
    """
    shape = _SHAPES[state]
    if shape is Ended:
        return Ended(found.get("granted", {}), str(found.get("reason", "no-footage")))
    if shape is Waiting:
        return Waiting(**found)
    return Bundle(**{**found, "delivered": tuple(found["delivered"]), "gaps": tuple(found["gaps"])})

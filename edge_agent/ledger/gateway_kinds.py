"""The entries of the gateway's own: enrolment, ring heads, updates, counted refusals (docs/ledger.md, "Kinds")."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.ledger.entries import TIME, LedgerEntry
from edge_agent.ledger.table import UNVERIFIED
from edge_agent.units import UtcNs


@dataclass(frozen=True, slots=True)
class EnrolmentEntry(LedgerEntry):
    """The gateway belongs to this RTCC from here on."""

    kind = "enrolment"

    gateway: str
    iss: str
    roots: tuple[str, ...]
    threshold: int
    what: str = "enrolled"


@dataclass(frozen=True, slots=True)
class RingsEntry(LedgerEntry):
    """Every hour: where each ring stands, `<ring>:<seq>:<chain>` by `<camera>.<quality>`."""

    kind = "rings"

    heads: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UpdateEntry(LedgerEntry):
    """A release was offered, installed or taken back; `note` names root's note of it."""

    kind = "update"

    note: str
    what: str | None = None
    from_: str | None = None
    to: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class RestoredEntry(LedgerEntry):
    """The first entry after a restored backup: the signed head of the ledger that is kept as an archive."""

    kind = "restored"

    checkpoint: str
    what: str = "restored from a backup"


@dataclass(frozen=True, slots=True)
class CountedEntry(LedgerEntry):
    """So many messages of an hour were refused for this reason, and not entered one by one."""

    kind = UNVERIFIED

    hour: UtcNs = field(metadata=TIME)
    reason: str
    count: int

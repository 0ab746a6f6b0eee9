"""The entries of a request: its arrival, its decisions, and its release up to the end (docs/ledger.md, "Kinds")."""

from dataclasses import dataclass, field

from edge_agent.ledger.entries import TIME, LedgerCamera, LedgerEntry, Reasons
from edge_agent.units import UtcNs, Window


@dataclass(frozen=True, slots=True)
class OfRequest(LedgerEntry):
    """How each entry of a request begins; ``number`` is the gateway's own: none if it has another one's id."""

    jti: str
    iss: str
    number: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class RequestEntry(OfRequest):
    """A verified request arrived. `number` is the gateway's own; one with another's id has none."""

    kind = "request"

    incident: str
    category: str
    request_sha256: bytes
    to: str
    signers: tuple[str, ...]
    cameras: tuple[str, ...]
    start: UtcNs = field(metadata=TIME)
    end: UtcNs = field(metadata=TIME)
    purpose: str


@dataclass(frozen=True, slots=True)
class DecisionEntry(OfRequest):
    """`ask` or `grant`: each camera's part, and the rest with its reason. A grant has its terms."""

    kind = "decision"

    incident: str
    category: str
    outcome: str
    cameras: tuple[LedgerCamera, ...]
    reasons: Reasons
    not_before: UtcNs | None = field(default=None, metadata=TIME)
    approved_by: str | None = None


@dataclass(frozen=True, slots=True)
class DenialEntry(OfRequest):
    """`denial`: refused, for all of these reasons."""

    kind = "decision"

    incident: str
    category: str
    reasons: Reasons
    outcome: str = "denial"


@dataclass(frozen=True, slots=True)
class NarrowedEntry(OfRequest):
    """`narrowed`: a later evaluation took cameras out; `cameras` are left."""

    kind = "decision"

    incident: str
    category: str
    cameras: tuple[str, ...]
    reasons: Reasons
    outcome: str = "narrowed"


@dataclass(frozen=True, slots=True)
class ApprovalEntry(OfRequest):
    """The owner approved an ask, or a part of it."""

    kind = "approval"

    cameras: tuple[str, ...]
    window: Window
    order_id: str
    outcome: str = "approved"


# A release


@dataclass(frozen=True, slots=True)
class GrantEntry(LedgerEntry):
    """The grant of one bundle; travels in it as a proof, speaks of its camera alone, and has no number."""

    kind = "grant"

    jti: str
    iss: str
    incident: str
    category: str
    cameras: tuple[LedgerCamera]
    not_before: UtcNs = field(metadata=TIME)
    approved_by: str
    outcome: str = "grant"


@dataclass(frozen=True, slots=True)
class BundleEntry(OfRequest):
    """`built` or `no-footage`: durable before the first byte leaves."""

    kind = "release"

    incident: str
    camera: str
    outcome: str
    bundle_sha256: bytes
    manifest_sha256: bytes
    size: int
    delivered: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class GivenUpEntry(OfRequest):
    """A bundle could not be made; `outcome` is why."""

    kind = "release"

    camera: str
    outcome: str


@dataclass(frozen=True, slots=True)
class DeliveryEntry(OfRequest):
    """`delivered` or `partial`: the keys of these cameras wait to leave."""

    kind = "delivery"

    incident: str
    outcome: str
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakenBackEntry(OfRequest):
    """`taken-back`: the keys did not leave; those of `cameras` are destroyed, the release goes on."""

    kind = "delivery"

    incident: str
    cameras: tuple[str, ...]
    reasons: Reasons
    outcome: str = "taken-back"


@dataclass(frozen=True, slots=True)
class EndEntry(OfRequest):
    """`cancelled`, `failed` or `no-footage`: the release ended without a key. `too-late`: the broker had the keys."""

    kind = "end"

    incident: str
    outcome: str
    reasons: Reasons

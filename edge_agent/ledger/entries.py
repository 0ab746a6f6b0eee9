"""The entries of the ledger: the closed list of its kinds of entries, each with exactly its members.

Owns the kinds, their members and how a member is written (docs/ledger.md, "Kinds", is printed from here:
``python -m edge_agent.ledger.entries``). Every entry but the padding of ``table`` is made here. Decides nothing; the
caller chooses when an entry is made.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from edge_agent.ledger import table
from edge_agent.units import UtcNs, Window, encode_rfc3339

TIME = {"encode": encode_rfc3339}
"""Metadata of a member that is a moment: RFC 3339."""
Reasons = tuple[Mapping[str, Any], ...]
"""``{"code", "camera"}`` each; ``camera`` is null if the reason is about no single one."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry; its docstring is its meaning. Members that are None are left out."""

    kind: ClassVar[str]

    def members(self) -> dict[str, object]:
        """Write the entry as the JSON members of its leaf."""
        found = ((each, getattr(self, each.name)) for each in fields(self))
        return {
            each.name.rstrip("_"): each.metadata.get("encode", _encode)(value)
            for each, value in found
            if value is not None
        }


def append(connection: sqlite3.Connection, entry: LedgerEntry, at: UtcNs) -> int:
    """Append an entry inside an open transaction and return its index; see ``table.append``."""
    return table.append(connection, entry.kind, entry.members(), at)


def _encode(value: Any) -> object:
    match value:
        case bytes():
            return value.hex()
        case Window():
            return str(value)
        case LedgerCamera():
            return value.members()
        case tuple():
            return [_encode(each) for each in value]
    return value


@dataclass(frozen=True, slots=True)
class LedgerCamera:
    """One camera's part of a decision or grant, as a member of an entry."""

    camera: str
    quality: str
    windows: tuple[Window, ...]
    audio: bool
    consent_sha256: bytes
    consent_version: int

    def members(self) -> dict[str, object]:
        """Write it as JSON members."""
        return {each.name: _encode(getattr(self, each.name)) for each in fields(self)}


# A request and its decision


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


# The owner


@dataclass(frozen=True, slots=True)
class ConsentSignedEntry(LedgerEntry):
    """`signed`: a version of a camera's consent was taken in."""

    kind = "consent"

    camera: str
    version: int
    consent_sha256: bytes
    what: str = "signed"


@dataclass(frozen=True, slots=True)
class ConsentRevokedEntry(LedgerEntry):
    """`revoked`: a camera's consent was taken back."""

    kind = "consent"

    camera: str
    what: str = "revoked"


@dataclass(frozen=True, slots=True)
class PauseEntry(LedgerEntry):
    """Release was paused for a camera or `*`; `until` is empty if it is until resumed."""

    kind = "pause"

    camera: str
    until: str
    what: str = "release paused"


@dataclass(frozen=True, slots=True)
class ResumeEntry(LedgerEntry):
    """The owner's order ended a pause."""

    kind = "resume"

    camera: str
    order_id: str
    what: str = "release resumed"


@dataclass(frozen=True, slots=True)
class PageEntry(LedgerEntry):
    """A device of the page (`by: page/NAME`), or the desk (`by: desk`), asked for this; its outcome follows."""

    kind = "page"

    what: str
    by: str
    camera: str | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class ExportEntry(LedgerEntry):
    """An order for own footage: a look, a copy, or a bundle with its recipients."""

    kind = "export"

    what: str
    camera: str
    quality: str
    window: Window
    order_id: str
    order_sha256: bytes | None = None
    recipients: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ExportedEntry(LedgerEntry):
    """`bundle written`: the file that an order came to."""

    kind = "export"

    camera: str
    order_id: str
    sha256: bytes
    bytes: int
    what: str = "bundle written"


@dataclass(frozen=True, slots=True)
class ClockEntry(LedgerEntry):
    """The owner confirmed the wall clock."""

    kind = "clock"

    time: UtcNs = field(metadata=TIME)
    floor_was: str
    why: str
    order_id: str
    what: str = "clock confirmed"


@dataclass(frozen=True, slots=True)
class ErasedEntry(LedgerEntry):
    """`footage erased`: of a camera or `*`, of these windows or `all`; the requests that it stopped."""

    kind = "erase"

    camera: str
    windows: tuple[str, ...]
    holds: int
    stopped: tuple[int, ...]
    what: str = "footage erased"


@dataclass(frozen=True, slots=True)
class KeepEntry(LedgerEntry):
    """A moment that the owner keeps longer (`kept`), or not any more (`let go`)."""

    kind = "keep"

    what: str
    id: str
    camera: str
    quality: str
    window: Window
    until: UtcNs = field(metadata=TIME)


@dataclass(frozen=True, slots=True)
class ErasedAllEntry(LedgerEntry):
    """`everything erased, new vault key`."""

    kind = "erase"

    files: int
    what: str = "everything erased, new vault key"
    camera: str = "*"
    windows: tuple[str, ...] = ("all",)


# The gateway


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

    kind = table.UNVERIFIED

    hour: UtcNs = field(metadata=TIME)
    reason: str
    count: int


SHAPES: tuple[type[LedgerEntry], ...] = tuple(
    each
    for each in list(globals().values())
    if isinstance(each, type) and issubclass(each, LedgerEntry) and hasattr(each, "kind")
)
"""The closed list of the kinds above."""


def main() -> None:
    """Print the table of docs/ledger.md, "Kinds"."""
    print("| kind | members | tells |\n|---|---|---|")
    for shape in SHAPES:
        members = ", ".join(f"`{each.name.rstrip('_')}`" for each in fields(shape))
        print(f"| `{shape.kind}` | {members} | {shape.__doc__} |")


if __name__ == "__main__":
    main()

"""The entries of the owner's acts: consent, pauses, orders, exports, erasures (docs/ledger.md, "Kinds")."""

from dataclasses import dataclass, field

from edge_agent.ledger.entries import TIME, LedgerEntry
from edge_agent.units import UtcNs, Window


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

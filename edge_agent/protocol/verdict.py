"""The three verdicts, and the orders of the owner: the only values that open footage.

``Grant(`` is constructed in ``edge_agent.consent.decision`` alone; a test holds that.
"""

from dataclasses import dataclass

from edge_agent.protocol.request import Quality, Request
from edge_agent.units import UtcNs, Window


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a stable code (PROTOCOL 4), a plain sentence, and the camera where it is about one."""

    code: str
    sentence: str
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class Mask:
    """A polygon that is blacked out, in thousandths of the picture's width and height."""

    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class CameraGrant:
    """The part of one camera that may leave: request ∩ incident ∩ consent, never wider."""

    camera: str
    quality: Quality
    windows: tuple[Window, ...]
    """In order, disjoint; more than one where the owner's hours cut the request."""
    audio: bool
    masks: tuple[Mask, ...]
    consent_sha256: bytes
    """Of the ``owner-consent+jws`` that this depends on."""
    consent_version: int
    source: bytes
    """Digest of the source that the consent signed for this stream (FORMAT 3.5): footage of any other stays here."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Release is allowed, from ``not_before`` (cooling-off) and until ``request.release_by``."""

    request: Request
    cameras: tuple[CameraGrant, ...]
    trimmed: tuple[Reason, ...]
    """The part of a request that is not granted: other cameras, hours, audio."""
    decided_at: UtcNs
    not_before: UtcNs
    approved_by: str | None
    """``None`` for an automatic grant, else the thumbprint of the owner's key."""
    escrow: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """The owner is asked; silence until ``until`` is a denial."""

    request: Request
    cameras: tuple[CameraGrant, ...]
    """The most that an approval could grant."""
    trimmed: tuple[Reason, ...]
    decided_at: UtcNs
    until: UtcNs


@dataclass(frozen=True, slots=True)
class Denial:
    """Nothing leaves, for all of these reasons."""

    request: Request | None
    """None if the request does not verify any more."""
    reasons: tuple[Reason, ...]
    decided_at: UtcNs


@dataclass(frozen=True, slots=True)
class Wait:
    """Some of the decided cameras cannot be judged now: the bound stays for them, and no step is taken."""

    reasons: tuple[Reason, ...]
    decided_at: UtcNs


Verdict = Grant | Ask | Denial
"""Of a first decision; a later one may also be ``Wait``."""


@dataclass(frozen=True, slots=True)
class Approval:
    """The owner's verified signature under one request and its offer, or under a part of that offer."""

    jti: str
    request_sha256: bytes
    offer_sha256: bytes
    """Digest of the offer that the owner saw (PROTOCOL 6.3)."""
    cameras: tuple[str, ...]
    window: Window
    thumbprint: str
    signed_at: UtcNs


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """The owner's verified order to copy own footage of one camera: never a release.

    Where ``recipients`` is given, into a bundle that these age keys open beside the owner's own; else in the clear.
    """

    order_id: str
    camera: str
    quality: Quality
    window: Window
    thumbprint: str
    signed_at: UtcNs
    recipients: tuple[str, ...] | None = None

"""The three verdicts, and the orders of the owner: the only values that open footage.

``Grant(`` is constructed in ``edge_agent.consent.decision`` alone; a test holds that.
"""

from dataclasses import dataclass

from edge_agent.protocol.request import Quality, Request
from edge_agent.units import UtcNs, Window


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a stable code (PROTOCOL 4), a plain sentence, and the camera if it is about one."""

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
    """In order, disjoint; more than one if the owner's hours cut the request."""
    audio: bool
    """Whether sound may leave."""
    masks: tuple[Mask, ...]
    """Blacked out in every picture; empty for none."""
    consent_sha256: bytes
    """Of the ``owner-consent+jws`` that this depends on."""
    consent_version: int
    """Of the same consent; the ledger shows it."""
    source: bytes
    """Digest of the source that the consent signed for this stream (FORMAT 3.5): footage of any other stays here."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Release is allowed, from ``not_before`` (cooling-off) and until ``request.release_by``."""

    request: Request
    cameras: tuple[CameraGrant, ...]
    """One part for each camera, none empty."""
    trimmed: tuple[Reason, ...]
    """The part of a request that is not granted: other cameras, hours, audio."""
    decided_at: UtcNs
    """By the gateway's clock."""
    not_before: UtcNs
    """The end of the cooling-off."""
    approved_by: str | None
    """``None`` for an automatic grant, else the thumbprint of the owner's key."""
    escrow: bool
    """Whether the RTCC's escrow key is a recipient as well, by the owner's terms."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The owner is asked; silence until ``until`` is a denial."""

    request: Request
    cameras: tuple[CameraGrant, ...]
    """The most that an approval could grant."""
    trimmed: tuple[Reason, ...]
    decided_at: UtcNs
    until: UtcNs
    """The latest moment at which an answer counts for any of the cameras."""


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
    """Of the request."""
    request_sha256: bytes
    """Digest of the request's payload: an approval of another one counts for nothing."""
    offer_sha256: bytes
    """Digest of the offer that the owner saw (PROTOCOL 6.3)."""
    cameras: tuple[str, ...]
    """Of the offer, all or some."""
    window: Window
    """Inside the request's."""
    thumbprint: str
    """RFC 7638, of the owner's key that signed."""
    signed_at: UtcNs
    """``iat`` of the order, at most five minutes before it is recorded."""


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """The owner's verified order to copy own footage of one camera: never a release.

    Where ``recipients`` is given, into a bundle that these age keys open beside the owner's own; else in the clear.
    """

    order_id: str
    """128 random bits in base64url: the order is good once."""
    camera: str
    quality: Quality
    window: Window
    thumbprint: str
    """RFC 7638, of the owner's key that signed."""
    signed_at: UtcNs
    """``iat`` of the order."""
    recipients: tuple[str, ...] | None = None
    """Age recipients beside the owner; None for MP4 in the clear."""

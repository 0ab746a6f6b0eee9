"""The mandate of a bundle: a grant of one camera, or the owner's own order.

Owns what the two do not share: how footage is opened, what stands first in the ZIP, what the manifest says of it, and
whether the age header may lie beside the payload. Decides nothing; neither kind can be had from the other.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.base64url import encode_b64url
from edge_agent.buffer.read.losses import Loss
from edge_agent.buffer.read.records import BlockEvidence, StoredRecord
from edge_agent.protocol import manifest as names
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import CameraGrant, ExportOrder, Grant, Mask
from edge_agent.units import UtcNs, Window, encode_rfc3339

OnLoss = Callable[[Loss], None]


class FootageReader(Protocol):
    """The reading side of a ring, or of the excerpt that a hold made of it."""

    def read(self, grant: Grant, camera: str, *, on_loss: OnLoss | None = None) -> Iterator[StoredRecord]:
        """Decrypt what the grant allows."""

    def evidence(self, grant: Grant, camera: str) -> Iterator[BlockEvidence]:
        """Yield pages and chain of the blocks that hold it."""

    def read_own(self, order: ExportOrder, *, on_loss: OnLoss | None = None) -> Iterator[StoredRecord]:
        """Decrypt what the owner's order names."""

    def evidence_own(self, order: ExportOrder) -> Iterator[BlockEvidence]:
        """Yield pages and chain of the blocks that hold it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The most that a bundle may hold, never wider."""

    camera: str
    quality: Quality
    windows: tuple[Window, ...]
    """In order, disjoint."""
    audio: bool
    masks: tuple[Mask, ...]
    """Zones to black out."""


@dataclass(frozen=True, slots=True)
class Claims:
    """A manifest's members about its mandate: members of its own, and further ones of two that every manifest has."""

    own: Mapping[str, object]
    camera: Mapping[str, object]
    windows: Mapping[str, object]


class Mandate(Protocol):
    """The parts that a bundle may hold, and why."""

    @property
    def typ(self) -> str:
        """The manifest's type: signed, so that neither kind of bundle passes for the other."""

    @property
    def has_header_inside(self) -> bool:
        """Tell whether the age header goes in front of the payload: the file stays in the owner's hands."""

    @property
    def scope(self) -> Scope:
        """The parts that it may hold."""

    @property
    def papers(self) -> Sequence[tuple[str, bytes]]:
        """The files, by name, that stand first in the bundle."""

    def read(self, footage: FootageReader, on_loss: OnLoss) -> Iterator[StoredRecord]:
        """Decrypt what it allows."""

    def read_evidence(self, footage: FootageReader) -> Iterator[BlockEvidence]:
        """Yield pages and chain of the blocks that hold it."""

    def claims(self) -> Claims:
        """Return what the manifest says of it."""


@dataclass(frozen=True, slots=True)
class GrantMandate:
    """A grant: a release to the RTCC."""

    typ: ClassVar[str] = names.TYP
    # The RTCC gets the header apart, after the last byte and one more decision.
    has_header_inside: ClassVar[bool] = False

    grant: Grant
    granted: CameraGrant
    """The part of the grant that this bundle is about."""
    consent_jws: bytes
    waiver_sha256: bytes

    @property
    def scope(self) -> Scope:
        """The grant."""
        part = self.granted
        return Scope(part.camera, part.quality, part.windows, part.audio, part.masks)

    @property
    def papers(self) -> Sequence[tuple[str, bytes]]:
        """The request, and the consent."""
        return (names.REQUEST, self.grant.request.raw), (names.CONSENT, self.consent_jws)

    def read(self, footage: FootageReader, on_loss: OnLoss) -> Iterator[StoredRecord]:
        """Decrypt what was granted."""
        return footage.read(self.grant, self.granted.camera, on_loss=on_loss)

    def read_evidence(self, footage: FootageReader) -> Iterator[BlockEvidence]:
        """Yield pages and chain of the blocks that hold it."""
        return footage.evidence(self.grant, self.granted.camera)

    def claims(self) -> Claims:
        """Return request, consent, and the parts that were left out."""
        request, granted = self.grant.request, self.granted
        return Claims(
            own={
                "request": {
                    "iss": request.iss,
                    "jti": request.jti,
                    "sha256": hashlib.sha256(request.raw).hexdigest(),
                    "payload_sha256": request.payload_sha256.hex(),
                    "incident": request.incident.number,
                },
                "consent": {
                    "sha256": granted.consent_sha256.hex(),
                    "version": granted.consent_version,
                    "waiver_sha256": self.waiver_sha256.hex(),
                    "decided_at": encode_rfc3339(self.grant.decided_at),
                    "approved_by": self.grant.approved_by,
                },
                # The parts that were not granted, of this camera and of the request as a whole; other cameras are not
                # named.
                "trimmed": [
                    {"code": reason.code, "camera": reason.camera}
                    for reason in self.grant.trimmed
                    if reason.camera in (None, granted.camera)
                ],
            },
            camera={"quality_asked": request.quality.value},
            windows={
                "asked": encode_span(request.window.start, request.window.end),
                "granted": [encode_span(window.start, window.end) for window in granted.windows],
            },
        )


@dataclass(frozen=True, slots=True)
class OrderMandate:
    """The owner's order: an export, which stays in the owner's hands."""

    typ: ClassVar[str] = names.EXPORT_TYP
    has_header_inside: ClassVar[bool] = True

    order: ExportOrder
    raw: bytes
    """The order as it was signed."""
    keys: Mapping[str, Ed25519PublicKey]
    """``gateway``, ``recorder``, ``owner``: the papers that a stranger verifies with."""

    @property
    def scope(self) -> Scope:
        """The order: own footage, with sound, nothing masked."""
        return Scope(self.order.camera, self.order.quality, (self.order.window,), True, ())

    @property
    def papers(self) -> Sequence[tuple[str, bytes]]:
        """The owner's word, in place of a request and a consent."""
        return ((names.ORDER, self.raw),)

    def read(self, footage: FootageReader, on_loss: OnLoss) -> Iterator[StoredRecord]:
        """Decrypt what was ordered."""
        return footage.read_own(self.order, on_loss=on_loss)

    def read_evidence(self, footage: FootageReader) -> Iterator[BlockEvidence]:
        """Yield pages and chain of the blocks that hold it."""
        return footage.evidence_own(self.order)

    def claims(self) -> Claims:
        """Return the order, and that there is nothing else behind it."""
        order = self.order
        return Claims(
            own={
                "statement": names.OWN_EXPORT,
                "order": {
                    "order_id": order.order_id,
                    "sha256": hashlib.sha256(self.raw).hexdigest(),
                    "ordered_at": encode_rfc3339(order.signed_at),
                    "owner": order.thumbprint,
                },
                "keys": {name: encode_b64url(key.public_bytes_raw()) for name, key in self.keys.items()},
            },
            camera={},
            windows={"ordered": encode_span(order.window.start, order.window.end)},
        )


def encode_span(start: int, end: int) -> dict[str, object]:
    """Write a span for the manifest."""
    return {"start": encode_rfc3339(UtcNs(start)), "end": encode_rfc3339(UtcNs(end))}

"""The owner's signature: one ``owner-consent+jws`` per camera (PROTOCOL 6).

Owns the signed content (terms, the notice that was shown, the facts that the terms depend on, and a
validity that ends by itself), its verification, and the terms that count if the file on disk
differs. One message per camera, so that a bundle discloses that camera's terms and no other's. The
field names follow ISO/IEC TS 27560 where it has one. Pure.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, ValidationError

from edge_agent.base64url import encode_b64url, parse_b64url
from edge_agent.consent.meet import meet
from edge_agent.consent.policy import Mode, Terms, encode_terms, parse_terms
from edge_agent.errors import CustodyError, DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.jws import deny
from edge_agent.protocol.members import (
    CameraId,
    Digest,
    Issuer,
    Jti,
    Kid,
    Name,
    Text,
    Time,
    Version,
    WireModel,
    WirePlace,
    parse_members,
)
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Place, Quality
from edge_agent.units import UtcNs, encode_rfc3339

TYP = "owner-consent+jws"
SCHEMA_VERSION = "edge-agent/1"
PURPOSE = "release of footage of a reported incident to the enrolled real time crime center"


@dataclass(frozen=True, slots=True)
class Stream:
    """One recorded stream of a camera: its ring and its source."""

    quality: Quality
    ring: str
    """Id of its ring, in hexadecimal."""
    source: bytes
    """Digest of its configured source (``digest_source``): the address itself stays in the house."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that the owner's terms depend on; if one of them changes, the signature no longer counts."""

    camera: str
    streams: tuple[Stream, ...]
    """Every recorded stream whose ring is there."""
    place: Place | None
    """None if none is configured: a consent may be signed for such a camera, and nothing is granted by it."""
    time_zone: str
    issuer: str
    """The RTCC that the gateway is enrolled with."""
    roots: tuple[str, ...]
    """Thumbprints of the pinned roots, sorted."""
    threshold: int
    """How many of them must sign a trust bundle."""
    store: str
    """Id of the store that remembers revocations, quotas and used orders: with another one, nothing is allowed."""
    upload_origins: tuple[str, ...]
    """Origins of the upload targets: scheme, host and port, sorted."""


@dataclass(frozen=True, slots=True)
class PrivacyNotice:
    """The waiver text as it was shown."""

    version: str
    language: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SignedConsent:
    """A consent whose signature and facts were verified; whether it counts now is ``decision``'s to say."""

    raw: bytes
    sha256: bytes
    camera: str
    name: str
    """The camera's name when the terms were signed."""
    version: int
    terms: Terms
    notice: PrivacyNotice
    facts: Mapping[str, Any]
    """The facts as they were signed, by their names in PROTOCOL 6.1."""
    signed_at: UtcNs
    valid_from: UtcNs
    valid_until: UtcNs
    thumbprint: str

    def find_source(self, quality: Quality) -> bytes:
        """Return the digest of the source that was signed for a stream; zero, which matches no footage, if none was."""
        streams = self.facts["streams"]
        found = (parse_b64url(each["source"]) for each in streams if each["quality"] == quality.value)
        return next(found, bytes(hashlib.sha256().digest_size))


class _WireStream(WireModel):
    quality: Literal["main", "sub"]
    ring: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    source: Digest


class _WireFacts(WireModel):
    streams: Annotated[list[_WireStream], Field(max_length=2)]
    place: WirePlace | None
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+/-]{1,64}$")]
    issuer: Issuer
    roots: list[Kid]
    threshold: Annotated[int, Field(ge=2, le=16)]
    store: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    upload_origins: list[Text]


class _WireNotice(WireModel):
    version: Annotated[str, Field(pattern=r"^[0-9a-z.-]{1,16}$")]
    language: Literal["en", "es", "fr"]
    sha256: Digest


class _WirePurpose(WireModel):
    purpose: Text
    lawful_basis: Literal["consent"]
    recipient_third_parties: list[Literal["evidence", "escrow"]]


class _WireEvent(WireModel):
    event_time: Time
    event_type: Literal["explicit"]
    event_state: Literal["given"]
    entity_id: Kid
    valid_from: Time
    valid_until: Time


class _WireConsent(WireModel):
    schema_version: Literal["edge-agent/1"]
    record_id: Jti
    pii_principal_id: Kid
    version: Version
    camera: CameraId
    name: Name
    privacy_notice: _WireNotice
    purposes: Annotated[list[_WirePurpose], Field(min_length=1, max_length=1)]
    event: _WireEvent
    facts: _WireFacts
    terms: dict[str, Any]


def digest_notice(text: str) -> str:
    """Digest a waiver text as it was shown."""
    return encode_b64url(hashlib.sha256(text.encode()).digest())


def sign_built(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """Sign the very bytes that ``build_consent`` made and that were shown.

    Raises:
        CustodyError: They were built for another owner's key.
    """
    if _read_payload(payload).pii_principal_id != thumbprint(key.public_key()):
        raise CustodyError("the owner's private key is not the one that was pinned")
    return jws.sign_with(TYP, payload, [key])


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """The giving of a consent: by whom, at which time, for which time (``event`` of its payload, PROTOCOL 6.1)."""

    owner: str
    """Thumbprint of the key that will sign."""
    signed_at: UtcNs
    """Now, by the gateway's clock."""
    valid_from: UtcNs | None = None
    """``signed_at`` unless said otherwise."""
    valid_until: UtcNs | None = None
    """``expires_after`` later unless said otherwise, and never later than that."""


def build_consent(
    facts: Facts, name: str, terms: Terms, notice: PrivacyNotice, version: int, event: ConsentEvent
) -> bytes:
    """Build the payload of one camera's consent: the bytes that are shown, and then signed.

    Args:
        facts: The facts that the terms depend on, camera included.
        name: The owner's name for the camera.
        terms: All terms, as shown to the owner.
        notice: The waiver text that was shown with them.
        version: Above every earlier one of this camera.
        event: Signer and times.
    """
    owner, signed_at, valid_until = event.owner, event.signed_at, event.valid_until
    start = signed_at if event.valid_from is None else event.valid_from
    latest = UtcNs(start + terms.house.expires_after)
    # O1: nothing extends a consent but a new signature.
    end = latest if valid_until is None else min(valid_until, latest)
    identity = jws.encode_json([facts.camera, version, signed_at, owner])
    payload = {
        "schema_version": SCHEMA_VERSION,
        "record_id": encode_b64url(hashlib.sha256(identity).digest()[:16]),
        "pii_principal_id": owner,
        "version": version,
        "camera": facts.camera,
        "name": name,
        "privacy_notice": {"version": notice.version, "language": notice.language, "sha256": notice.sha256},
        "purposes": [
            {
                "purpose": PURPOSE,
                "lawful_basis": "consent",
                "recipient_third_parties": ["evidence", "escrow"] if terms.house.escrow else ["evidence"],
            }
        ],
        "event": {
            "event_time": encode_rfc3339(signed_at),
            "event_type": "explicit",
            "event_state": "given",
            "entity_id": owner,
            "valid_from": encode_rfc3339(start),
            "valid_until": encode_rfc3339(end),
        },
        "facts": _encode_facts(facts),
        "terms": encode_terms(terms),
    }
    return jws.encode_json(payload)


def read_built(payload: bytes) -> SignedConsent:
    """Read a payload as a verified one is read, so that a person is shown the content of its bytes and nothing else.

    Raises:
        DenialError: ``consent-invalid``.
    """
    wire = _read_payload(payload)
    return _value(b"", wire, _read_terms(wire), wire.pii_principal_id)


def _read_payload(payload: bytes) -> _WireConsent:
    try:
        return parse_members(_WireConsent, jws.parse_strict_json(payload, jws.MAX_MESSAGE_BYTES))
    except DenialError as error:
        deny("consent-invalid", detail=error.reason)


def verify_consent(raw: bytes, owner_key: Ed25519PublicKey, facts: Facts) -> SignedConsent:
    """Verify one camera's consent against the pinned owner's key and the facts as they are now.

    Raises:
        DenialError: ``consent-invalid`` (with the fault), or ``consent-facts-changed`` (with the facts).
    """
    try:
        message = jws.parse(raw, TYP, read_payload=lambda payload: parse_members(_WireConsent, payload))
        jws.verify(message, {thumbprint(owner_key): owner_key})
    except DenialError as error:
        deny("consent-invalid", detail=error.reason)
    wire = message.payload
    terms = _read_terms(wire)
    signed_facts = wire.facts.model_dump() | {"camera": wire.camera}
    ours = _comparable(facts)
    # O2: any fact that is otherwise now ends the consent, also one that would allow less.
    changed = sorted(name for name in ours if ours[name] != signed_facts[name])
    if changed:
        deny("consent-facts-changed", facts=", ".join(changed))
    return _value(raw, wire, terms, thumbprint(owner_key))


def _read_terms(wire: _WireConsent) -> Terms:
    try:
        terms = parse_terms(wire.terms)
    except ValidationError:
        deny("consent-invalid", detail="terms")
    # Read as it was signed: nothing left to a default that a later version may set otherwise.
    if encode_terms(terms) != wire.terms:
        deny("consent-invalid", detail="terms are not all said")
    if wire.event.valid_until <= wire.event.valid_from:
        deny("consent-invalid", detail="validity")
    return terms


def _value(raw: bytes, wire: _WireConsent, terms: Terms, owner: str) -> SignedConsent:
    return SignedConsent(
        raw=raw,
        sha256=hashlib.sha256(raw).digest(),
        camera=wire.camera,
        name=wire.name,
        version=wire.version,
        terms=terms,
        notice=PrivacyNotice(wire.privacy_notice.version, wire.privacy_notice.language, wire.privacy_notice.sha256),
        facts=wire.facts.model_dump(),
        signed_at=wire.event.event_time,
        valid_from=wire.event.valid_from,
        valid_until=wire.event.valid_until,
        thumbprint=owner,
    )


def effective(signed: Terms, file: Terms | None) -> Terms:
    """Return the terms that count: of each term what both the signature and the file allow.

    A camera that the file does not name is denied: taking it out of the file is the plainest way to say no.
    """
    if file is None:
        return signed.model_copy(update={"camera": signed.camera.model_copy(update={"mode": Mode.DENY})})
    return meet(signed, file)


def _encode_facts(facts: Facts) -> dict[str, Any]:
    values = _comparable(facts)
    values.pop("camera")
    return values


def _comparable(facts: Facts) -> dict[str, Any]:
    return {
        "camera": facts.camera,
        "streams": [
            {"quality": each.quality.value, "ring": each.ring, "source": encode_b64url(each.source)}
            for each in sorted(facts.streams, key=lambda stream: stream.quality.value)
        ],
        "place": None if facts.place is None else {"lat": float(facts.place.lat), "lon": float(facts.place.lon)},
        "time_zone": facts.time_zone,
        "issuer": facts.issuer,
        "roots": sorted(facts.roots),
        "threshold": facts.threshold,
        "store": facts.store,
        "upload_origins": sorted(facts.upload_origins),
    }

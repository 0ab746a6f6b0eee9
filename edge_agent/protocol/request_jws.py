"""A clip request's envelope: bytes → ``Request``, checks 1 to 6 of PROTOCOL 4.

Owns the order in which an unknown sender's bytes are believed, step by step. Pure. Nothing is looked up here that is
about the house: whether the request is for us, new, in time and consented to comes after (``admission``, ``decision``).
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from edge_agent.protocol import jws
from edge_agent.protocol.jws import deny
from edge_agent.protocol.members import (
    Cell,
    GatewayId,
    Issuer,
    Jti,
    ShortText,
    TargetName,
    Text,
    Time,
    WireModel,
    WirePlace,
    WireWindow,
    parse_members,
)
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import (
    EVERY_CAMERA,
    Audience,
    Category,
    Incident,
    Place,
    Quality,
    Request,
    Role,
    Signer,
)
from edge_agent.protocol.trust_bundle import TrustBundle, TrustedKey, find_key
from edge_agent.units import UtcNs

TYP = "rtcc-request+jws"
# PROTOCOL 3.2, `clip` and `aud`.
MAX_CAMERAS = 64
MAX_CELLS = 64
# PROTOCOL 3.2: an id, or "*" for every camera that consents.
_CameraOrEvery = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9-]{0,31}|\*)$")]


class _WireAudience(WireModel):
    gateway: GatewayId | None = None
    cells: Annotated[list[Cell], Field(min_length=1, max_length=MAX_CELLS)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "_WireAudience":
        if len(self.model_fields_set) != 1 or (self.gateway is None and self.cells is None):
            raise ValueError("exactly one of gateway and cells")
        if self.cells is not None and len(set(self.cells)) != len(self.cells):
            raise ValueError("each cell once")
        return self


class _WireIncident(WireModel):
    number: ShortText
    category: Literal[tuple(category.value for category in Category)]  # type: ignore[valid-type]
    reported_at: Time
    place: WirePlace
    window: WireWindow


class _WireClip(WireModel):
    cameras: Annotated[list[_CameraOrEvery], Field(min_length=1, max_length=MAX_CAMERAS)]
    window: WireWindow
    audio: bool
    quality: Literal["main", "sub"]

    @model_validator(mode="after")
    def _each_once(self) -> "_WireClip":
        if len(set(self.cameras)) != len(self.cameras) or (EVERY_CAMERA in self.cameras and len(self.cameras) > 1):
            raise ValueError('cameras each once, or "*" alone')
        return self


class _WireRequest(WireModel):
    iss: Issuer
    aud: _WireAudience
    iat: Time
    nbf: Time
    exp: Time
    release_by: Time
    jti: Jti
    incident: _WireIncident
    clip: _WireClip
    purpose: Text
    contact: Text
    deliver: TargetName


def verify_request(raw: bytes, trust: TrustBundle | None, now: UtcNs) -> Request:
    """Verify a request's envelope and return what its signers wrote (PROTOCOL 4, checks 1 to 6).

    Args:
        raw: As it arrived.
        trust: The bundle in use; without one nothing verifies.
        now: Judges the bundle and its keys, not the request.

    Raises:
        DenialError: With the first reason, in the order of the checks.
    """
    # Checks 1 to 3. The payload's members belong to check 2, so they are read before the headers are.
    message = jws.parse(raw, TYP, read_payload=_parse_payload)
    # Check 4: every key from the bundle, in its validity.
    keys = [find_key(trust, header.kid, now) for header in message.signatures]
    # Check 5: every signature verifies, with its key's own algorithm. Ends with the first two conditions of check 6.
    jws.verify(message, {key.kid: key.key for key in keys})
    # Check 6.
    signers = _check_signers(keys)
    # The keys vouch for the bundle's issuer alone; that it is ours is check 7's.
    if trust is None or message.payload.iss != trust.iss:
        deny("issuer-unknown")
    return _request(message, signers)


def read_request(raw: bytes) -> Request:
    """Return what a stored request says, for its owner's eyes: nothing is verified, and no signer is named.

    Raises:
        DenialError: It fails checks 1 to 3.
    """
    return _request(jws.parse(raw, TYP, read_payload=_parse_payload), ())


def check_payload(payload: bytes) -> None:
    """Refuse what is not yet signed and no gateway would read: shown to a person, it might not be what they sign.

    Raises:
        DenialError: It fails check 2.
    """
    _parse_payload(jws.parse_strict_json(payload, jws.MAX_MESSAGE_BYTES))


def _parse_payload(payload: object) -> _WireRequest:
    return parse_members(_WireRequest, payload)


def _check_signers(keys: list[TrustedKey]) -> tuple[Signer, ...]:
    """Check 6: distinct persons, one operator, one supervisor, and at most a dispatcher beside them."""
    # PROTOCOL 4, check 6: two keys of one person are one person.
    if len({key.person for key in keys}) != len(keys):
        deny("same-person")
    roles = [key.role for key in keys]
    if Role.OPERATOR not in roles:
        deny("operator-missing")
    if Role.SUPERVISOR not in roles:
        deny("supervisor-missing")
    # Of each role one: with operator and supervisor there, only a dispatcher can be the third.
    if len(set(roles)) != len(roles):
        deny("role-repeated")
    return tuple(Signer(key.kid, thumbprint(key.key), key.person, key.role) for key in keys)


def _request(message: jws.Jws[_WireRequest], signers: tuple[Signer, ...]) -> Request:
    wire = message.payload
    return Request(
        raw=message.raw,
        payload_sha256=message.payload_sha256,
        jti=wire.jti,
        iss=wire.iss,
        audience=Audience(wire.aud.gateway, tuple(wire.aud.cells or ())),
        iat=wire.iat,
        nbf=wire.nbf,
        exp=wire.exp,
        release_by=wire.release_by,
        incident=Incident(
            number=wire.incident.number,
            category=Category(wire.incident.category),
            reported_at=wire.incident.reported_at,
            place=Place(wire.incident.place.lat, wire.incident.place.lon),
            window=wire.incident.window.window(),
        ),
        cameras=tuple(wire.clip.cameras),
        window=wire.clip.window.window(),
        audio=wire.clip.audio,
        quality=Quality(wire.clip.quality),
        purpose=wire.purpose,
        contact=wire.contact,
        deliver=wire.deliver,
        signers=signers,
    )

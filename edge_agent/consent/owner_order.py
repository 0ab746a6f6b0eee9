"""The owner's signed orders (``owner-order+jws``): approve a request, resume, export, keep, confirm the clock,
adopt changed terms.

Owns their members, and the check that the owner's pinned key signed them, for this gateway, just
now. Denying, cancelling, pausing, revoking and erasing need no order: they only take away. Pure:
the caller asks the store whether an order was used before.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field

from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.members import (
    AgeRecipient,
    CameraId,
    Digest,
    GatewayId,
    Jti,
    Time,
    WireModel,
    WireWindow,
    parse_members,
)
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import Approval, ExportOrder
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs, Window, encode_rfc3339

TYP = "owner-order+jws"
MAX_AGE_NS = 5 * MINUTE_NS
"""PROTOCOL 6.3: an order that was signed and kept must not act later."""
ORDER_SKEW_NS = 5 * SECOND_NS
"""So far ahead an order may be dated (PROTOCOL 6.1, where the consent file has the same limit)."""
MAX_CAMERAS = 64
MAX_RECIPIENTS = 15
"""Of an export, beside the owner."""
LONGEST_LOOK_NS = 12 * HOUR_NS
"""As long as a request's window can be."""
LONGEST_KEEP_NS = 366 * DAY_NS
"""As long as a ring may keep anything."""
LONGEST_BUNDLE_NS = 4 * HOUR_NS
"""Of an export. Its evidence is in memory while it is made and while it is verified: with 25 pictures and 47 packets of
sound a second, 165 MB in the releaser and 700 MB at the verifier."""


class _Order(WireModel):
    gateway: GatewayId
    order_id: Jti
    iat: Time


class _Approve(_Order):
    order: Literal["approve"]
    jti: Jti
    request_sha256: Digest
    offer_sha256: Digest
    cameras: Annotated[list[CameraId], Field(min_length=1, max_length=MAX_CAMERAS)]
    window: WireWindow


class _Resume(_Order):
    order: Literal["resume"]
    what: Literal["release", "recording"]
    camera: CameraId | Literal["*"]


class _Export(_Order):
    order: Literal["export"]
    camera: CameraId
    quality: Literal["main", "sub"]
    window: WireWindow
    # Only an order for a bundle has it, so that none of a copy in the clear can be made to say something else.
    recipients: Annotated[list[AgeRecipient], Field(max_length=MAX_RECIPIENTS)] | None = None


class _Keep(_Order):
    order: Literal["keep"]
    camera: CameraId
    quality: Literal["main", "sub"]
    window: WireWindow
    until: Time


class _ConfirmClock(_Order):
    """That the time is ``iat``, now."""

    order: Literal["confirm-clock"]


class _Adopt(_Order):
    """That root puts a text of this digest in the place of ``consent.yaml``, or of the enrolment file.

    ``was`` is the digest of the file's present text: if it was edited since, the order is void.
    """

    order: Literal["adopt"]
    file: Literal["consent", "enrolment"]
    sha256: Digest
    was: Digest


@dataclass(frozen=True, slots=True)
class Resume:
    """The owner's verified order to end a pause of ``release`` or ``recording``, for a camera or ``*``."""

    what: Literal["release", "recording"]
    camera: str


@dataclass(frozen=True, slots=True)
class Keep:
    """The owner's verified order to keep a moment of own footage until a time, for own export alone."""

    camera: str
    quality: Quality
    window: Window
    until: UtcNs


@dataclass(frozen=True, slots=True)
class ConfirmClock:
    """The owner's verified statement that the wall clock is right."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """The owner's verified order that a text of this digest becomes ``consent.yaml``, or the enrolment file."""

    file: Literal["consent", "enrolment"]
    sha256: bytes
    was: bytes
    """SHA-256 of the text that it replaces; of nothing if there is no file yet."""


@dataclass(frozen=True, slots=True)
class Order:
    """A verified order and its id, which is good once."""

    order_id: str
    value: "OrderValue"
    issued_at: UtcNs


OrderValue = Approval | Resume | ExportOrder | Keep | ConfirmClock | Adopt

_MODELS: dict[str, type[_Order]] = {
    "approve": _Approve,
    "resume": _Resume,
    "export": _Export,
    "keep": _Keep,
    "confirm-clock": _ConfirmClock,
    "adopt": _Adopt,
}


def sign_order(
    order: str, members: Mapping[str, object], gateway: str, order_id: str, now: UtcNs, key: Ed25519PrivateKey
) -> bytes:
    """Sign an order with the owner's key.

    Args:
        order: ``approve``, ``resume``, ``export``, ``keep``, ``confirm-clock`` or ``adopt``.
        members: The members of the order, by the names of its kind.
        gateway: For this gateway alone.
        order_id: 128 fresh random bits in base64url.
        now: Good for five minutes from here.
        key: The owner's.

    Raises:
        DenialError: Members that no gateway would take.
    """
    return sign_built_order(build_order(order, members, gateway, order_id, now), key)


def build_order(order: str, members: Mapping[str, object], gateway: str, order_id: str, now: UtcNs) -> bytes:
    """Return an order's payload, to be shown and then signed as it is; arguments and errors as ``sign_order``."""
    payload = {"gateway": gateway, "order_id": order_id, "iat": encode_rfc3339(now), "order": order, **members}
    parse_members(_MODELS[order], payload)
    return jws.encode_json(payload)


def sign_built_order(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """Sign the very bytes that ``build_order`` made and that were shown."""
    return jws.sign_with(TYP, payload, [key])


def read_approval(payload: bytes, signer: str) -> Approval:
    """Read an approval's payload before it is signed with the key of that thumbprint.

    Raises:
        DenialError: It is no approval.
    """
    members = parse_members(_Approve, jws.parse_strict_json(payload, jws.MAX_MESSAGE_BYTES))
    value = _value(members, signer)
    assert isinstance(value, Approval)
    return value


def verify_order(raw: bytes, gateway: str, owner: Ed25519PublicKey, now: UtcNs | None) -> Order:
    """Verify an order and return what the owner wants.

    Args:
        raw: The JWS.
        gateway: This gateway's id.
        owner: The key pinned at ``init``.
        now: Judges its age; None for a stored order, whose age was judged when it came.

    Raises:
        DenialError: Malformed, another signer, another gateway, older than five minutes or from the future.
    """
    message = jws.parse(raw, TYP)
    kind = message.payload.get("order") if isinstance(message.payload, dict) else None
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        jws.deny("member-invalid", member="order", detail=f"should be one of {', '.join(_MODELS)}")
    members = parse_members(model, message.payload)
    # Before any member acts. The one key is the pinned one: a message cannot name another.
    jws.verify(message, {thumbprint(owner): owner})
    # One owner may have two gateways with one key: an order is good at one of them.
    if members.gateway != gateway:
        jws.deny("audience-mismatch")
    if now is not None and members.iat > now + ORDER_SKEW_NS:
        jws.deny("issued-in-future")
    if now is not None and now - members.iat > MAX_AGE_NS:
        jws.deny("expired")
    return Order(members.order_id, _value(members, thumbprint(owner)), members.iat)


def _value(members: _Order, signer: str) -> OrderValue:
    match members:
        case _Approve():
            request, offer = (
                base64.urlsafe_b64decode(each + "=") for each in (members.request_sha256, members.offer_sha256)
            )
            window = members.window.window()
            return Approval(members.jti, request, offer, tuple(members.cameras), window, signer, members.iat)
        case _Export():
            return ExportOrder(
                members.order_id,
                members.camera,
                Quality(members.quality),
                members.window.window(),
                signer,
                members.iat,
                None if members.recipients is None else tuple(members.recipients),
            )
        case _Resume():
            return Resume(members.what, members.camera)
        case _Keep():
            window = members.window.window()
            if not 0 < members.until - members.iat <= LONGEST_KEEP_NS:
                jws.deny("member-invalid", member="until", detail="should be within 366 days from now")
            if window.duration_ns > LONGEST_LOOK_NS:
                jws.deny("member-invalid", member="window", detail="should be twelve hours at most")
            return Keep(members.camera, Quality(members.quality), window, members.until)
        case _ConfirmClock():
            return ConfirmClock()
        case _Adopt():
            text, was = (base64.urlsafe_b64decode(each + "=") for each in (members.sha256, members.was))
            return Adopt(members.file, text, was)
    raise DenialError("member-invalid", "The order is of no known kind.")


def window_members(window: Window) -> dict[str, object]:
    """Return a window as an order's member."""
    return {"start": encode_rfc3339(window.start), "end": encode_rfc3339(window.end)}

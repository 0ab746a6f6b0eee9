"""A clip request, drafted and signed by two persons (PROTOCOL 3).

Owns how the RTCC's side writes a request: its members, its times, its cells, and the topics it is published to.
``edge_agent.protocol.request_jws`` and the gate behind it judge it at a gateway.
"""

from dataclasses import dataclass
from typing import Any

from edge_agent.consent.admission import MAX_AREA_VALIDITY_NS, MAX_GATEWAY_VALIDITY_NS, MAX_RELEASE_NS
from edge_agent.errors import UsageError
from edge_agent.protocol import jws
from edge_agent.protocol.geohash import cells_touched
from edge_agent.protocol.request import Audience, Incident, Quality, Role
from edge_agent.protocol.request_jws import TYP, verify_request
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import make_id
from edge_agent.rtcc.office.trust import load_trust
from edge_agent.units import UtcNs, Window, encode_rfc3339


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """The payload that two persons are about to sign; its id and its times are added when they do."""

    audience: Audience
    incident: Incident
    window: Window
    """Of the clip: inside the incident's."""
    purpose: str
    contact: str
    cameras: tuple[str, ...] = ("*",)
    audio: bool = False
    quality: Quality = Quality.MAIN
    deliver: str = "evidence"
    release_within_ns: int = MAX_RELEASE_NS


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request ready to be sent."""

    jti: str
    raw: bytes
    topics: tuple[str, ...]
    expires: UtcNs
    """When the broker may forget it: the end of its arrival."""


def to_gateway(gateway: str) -> Audience:
    """Address one gateway."""
    return Audience(gateway=gateway, cells=())


def to_area(incident: Incident, radius_m: float) -> Audience:
    """Address every cell that the circle around an incident touches.

    Raises:
        UsageError: The circle touches more cells than a request may name.
    """
    try:
        cells = cells_touched((incident.place.lat, incident.place.lon), radius_m)
    except ValueError as error:
        raise UsageError(f"area cannot be addressed: {error}") from error
    return Audience(gateway=None, cells=tuple(cells))


def topics_of(audience: Audience) -> tuple[str, ...]:
    """Return the topics of a request: one gateway's, or one for each cell."""
    if audience.gateway is not None:
        return (f"rtcc/1/req/g/{audience.gateway}",)
    return tuple(f"rtcc/1/req/a/{cell}" for cell in audience.cells)


def build_payload(draft: RequestDraft, iss: str, jti: str, now: UtcNs) -> dict[str, Any]:
    """Write the members of a request (PROTOCOL 3.2)."""
    place, incident = draft.incident.place, draft.incident
    longest_ns = MAX_AREA_VALIDITY_NS if draft.audience.is_area else MAX_GATEWAY_VALIDITY_NS
    release_by = UtcNs(now + draft.release_within_ns)
    expires = UtcNs(min(now + longest_ns, release_by))
    return {
        "iss": iss,
        "aud": {"cells": list(draft.audience.cells)} if draft.audience.is_area else {"gateway": draft.audience.gateway},
        "iat": encode_rfc3339(now),
        "nbf": encode_rfc3339(now),
        "exp": encode_rfc3339(expires),
        "release_by": encode_rfc3339(release_by),
        "jti": jti,
        "incident": {
            "number": incident.number,
            "category": incident.category.value,
            "reported_at": encode_rfc3339(incident.reported_at),
            "place": {"lat": place.lat, "lon": place.lon},
            "window": _window(incident.window),
        },
        "clip": {
            "cameras": list(draft.cameras),
            "window": _window(draft.window),
            "audio": draft.audio,
            "quality": draft.quality.value,
        },
        "purpose": draft.purpose,
        "contact": draft.contact,
        "deliver": draft.deliver,
    }


def sign_request(
    home: RtccHome, draft: RequestDraft, now: UtcNs, *, operator: str, supervisor: str, dispatch: str | None = None
) -> SignedRequest:
    """Sign a request by an operator and a supervisor, and by a dispatcher if one is named, on one machine.

    Raises:
        CustodyError: Somebody is not known here, or not in that role.
        DenialError: Every gateway would refuse it: the bundle expired or does not name a signer, a malformed member.
    """
    raw = draft_request(home, draft, now, operator=operator)
    if dispatch is not None:
        raw = jws.countersign(raw, TYP, home.people.load_key(dispatch, Role.DISPATCH))
    return countersign_request(home, raw, now, supervisor=supervisor)


def draft_request(home: RtccHome, draft: RequestDraft, now: UtcNs, *, operator: str) -> bytes:
    """Sign a request by its operator alone: no gateway acts on it until a supervisor has countersigned."""
    payload = build_payload(draft, home.settings.iss, make_id(), now)
    return jws.sign(TYP, payload, [home.people.load_key(operator, Role.OPERATOR)])


def countersign_request(home: RtccHome, raw: bytes, now: UtcNs, *, supervisor: str) -> SignedRequest:
    """Add the supervisor's signature, over the very bytes that the operator signed.

    Before it is handed out, the request is verified as a gateway would, against our newest trust bundle.

    Raises:
        CustodyError: The supervisor is not known here, or not in that role.
        DenialError: Not a request, or one that every gateway would refuse.
    """
    signed = jws.countersign(raw, TYP, home.people.load_key(supervisor, Role.SUPERVISOR))
    return load_request(home, signed, now)


def load_request(home: RtccHome, raw: bytes, now: UtcNs) -> SignedRequest:
    """Verify a signed request as a gateway would, and say where it goes.

    Raises:
        DenialError: Every gateway would refuse it.
    """
    request = verify_request(raw, load_trust(home, now), now)
    return SignedRequest(request.jti, raw, topics_of(request.audience), request.exp)


def _window(window: Window) -> dict[str, str]:
    return {"start": encode_rfc3339(window.start), "end": encode_rfc3339(window.end)}

"""Admission of a verified request: for us, new, in time, inside its incident (PROTOCOL 4, checks 7 to 10).

Owns these four checks and their order: replay before time, so that a repeated request gets the answer it got and
never a new decision. Pure: it asks a ``RequestMemory`` for the requests of before, and the caller remembers this one,
in the transaction that stores the decision.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from edge_agent.protocol.jws import deny, encode_json
from edge_agent.protocol.request import REQUEST_SKEW_NS, Admitted, Incident, Request
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, ClockState, UtcNs, encode_rfc3339

MAX_GATEWAY_VALIDITY_NS = 15 * MINUTE_NS
MAX_AREA_VALIDITY_NS = 24 * HOUR_NS
MAX_RELEASE_NS = 24 * HOUR_NS
MAX_INCIDENT_WINDOW_NS = DAY_NS
_ALWAYS = UtcNs(0)


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """The facts beside a request: this gateway's id and cell, the RTCC it is enrolled with, the widest padding."""

    gateway: str
    cell: str
    iss: str
    padding_ns: int = 0
    """The largest padding of any camera's terms; each camera's own is applied by ``decide``."""
    born_at: UtcNs | None = _ALWAYS
    """When this gateway's memory began; None if it has not, as no time was believed yet."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request of the same issuer and id that was fully verified before."""

    payload_sha256: bytes
    answer: bytes | None
    """The last answer; None for silence."""


class RequestMemory(Protocol):
    """This gateway's memory of requests; a read of the store, inside the caller's transaction."""

    def find(self, iss: str, jti: str) -> SeenRequest | None:
        """Look up a request by its issuer and id."""

    def find_incident(self, iss: str, number: str) -> bytes | None:
        """Look up the digest of an incident's facts as they were first seen."""


class Replayed(Exception):
    """No error, the same request again (as MQTT may deliver it): repeat ``answer``, or the silence if it is None."""

    def __init__(self, answer: bytes | None) -> None:
        super().__init__("request is known")
        self.answer = answer


def admit(request: Request, me: GatewayFacts, seen: RequestMemory, now: UtcNs, clock_state: ClockState) -> Admitted:
    """Admit a verified request (PROTOCOL 4, checks 7 to 10).

    The caller remembers (iss, jti, payload digest) of every request that passes check 8, and the incident's digest of
    one that is admitted. ``clock-unsynchronised`` passes by itself (``reasons.TRANSIENT``): the request waits and comes
    again.

    Raises:
        DenialError: With the first reason, in the order of the checks.
        Replayed: The same payload was seen before.
    """
    _check_audience(request, me)
    _check_replay(request, seen)
    _check_time(request, me, now, clock_state)
    _check_incident(request, me, seen, now)
    return Admitted(request, now)


def incident_digest(incident: Incident) -> bytes:
    """Digest the facts of an incident that must never change: category, report, place and window."""
    facts = [
        incident.category.value,
        encode_rfc3339(incident.reported_at),
        [repr(incident.place.lat), repr(incident.place.lon)],
        str(incident.window),
    ]
    return hashlib.sha256(encode_json(facts)).digest()


def _check_audience(request: Request, me: GatewayFacts) -> None:
    """Check 7: from our RTCC, for this gateway or for the cell it lies in."""
    if request.iss != me.iss:
        deny("issuer-unknown")
    if request.audience.gateway != me.gateway and me.cell not in request.audience.cells:
        deny("audience-mismatch")


def _check_replay(request: Request, seen: RequestMemory) -> None:
    """Check 8: a known id is repeated or refused, whatever the time."""
    known = seen.find(request.iss, request.jti)
    if known is None:
        return
    # By the payload, not the message: the same request may come again with its signatures made
    # anew.
    if known.payload_sha256 != request.payload_sha256:
        deny("jti-reused")
    raise Replayed(known.answer)


def _check_time(request: Request, me: GatewayFacts, now: UtcNs, clock_state: ClockState) -> None:
    """Check 9: arrival between nbf and exp, release before release_by, by a clock that can be believed.

    A request that was issued before the memory began may have been refused, granted or cancelled by a memory that is
    lost.
    """
    # First: by a clock that cannot be believed none of the comparisons below would mean anything.
    if clock_state is not ClockState.SYNCHRONISED or me.born_at is None:
        deny("clock-unsynchronised")
    if request.iat < me.born_at:
        deny("issued-before-store")
    if not request.iat <= request.nbf < request.exp <= request.release_by:
        deny("validity-inverted")
    longest_ns = MAX_AREA_VALIDITY_NS if request.audience.is_area else MAX_GATEWAY_VALIDITY_NS
    if request.exp - request.iat > longest_ns:
        deny("validity-too-long", limit="24 h" if request.audience.is_area else "15 min")
    if request.release_by - request.iat > MAX_RELEASE_NS:
        deny("release-by-too-late", limit="24 h")
    if request.iat > now + REQUEST_SKEW_NS:
        deny("issued-in-future")
    if request.nbf > now + REQUEST_SKEW_NS:
        deny("not-yet-valid")
    # The skew helps the RTCC at the arrival only: `release_by`, up to which footage leaves, has
    # none.
    if request.exp <= now - REQUEST_SKEW_NS:
        deny("expired")
    if request.release_by <= now:
        deny("release-by-passed")


def _check_incident(request: Request, me: GatewayFacts, seen: RequestMemory, now: UtcNs) -> None:
    """Check 10: the clip inside the incident, the incident in the past, and its facts as they always were."""
    incident = request.incident
    if incident.window.duration_ns > MAX_INCIDENT_WINDOW_NS:
        deny("incident-window-too-long", limit="24 h")
    # The widest padding of any camera: each camera's own is a rule of its consent (check 11).
    if not incident.window.widen(me.padding_ns).contains(request.window):
        deny("clip-outside-incident")
    # No skew here: footage that is not yet recorded is never granted, so the RTCC asks a minute later rather than
    # earlier.
    if incident.window.end > now:
        deny("incident-in-future")
    if request.window.end > now:
        deny("clip-in-future")
    # By the RTCC's own two times: no footage first and a report for it afterwards.
    if incident.reported_at > request.iat:
        deny("incident-reported-late")
    first = seen.find_incident(request.iss, incident.number)
    if first is not None and first != incident_digest(incident):
        deny("incident-changed")

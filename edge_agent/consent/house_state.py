"""The house at one moment: the terms of each camera, the pauses, and the grants of before.

Owns the values that ``decide`` judges a request with. They are put together by the releaser from its store, the signed
consents and the file; nothing here looks anything up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.consent.policy import GlobalTerms, Occasion, Refusal, Refusals, Terms
from edge_agent.consent.signed_consent import Facts, SignedConsent, effective, verify_consent
from edge_agent.errors import DenialError
from edge_agent.protocol.reasons import say
from edge_agent.protocol.request import Place
from edge_agent.protocol.verdict import Reason
from edge_agent.units import UtcNs

FOREVER = UtcNs(2**63 - 1)
"""The end of a pause without an end."""
NOT_PAUSED = UtcNs(0)


@dataclass(frozen=True, slots=True)
class CameraInForce:
    """The terms of one camera of this gateway, and its state."""

    place: Place | None
    """None if none is configured: then nothing is granted."""
    consent: SignedConsent | None
    problem: Reason | None
    """Why there is no consent, if there is none."""
    terms: Terms | None
    """The terms that count: the tighter of signed and file. None exactly where ``consent`` is."""
    unknown: Reason | None = None
    """Why something could not be read: then nothing is granted, and no grant is lost (``reasons.UNKNOWN``)."""
    highest_version: int = 0
    """The highest version of this camera's consent that was ever seen; an older one never counts again."""
    revoked: bool = False
    paused_until: UtcNs = NOT_PAUSED


@dataclass(frozen=True, slots=True)
class HouseState:
    """The state of the whole house."""

    cameras: Mapping[str, CameraInForce]
    time_zone: tzinfo
    paused_until: UtcNs = NOT_PAUSED


@dataclass(frozen=True, slots=True)
class CameraHistory:
    """The grants and questions of one camera for requests with a smaller number, before the current decision.

    Counted by the grants that the *signed* terms would have made (``decision.counted``), so that an edit of the file
    never makes room for one more request.
    """

    last_day: int = 0
    """Requests of the last 24 hours."""
    last_month: int = 0
    """Requests of the last 30 days."""
    same_incident: int = 0
    """Requests for the same incident, of any time."""
    last_month_ns: int = 0
    """Footage of the last 30 days."""


@dataclass(frozen=True, slots=True)
class History:
    """The grants and questions of before, for every camera of the house."""

    cameras: Mapping[str, CameraHistory]


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """The releaser's store on one camera."""

    raw: bytes | None
    """The signed consent as stored; None if there is none."""
    highest_version: int = 0
    revoked: bool = False
    paused_until: UtcNs = NOT_PAUSED
    """``FOREVER`` until the owner resumes."""


def stand(
    kept: KeptConsent,
    owner_key: Ed25519PublicKey,
    facts: Facts,
    file: Terms | None,
    *,
    is_file_unreadable: bool = False,
    is_ring_unreadable: bool = False,
) -> CameraInForce:
    """Return what is in force for one camera. If its consent does not verify, nothing is, and ``problem`` says why.

    A consent of a version that was not seen before counts, whether an earlier one was revoked or not.

    Args:
        kept: From the store.
        owner_key: Pinned at ``init``.
        facts: As they are now.
        file: The terms of this camera in ``consent.yaml``; None if the file does not name it.
        is_file_unreadable: ``consent.yaml`` is missing or cannot be read: its content is unknown.
        is_ring_unreadable: A ring is missing or cannot be read: whether the facts changed is unknown.
    """
    consent: SignedConsent | None = None
    problem: Reason | None = None
    unknown: Reason | None = None
    if kept.raw is None:
        problem = Reason("consent-missing", say("consent-missing"), facts.camera)
    else:
        try:
            consent = verify_consent(kept.raw, owner_key, facts)
        except DenialError as error:
            problem = Reason(error.reason, str(error), facts.camera)
            # A disk that is away for a moment must not end a consent: facts that cannot be read are
            # not facts that changed.
            if is_ring_unreadable and error.reason == "consent-facts-changed":
                unknown = Reason("ring-unreadable", say("ring-unreadable"), facts.camera)
    terms: Terms | None = None
    if consent is not None and is_file_unreadable:
        # O4: unknown, so nothing is granted and nothing that was granted is lost until the file can
        # be read.
        terms, unknown = consent.terms, Reason("consent-file-unreadable", say("consent-file-unreadable"), facts.camera)
    elif consent is not None:
        terms = effective(consent.terms, file)
    is_new = consent is not None and consent.version > kept.highest_version
    return CameraInForce(
        place=facts.place,
        consent=consent,
        problem=problem,
        terms=terms,
        unknown=unknown,
        highest_version=consent.version if consent is not None and is_new else kept.highest_version,
        revoked=kept.revoked and not is_new,
        paused_until=kept.paused_until,
    )


def refusals(house_state: HouseState) -> Refusals:
    """Return how a refusal is answered: silence if the terms of any camera say so.

    Of the terms that count, not of the file: that the house answers at all is something that the owner signed.
    """
    houses = _houses(house_state)
    area = Refusal.DECLINED if houses and all(h.refusals.area is Refusal.DECLINED for h in houses) else Refusal.SILENCE
    silent = any(house.refusals.gateway is Refusal.SILENCE for house in houses)
    return Refusals(area=area, gateway=Refusal.SILENCE if silent else Refusal.DECLINED)


def patience_ns(house_state: HouseState) -> int:
    """Return how long after arrival a refusal is told, whatever its cause: as long as an owner may take to answer."""
    return max([int(house.ask_timeout) for house in _houses(house_state)] or [int(GlobalTerms().ask_timeout)])


def occasions(house_state: HouseState) -> frozenset[Occasion]:
    """Return the occasions that the owner is told: those of any camera's terms, and all while nothing is signed."""
    houses = _houses(house_state)
    return frozenset().union(*(house.notify for house in houses)) if houses else frozenset(Occasion)


def _houses(house_state: HouseState) -> list[GlobalTerms]:
    return [camera.terms.house for camera in house_state.cameras.values() if camera.terms is not None]

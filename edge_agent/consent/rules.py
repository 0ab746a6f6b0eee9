"""The rules of consent: each looks at one request and one camera, and finds a reason against it or none.

Owns what each term does, and that all rules are asked of every camera, in any order. They know nothing of each other,
and one reason is enough: a forbid beats every permit. ``decision`` makes a verdict of what they find. Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from edge_agent.consent.hours import local_dates
from edge_agent.consent.house_state import CameraHistory, CameraInForce, History, HouseState
from edge_agent.consent.policy import CameraTerms, GlobalTerms, Mode, Signatures
from edge_agent.consent.signed_consent import SignedConsent
from edge_agent.protocol.geohash import distance_m
from edge_agent.protocol.reasons import UNKNOWN, say
from edge_agent.protocol.request import EVERY_CAMERA, Admitted, Quality, Request, Role
from edge_agent.protocol.verdict import Reason
from edge_agent.units import MINUTE_NS, ClockState, UtcNs, Window, encode_duration, encode_rfc3339


@dataclass(frozen=True, slots=True)
class Case:
    """One request, one camera with a consent, one moment."""

    camera: str
    request: Request
    arrived_at: UtcNs
    in_force: CameraInForce
    consent: SignedConsent
    terms: CameraTerms
    house: GlobalTerms
    time_zone: tzinfo
    history: CameraHistory
    now: UtcNs

    def allowed_window(self) -> Window | None:
        """Return request ∩ incident (with this camera's padding)."""
        return self.request.window.intersect(self.request.incident.window.widen(self.house.padding))

    def windows(self) -> tuple[Window, ...]:
        """Return request ∩ incident ∩ hours, in order."""
        window = self.allowed_window()
        return self.terms.hours.windows(window, self.time_zone) if window is not None else ()


Rule = Callable[[Case], Reason | None]


def in_force_reasons(camera: str, house_state: HouseState, now: UtcNs, *, as_signed: bool = False) -> Iterable[Reason]:
    """Yield what stands against a camera before any term is looked at; ``as_signed`` needs no file."""
    if now < house_state.paused_until:
        yield _reason("release-paused", camera)
    in_force = house_state.cameras.get(camera)
    if in_force is None:
        yield _reason("camera-unknown", camera)
        return
    if now < in_force.paused_until:
        yield _reason("camera-paused", camera)
    # All that hold are told, not the first alone: the owner's ledger has every reason (O4).
    if in_force.revoked:
        yield _reason("consent-revoked", camera)
    if in_force.consent is None or in_force.terms is None:
        yield in_force.unknown or in_force.problem or _reason("consent-missing", camera)
    elif in_force.unknown is not None and not as_signed:
        yield in_force.unknown


def _version(case: Case) -> Reason | None:
    return _unless(case.consent.version >= case.in_force.highest_version, case, "consent-superseded")


def _validity_start(case: Case) -> Reason | None:
    start = case.consent.valid_from
    return _unless(start <= case.now, case, "consent-not-yet-valid", date=encode_rfc3339(start))


def _validity_end(case: Case) -> Reason | None:
    # The file may shorten the validity like any other term.
    end = UtcNs(min(case.consent.valid_until, case.consent.valid_from + case.house.expires_after))
    return _unless(case.now < end, case, "consent-expired", date=encode_rfc3339(end))


def _mode(case: Case) -> Reason | None:
    return _unless(case.terms.mode is not Mode.DENY, case, "mode-deny")


def _agency(case: Case) -> Reason | None:
    return _unless(case.request.iss in case.house.agencies, case, "agency-not-consented")


def _signatures(case: Case) -> Reason | None:
    signed = {signer.role for signer in case.request.signers}
    # By roles that check 6 has verified: two signatures of one role never come here.
    enough = case.house.signatures is Signatures.TWO or Role.DISPATCH in signed
    return _unless(enough, case, "dispatch-missing")


def _reported(case: Case) -> Reason | None:
    age_ns = case.request.iat - case.request.incident.reported_at
    limit_ns = case.house.reported_within
    return _unless(age_ns <= limit_ns, case, "reported-too-late", limit=encode_duration(limit_ns))


def _incident(case: Case) -> Reason | None:
    widened = case.request.incident.window.widen(case.house.padding)
    return _unless(widened.contains(case.request.window), case, "clip-outside-incident")


def _blackout(case: Case) -> Reason | None:
    dates = case.house.blackout_dates.intersection(local_dates(case.request.window, case.time_zone))
    return _unless(not dates, case, "blackout-date", date=", ".join(sorted(map(str, dates))))


def _category(case: Case) -> Reason | None:
    category = case.request.incident.category
    return _unless(category in case.terms.categories, case, "category-not-consented", category=category.value)


def _distance(case: Case) -> Reason | None:
    incident, place = case.request.incident.place, case.in_force.place
    if place is None:
        return _reason("place-missing", case.camera)
    # From the camera's own place, at home: the cell of the topic is only a first sieve (PROTOCOL 2,
    # M4).
    metres = distance_m((place.lat, place.lon), (incident.lat, incident.lon))
    return _unless(metres <= case.terms.distance_m, case, "too-far", limit=case.terms.distance_m)


def _length(case: Case) -> Reason | None:
    limit_ns = case.terms.window
    fits = case.request.window.duration_ns <= limit_ns
    return _unless(fits, case, "window-too-long", limit=encode_duration(limit_ns))


def _age(case: Case) -> Reason | None:
    # Measured at arrival: while the owner thinks it over, the footage grows no older.
    limit_ns = case.terms.footage_age
    fits = case.arrived_at - case.request.window.start <= limit_ns
    return _unless(fits, case, "footage-too-old", limit=encode_duration(limit_ns))


def _hours(case: Case) -> Reason | None:
    # A clip outside of the incident has a rule of its own.
    outside = case.allowed_window() is not None and not case.windows()
    return _unless(not outside, case, "outside-hours")


def _quality(case: Case) -> Reason | None:
    allowed = case.terms.quality
    fits = allowed is Quality.MAIN or case.request.quality is allowed
    return _unless(fits, case, "quality-not-consented", allowed=allowed.value)


def _cooling_off(case: Case) -> Reason | None:
    return _unless(case.arrived_at + case.house.cooling_off < case.request.release_by, case, "release-by-too-soon")


def _per_day(case: Case) -> Reason | None:
    limit = case.terms.requests_per_day
    return _unless(case.history.last_day < limit, case, "quota-day", limit=limit)


def _per_month(case: Case) -> Reason | None:
    limit = case.terms.requests_per_month
    return _unless(case.history.last_month < limit, case, "quota-month", limit=limit)


def _per_incident(case: Case) -> Reason | None:
    limit = case.terms.requests_per_incident
    return _unless(case.history.same_incident < limit, case, "quota-incident", limit=limit)


def _minutes(case: Case) -> Reason | None:
    # The whole asked window, not the rest that the hours leave of it: tighter hours must not make room.
    limit = case.terms.minutes_per_month
    used_ns = case.history.last_month_ns + case.request.window.duration_ns
    return _unless(used_ns <= limit * MINUTE_NS, case, "quota-minutes", limit=limit)


RULES: Mapping[str, Rule] = {
    "version": _version,
    "validity-start": _validity_start,
    "validity-end": _validity_end,
    "mode": _mode,
    "agency": _agency,
    "signatures": _signatures,
    "reported": _reported,
    "incident": _incident,
    "blackout": _blackout,
    "category": _category,
    "distance": _distance,
    "length": _length,
    "age": _age,
    "hours": _hours,
    "quality": _quality,
    "cooling-off": _cooling_off,
    "per-day": _per_day,
    "per-month": _per_month,
    "per-incident": _per_incident,
    "minutes": _minutes,
}
"""Every rule by name; their order means nothing."""


def make_case(
    camera: str, admitted: Admitted, house_state: HouseState, history: CameraHistory, now: UtcNs, *, as_signed: bool
) -> Case | None:
    """Put together what the rules look at; None if no consent stands for the camera.

    Args:
        camera: Its id.
        admitted: The request.
        house_state: The house as it is now.
        history: Of this camera.
        now: The moment.
        as_signed: Judge by the signed terms alone, as if the file said the same.
    """
    in_force = house_state.cameras.get(camera)
    if in_force is None or in_force.consent is None or in_force.terms is None:
        return None
    terms = in_force.consent.terms if as_signed else in_force.terms
    return Case(
        camera=camera,
        request=admitted.request,
        arrived_at=admitted.arrived_at,
        in_force=in_force,
        consent=in_force.consent,
        terms=terms.camera,
        house=terms.house,
        time_zone=house_state.time_zone,
        history=history,
        now=now,
    )


def _unless(fulfilled: bool, case: Case, code: str, **values: object) -> Reason | None:
    return None if fulfilled else _reason(code, case.camera, **values)


def _reason(code: str, camera: str, **values: object) -> Reason:
    return Reason(code, say(code, **values), camera)


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One rule's verdict on one camera, for ``explain``: ``reason`` is None if the rule has nothing against it."""

    rule: str
    camera: str | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class CameraFindings:
    """The findings of the rules on one camera."""

    camera: str
    steps: tuple[TraceStep, ...]
    case: Case | None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why the camera is refused, or cannot be judged now."""
        return tuple(step.reason for step in self.steps if step.reason is not None)

    @property
    def is_unknown(self) -> bool:
        """Tell whether nothing is known against the camera but that it cannot be judged now."""
        return bool(self.reasons) and {each.code for each in self.reasons} <= UNKNOWN

    @property
    def is_denied(self) -> bool:
        """Tell whether there is a reason against the camera."""
        return bool(self.reasons) and not self.is_unknown


def apply_rules(
    admitted: Admitted,
    house_state: HouseState,
    history: History,
    now: UtcNs,
    only: Sequence[str] | None = None,
    *,
    as_signed: bool = False,
) -> list[CameraFindings]:
    """Ask every rule about every camera of a request.

    Args:
        admitted: Checks 1 to 10 are behind it.
        house_state: The state of each camera's consent now.
        history: The use of quotas by earlier requests.
        now: The moment of the evaluation.
        only: The cameras to ask about; None means those that the request names, `*` being all of the house.
        as_signed: Ask about the signed terms alone, as if no file narrowed them.

    Returns:
        One for each camera, in the order of the request.
    """
    asked: Sequence[str] = admitted.request.cameras if only is None else only
    if tuple(asked) == (EVERY_CAMERA,):
        asked = sorted(house_state.cameras)
    findings = []
    for camera in asked:
        in_force = in_force_reasons(camera, house_state, now, as_signed=as_signed)
        steps = [TraceStep("standing", camera, reason) for reason in in_force]
        case = None
        if camera in house_state.cameras:
            case = make_case(camera, admitted, house_state, history.cameras[camera], now, as_signed=as_signed)
        if case is not None:
            steps += [TraceStep(name, camera, rule(case)) for name, rule in RULES.items()]
        findings.append(CameraFindings(camera, tuple(steps), case))
    return findings


def general_reasons(request: Request, house_state: HouseState, now: UtcNs, clock_state: ClockState) -> Iterable[Reason]:
    """Yield the reasons against a request that are of no single camera."""
    if clock_state is not ClockState.SYNCHRONISED:
        yield reason_of_request("clock-unsynchronised")
    if now >= request.release_by:
        yield reason_of_request("release-by-passed")
    if not house_state.cameras:
        yield reason_of_request("camera-unknown")


def reason_of_request(code: str) -> Reason:
    """Return a reason that is of no single camera."""
    return Reason(code, say(code))

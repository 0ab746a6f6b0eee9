"""The decision: check 11 of PROTOCOL 4, and the one place in which a ``Grant`` is made.

Owns how the rules' findings become a verdict and a bound. ``decide`` makes the first; ``decide_again`` runs on
approval, after cooling-off, before each build and upload, before the key is handed over, and at once when the owner
takes something back: it may only narrow. Pure.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from edge_agent.consent.bound import NOTHING, Bound, CameraBound, intersect
from edge_agent.consent.house_state import History, HouseState
from edge_agent.consent.offer import Offers, digest_offers, offers_of
from edge_agent.consent.policy import GlobalTerms, Mode
from edge_agent.consent.rules import (
    CameraFindings,
    Case,
    TraceStep,
    apply_rules,
    general_reasons,
    in_force_reasons,
    reason_of_request,
)
from edge_agent.protocol.reasons import CAUSES, TIMED, UNKNOWN, say
from edge_agent.protocol.request import Admitted, Request
from edge_agent.protocol.verdict import Approval, Ask, CameraGrant, Denial, Grant, Reason, Verdict, Wait
from edge_agent.units import SECOND_NS, ClockState, UtcNs

APPROVAL_SKEW_NS = 60 * SECOND_NS
"""So far the owner's clock may be from the gateway's when an approval is signed."""
_STOPS = frozenset({"release-paused", "camera-paused", "consent-revoked"})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The verdict of a later evaluation, the rest of the bound, and why cameras left it or have less."""

    verdict: Verdict | Wait
    bound: Bound
    left: tuple[Reason, ...] = ()


def decide(
    admitted: Admitted, house_state: HouseState, history: History, now: UtcNs, clock_state: ClockState
) -> tuple[Verdict, Bound]:
    """Decide on an admitted request for the first time.

    Args:
        admitted: Checks 1 to 10 are behind it.
        house_state: The state of each camera's consent now.
        history: The use of quotas by earlier requests; one entry for every camera of the household.
        now: The moment of the decision.
        clock_state: Whether ``now`` can be believed.

    Returns:
        A grant of the request's part that incident and consent allow, a question to the owner about that part, or a
        denial with every reason; and the bound that no later evaluation leaves. An unknown fact counts as a denial.
    """
    request = admitted.request
    findings = apply_rules(admitted, house_state, history, now)
    against = [*general_reasons(request, house_state, now, clock_state)]
    offered = [finding.case for finding in findings if finding.case is not None and not finding.reasons]
    refused = [reason for finding in findings for reason in finding.reasons]
    if against or not offered:
        return _denied(request, [*against, *refused], now)
    signed = apply_rules(admitted, house_state, history, now, as_signed=True)
    # A camera that asks by its signature keeps asking if the file denies it: otherwise an edit that takes one camera
    # away would release the others without a question.
    would_ask = _waiting((finding.case for finding in signed if finding.case and not finding.reasons), now)
    waiting = _waiting(offered, now) or would_ask
    silent = [case for case in offered if case.terms.mode is Mode.ASK and now >= _ask_until(case)]
    refused += [Reason("owner-silent", say("owner-silent"), case.camera) for case in silent]
    offered = [case for case in offered if case not in silent]
    if not offered:
        return _denied(request, refused, now)
    bound = Bound(
        cameras=tuple(_bound_by(case) for case in offered),
        escrow=all(case.house.escrow for case in offered),
        decided_at=now,
        cools_from=now,
        cooling_off=max(case.house.cooling_off for case in offered),
        asks=bool(waiting),
    )
    cameras = _grants(offered, bound)
    if waiting:
        return Ask(request, cameras, _sorted([*refused, *_trims(bound)]), now, max(waiting)), bound
    if bound.not_before >= request.release_by:
        return _denied(request, [*refused, reason_of_request("release-by-too-soon")], now)
    return _grant(request, cameras, bound, refused, now), bound


def decide_again(
    admitted: Admitted,
    house_state: HouseState,
    history: History,
    approval: Approval | None,
    bound: Bound,
    now: UtcNs,
    clock_state: ClockState,
) -> Evaluation:
    """Evaluate a request that was decided before: nothing that comes of it goes beyond ``bound`` (PROTOCOL 6.2, O9).

    Args:
        admitted: As it arrived.
        house_state: The state of each camera's consent now.
        history: The use by requests with a smaller number, before ``bound.decided_at``.
        approval: The owner's verified answer, at the moment at which it is recorded; None at any other.
        bound: The rest that earlier evaluations left.
        now: The moment of the evaluation.
        clock_state: Whether ``now`` can be believed.

    Returns:
        Its part now, or that it must wait; and the bound met with that. A camera that is denied has left
        it; one of which nothing can be said stays in it as it was.
    """
    request = admitted.request
    believed = clock_state is ClockState.SYNCHRONISED
    findings = [
        _again(each, bound, now, believed) for each in apply_rules(admitted, house_state, history, now, bound.names)
    ]
    general = general_reasons(request, house_state, now, clock_state)
    against = [each for each in general if each.code not in UNKNOWN and (believed or each.code not in TIMED)]
    refused = [reason for finding in findings if finding.is_denied for reason in finding.reasons]
    unknown = [reason for finding in findings if finding.is_unknown for reason in finding.reasons]
    # The owner saw this one: an approval is compared with it, not with what is left now.
    stored = bound
    bound, narrowed = _meet(bound, findings)
    refused += narrowed
    if against or not bound.cameras:
        return _ended(request, [*against, *refused], now)
    if unknown:
        return Evaluation(Wait(_sorted(unknown), now), bound, _sorted(refused))
    if approval is not None and bound.asks:
        problem = _problem_of(approval, admitted, offers_of(stored), now)
        if problem is not None:
            return _ended(request, [problem], now)
        bound, narrowed = _approve(bound, approval, now)
        refused += narrowed
        if not bound.cameras:
            return _ended(request, refused, now)
    cases = [each.case for each in findings if each.case is not None and bound.find(each.camera) is not None]
    cameras = _grants(cases, bound)
    if bound.asks:
        until = UtcNs(max(each.answer_by for each in bound.cameras))
        ask = Ask(request, cameras, _sorted([*refused, *_trims(bound)]), now, until)
        return Evaluation(ask, bound, _sorted(refused))
    if bound.not_before >= request.release_by:
        return _ended(request, [*refused, reason_of_request("release-by-too-soon")], now)
    return Evaluation(_grant(request, cameras, bound, refused, now), bound, _sorted(refused))


def stop(bound: Bound, house_state: HouseState, why: Reason, now: UtcNs) -> Evaluation:
    """Evaluate a request that cannot be judged now, ``why``: cameras that the owner stopped leave the bound even so.

    A pause that begins and ends while there is no trust bundle has to count.
    """
    left = [
        each for camera in bound.names for each in in_force_reasons(camera, house_state, now) if each.code in _STOPS
    ]
    gone = {each.camera for each in left}
    kept = replace(bound, cameras=tuple(each for each in bound.cameras if each.camera not in gone))
    if not kept.cameras:
        return _ended(None, left, now)
    return Evaluation(Wait((why,), now), kept, _sorted(left))


def trace(
    admitted: Admitted, house_state: HouseState, history: History, now: UtcNs, clock_state: ClockState
) -> tuple[TraceStep, ...]:
    """Return what every rule says on every camera that was asked for, in no order that means anything."""
    general = general_reasons(admitted.request, house_state, now, clock_state)
    steps = [TraceStep("general", None, reason) for reason in general]
    return (*steps, *(step for finding in apply_rules(admitted, house_state, history, now) for step in finding.steps))


def counted(
    admitted: Admitted, house_state: HouseState, history: History, now: UtcNs, clock_state: ClockState
) -> tuple[tuple[str, int], ...]:
    """Return what this request uses up of the quotas: (camera, nanoseconds) of all that the signed terms would allow.

    Entered once, with the first decision, whatever that decision is: a file made tighter for a while and looser again
    must not admit more requests than the signed terms alone would have.
    """
    if any(general_reasons(admitted.request, house_state, now, clock_state)):
        return ()
    findings = apply_rules(admitted, house_state, history, now, as_signed=True)
    duration_ns = admitted.request.window.duration_ns
    return tuple((finding.camera, duration_ns) for finding in findings if not finding.reasons)


def _waiting(cases: Iterable[Case], now: UtcNs) -> list[UtcNs]:
    """Return until when the owner may still answer, for each case that asks."""
    untils = (_ask_until(case) for case in cases if case.terms.mode is Mode.ASK)
    return [until for until in untils if now < until]


def _ask_until(case: Case) -> UtcNs:
    """Return when silence becomes a no: counted from arrival, and early enough for the cooling-off to end in time."""
    return UtcNs(min(case.arrived_at + case.house.ask_timeout, case.request.release_by - case.house.cooling_off))


def _again(finding: CameraFindings, bound: Bound, now: UtcNs, believed: bool) -> CameraFindings:
    """Return a finding of a later evaluation: plus an ask that never was, minus the reasons that need a clock."""
    case, reasons = finding.case, list(finding.reasons)
    # An unknown fact hides no silence: a file that cannot be read now gives no more time to answer.
    is_open = {each.code for each in reasons} <= UNKNOWN
    if case is not None and is_open and case.terms.mode is Mode.ASK and bound.approved_by is None:
        mine = bound.find(case.camera)
        if not bound.asks:
            reasons.append(Reason("approval-missing", say("approval-missing"), case.camera))
        elif mine is not None and now >= min(mine.answer_by, _ask_until(case)):
            reasons.append(Reason("owner-silent", say("owner-silent"), case.camera))
    if not believed:
        reasons = [each for each in reasons if each.code not in TIMED]
        reasons.append(Reason("clock-unsynchronised", say("clock-unsynchronised"), finding.camera))
    return replace(finding, steps=tuple(TraceStep("again", finding.camera, each) for each in reasons))


def _meet(bound: Bound, findings: Iterable[CameraFindings]) -> tuple[Bound, list[Reason]]:
    """Return the bound met with the part that each of its cameras may have now, and why cameras left it by that."""
    kept: list[CameraBound] = []
    left: list[Reason] = []
    houses: list[GlobalTerms] = []
    for finding in findings:
        mine = bound.find(finding.camera)
        assert mine is not None
        case = finding.case  # a consent to another source narrows, whatever else is unknown
        if finding.is_unknown and (case is None or case.consent.find_source(mine.quality) == mine.source):
            kept.append(mine)
        elif not finding.is_denied and case is not None:
            met = mine.meet(_bound_by(case))
            if met is None:
                left.append(Reason("grant-narrowed", say("grant-narrowed"), finding.camera))
            else:
                kept.append(met)
                houses.append(case.house)
    # Only longer: a cooling-off that the owner shortens counts for new requests (O9).
    longest = max([bound.cooling_off, *(house.cooling_off for house in houses)])
    escrow = bound.escrow and all(house.escrow for house in houses)
    return replace(bound, cameras=tuple(kept), escrow=escrow, cooling_off=longest), left


def _problem_of(approval: Approval, admitted: Admitted, offers: Offers, now: UtcNs) -> Reason | None:
    """Return why an approval does not fit this request and its stored offer."""
    request = admitted.request
    if (approval.jti, approval.request_sha256) != (request.jti, request.payload_sha256):
        return reason_of_request("approval-mismatch")
    if approval.offer_sha256 != digest_offers(offers):
        return reason_of_request("offer-changed")
    if not set(approval.cameras) <= set(offers.names) or not request.window.contains(approval.window):
        return reason_of_request("approval-outside-ask")
    if not admitted.arrived_at - APPROVAL_SKEW_NS <= approval.signed_at <= now + APPROVAL_SKEW_NS:
        return reason_of_request("approval-mismatch")  # signed before the request came, or after now
    return None


def _approve(bound: Bound, approval: Approval, now: UtcNs) -> tuple[Bound, list[Reason]]:
    """Return the bound met with an approval, and why cameras left it or have less of themselves by that.

    The cooling-off begins when the approval is recorded: an order may have been signed with any time.
    """
    kept: list[CameraBound] = []
    narrowed: list[Reason] = []
    for mine in bound.cameras:
        windows = intersect(mine.windows, (approval.window,)) if mine.camera in approval.cameras else ()
        code = "owner-silent" if now >= mine.answer_by else "approval-narrowed"
        if windows and now < mine.answer_by:
            trims = mine.trims if windows == mine.windows else tuple(sorted({*mine.trims, code}))
            kept.append(replace(mine, windows=windows, trims=trims))
        else:
            narrowed.append(Reason(code, say(code), mine.camera))
    approved = replace(bound, cameras=tuple(kept), asks=False, approved_by=approval.thumbprint, cools_from=now)
    return approved, narrowed


def _bound_by(case: Case) -> CameraBound:
    """Return what a camera's terms allow of the request, by themselves."""
    trims = []
    if case.windows() != (case.request.window,):
        trims.append("hours-trimmed")
    if case.request.audio and not case.terms.audio:
        trims.append("audio-not-consented")
    return CameraBound(
        camera=case.camera,
        quality=case.request.quality,
        windows=case.windows(),
        audio=case.request.audio and case.terms.audio,
        masks=case.terms.masks,
        source=case.consent.find_source(case.request.quality),
        answer_by=_ask_until(case),
        trims=tuple(sorted(trims)),
    )


def _grants(cases: Iterable[Case], bound: Bound) -> tuple[CameraGrant, ...]:
    """Return each camera's part of the bound, under the consent that is in use now."""
    return tuple(_camera_grant(case, mine) for case in cases if (mine := bound.find(case.camera)) is not None)


def _camera_grant(case: Case, mine: CameraBound) -> CameraGrant:
    return CameraGrant(
        camera=mine.camera,
        quality=mine.quality,
        windows=mine.windows,
        audio=mine.audio,
        masks=mine.masks,
        consent_sha256=case.consent.sha256,
        consent_version=case.consent.version,
        source=mine.source,
    )


def _trims(bound: Bound) -> Iterable[Reason]:
    for camera in bound.cameras:
        for code in camera.trims:
            yield Reason(code, say(code), camera.camera)


def _grant(
    request: Request, cameras: tuple[CameraGrant, ...], bound: Bound, refused: Iterable[Reason], now: UtcNs
) -> Grant:
    """Make the grant: the only call of ``Grant`` in the program."""
    return Grant(
        request=request,
        cameras=cameras,
        trimmed=_sorted([*refused, *_trims(bound)]),
        decided_at=now,
        not_before=bound.not_before,
        approved_by=bound.approved_by,
        escrow=bound.escrow,
    )


def _ended(request: Request | None, reasons: Iterable[Reason], now: UtcNs) -> Evaluation:
    found = _sorted(reasons)
    return Evaluation(Denial(request, found, now), NOTHING, found)


def _denied(request: Request, reasons: Iterable[Reason], now: UtcNs) -> tuple[Denial, Bound]:
    return Denial(request, _sorted(reasons), now), NOTHING


_ORDER = {code: number for number, code in enumerate(CAUSES)}


def _sorted(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    key: Callable[[Reason], tuple[int, str]] = lambda reason: (_ORDER[reason.code], reason.camera or "")  # noqa: E731
    return tuple(sorted(set(reasons), key=key))

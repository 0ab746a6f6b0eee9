"""The decision: check 11 of PROTOCOL 4, and the one place in which a ``Grant`` is made.

Owns how the rules' findings become one of three verdicts, and what the owner's approval adds. Pure, and the same at
every call: it runs again on approval, after cooling-off, before the upload and before the key is handed over, and no
time that it names moves by that.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from edge_agent.clock import ClockState
from edge_agent.consent.household import History, Household
from edge_agent.consent.policy import Mode
from edge_agent.consent.request import Admitted, Request
from edge_agent.consent.rules import RULES, Case, Rule, make_case, standing_reasons
from edge_agent.consent.verdict import Approval, Ask, CameraGrant, Denial, Grant, Reason, Verdict
from edge_agent.reasons import RULES as CODES
from edge_agent.reasons import say
from edge_agent.units import SECOND_NS, UtcNs, Window

SKEW_NS = 60 * SECOND_NS
EVERY_CAMERA = "*"


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One rule's verdict on one camera, for ``explain``: ``reason`` is None where the rule has nothing against it."""

    rule: str
    camera: str | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class _Finding:
    """What the rules found on one camera."""

    camera: str
    steps: tuple[TraceStep, ...]
    case: Case | None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return tuple(step.reason for step in self.steps if step.reason is not None)


def decide(
    admitted: Admitted,
    household: Household,
    history: History,
    approval: Approval | None,
    now: UtcNs,
    clock_state: ClockState,
) -> Verdict:
    """Decide on an admitted request.

    Args:
        admitted: Checks 1 to 10 are behind it.
        household: What stands for each camera now.
        history: What was granted before, without this request; one entry for every camera of the household.
        approval: The owner's verified answer, if there is one.
        now: The moment of the decision.
        clock_state: Whether ``now`` can be believed.

    Returns:
        A grant of the request's part that incident and consent allow, a question to the owner about that part, or a
        denial with every reason.
    """
    request = admitted.request
    findings = _find(admitted, household, history, now)
    against = [*_general_reasons(request, household, now, clock_state)]
    offered = [finding.case for finding in findings if finding.case is not None and not finding.reasons]
    refused = [reason for finding in findings for reason in finding.reasons]
    if against or not offered:
        return _denial(request, [*against, *refused], now)
    if approval is not None:
        return _approved(admitted, offered, refused, approval, now)
    signed = _find(admitted, household, history, now, as_signed=True)
    # A camera that asks by its signature keeps asking where the file denies it: otherwise an edit that takes one camera
    # away would release the others without a question.
    would_ask = _waiting((finding.case for finding in signed if finding.case and not finding.reasons), now)
    waiting = _waiting(offered, now) or would_ask
    silent = [case for case in offered if case.terms.mode is Mode.ASK and now >= _ask_until(case)]
    refused += [Reason("owner-silent", say("owner-silent"), case.camera) for case in silent]
    offered = [case for case in offered if case not in silent]
    if not offered:
        return _denial(request, refused, now)
    trimmed = _sorted([*refused, *_trims(offered)])
    cameras = tuple(_camera_grant(case) for case in offered)
    if waiting:
        return Ask(request, cameras, trimmed, now, max(waiting))
    return _grant(admitted, offered, cameras, trimmed, None, now)


def trace(
    admitted: Admitted, household: Household, history: History, now: UtcNs, clock_state: ClockState
) -> tuple[TraceStep, ...]:
    """Return what every rule says on every camera that was asked for, in no order that means anything."""
    general = _general_reasons(admitted.request, household, now, clock_state)
    steps = [TraceStep("general", None, reason) for reason in general]
    return (*steps, *(step for finding in _find(admitted, household, history, now) for step in finding.steps))


def counted(
    admitted: Admitted, household: Household, history: History, now: UtcNs, clock_state: ClockState
) -> tuple[tuple[str, int], ...]:
    """Return what this request uses up of the quotas: (camera, nanoseconds) for what the signed terms would allow.

    Entered once, with the first decision, whatever that decision is: a file made tighter for a while and looser again
    must not admit more requests than the signed terms alone would have.
    """
    if any(_general_reasons(admitted.request, household, now, clock_state)):
        return ()
    findings = _find(admitted, household, history, now, as_signed=True)
    duration_ns = admitted.request.window.duration_ns
    return tuple((finding.camera, duration_ns) for finding in findings if not finding.reasons)


def public_notes(grant: Grant) -> tuple[Reason, ...]:
    """Return what an answer may say of the parts that were not granted.

    Of a camera that was named in the request: that it is not granted, never why. Of ``*``: nothing about other cameras.
    """
    granted = {camera.camera for camera in grant.cameras}
    named = [camera for camera in grant.request.cameras if camera != EVERY_CAMERA]
    missing = [Reason("camera-not-granted", say("camera-not-granted"), name) for name in named if name not in granted]
    about_granted = [reason for reason in grant.trimmed if reason.camera in granted]
    return (*missing, *about_granted)


def _find(
    admitted: Admitted,
    household: Household,
    history: History,
    now: UtcNs,
    *,
    as_signed: bool = False,
    rules: Iterable[tuple[str, Rule]] = tuple(RULES.items()),
) -> list[_Finding]:
    asked: Sequence[str] = admitted.request.cameras
    if asked == (EVERY_CAMERA,):
        asked = sorted(household.cameras)
    findings = []
    for camera in asked:
        steps = [TraceStep("standing", camera, reason) for reason in standing_reasons(camera, household, now)]
        case = None
        if camera in household.cameras:
            case = make_case(camera, admitted, household, history.cameras[camera], now, as_signed=as_signed)
        if case is not None:
            steps += [TraceStep(name, camera, rule(case)) for name, rule in rules]
        findings.append(_Finding(camera, tuple(steps), case))
    return findings


def _general_reasons(request: Request, household: Household, now: UtcNs, clock_state: ClockState) -> Iterable[Reason]:
    if clock_state is not ClockState.SYNCHRONISED:
        yield _plain("clock-unsynchronised")
    if now >= request.release_by:
        yield _plain("release-by-passed")
    if not household.cameras:
        yield _plain("camera-unknown")


def _waiting(cases: Iterable[Case], now: UtcNs) -> list[UtcNs]:
    """Return until when the owner may still answer, for each case that asks."""
    untils = (_ask_until(case) for case in cases if case.terms.mode is Mode.ASK)
    return [until for until in untils if now < until]


def _ask_until(case: Case) -> UtcNs:
    """Return when silence becomes a no: counted from arrival, and early enough for the cooling-off to end in time."""
    return UtcNs(min(case.arrived_at + case.house.ask_timeout, case.request.release_by - case.house.cooling_off))


def _approved(
    admitted: Admitted, offered: list[Case], refused: list[Reason], approval: Approval, now: UtcNs
) -> Verdict:
    """Narrow the offer to what the owner approved; an approval adds nothing that the terms do not allow."""
    request = admitted.request
    if (approval.jti, approval.request_sha256) != (request.jti, request.payload_sha256):
        return _denial(request, [_plain("approval-mismatch")], now)
    asked_for = set(request.cameras)
    beyond = EVERY_CAMERA not in asked_for and not set(approval.cameras) <= asked_for
    if beyond or not request.window.contains(approval.window):
        return _denial(request, [_plain("approval-outside-ask")], now)
    if not admitted.arrived_at - SKEW_NS <= approval.signed_at <= now + SKEW_NS:
        return _denial(request, [_plain("owner-silent")], now)
    late = [case for case in offered if approval.signed_at >= _ask_until(case)]
    refused += [Reason("owner-silent", say("owner-silent"), case.camera) for case in late]
    offered = [case for case in offered if case not in late]
    if not offered:
        return _denial(request, refused, now)
    chosen = [case for case in offered if case.camera in approval.cameras]
    grants = [(case, _narrow(_camera_grant(case), approval.window)) for case in chosen]
    kept = [(case, grant) for case, grant in grants if grant.windows]
    if not kept:
        return _denial(request, [*refused, _plain("approval-narrowed")], now)
    cases = [case for case, _ in kept]
    narrowed = [
        Reason("approval-narrowed", say("approval-narrowed"), case.camera)
        for case in offered
        if _camera_grant(case) not in [grant for _, grant in kept]
    ]
    trimmed = _sorted([*refused, *_trims(cases), *narrowed])
    return _grant(admitted, cases, tuple(grant for _, grant in kept), trimmed, approval, now)


def _narrow(grant: CameraGrant, window: Window) -> CameraGrant:
    parts = (part.intersect(window) for part in grant.windows)
    return replace(grant, windows=tuple(part for part in parts if part is not None))


def _camera_grant(case: Case) -> CameraGrant:
    return CameraGrant(
        camera=case.camera,
        quality=case.request.quality,
        windows=case.windows(),
        audio=case.request.audio and case.terms.audio,
        masks=case.terms.masks,
        consent_sha256=case.consent.sha256,
        consent_version=case.consent.version,
    )


def _trims(cases: list[Case]) -> Iterable[Reason]:
    for case in cases:
        if case.windows() != (case.request.window,):
            yield Reason("hours-trimmed", say("hours-trimmed"), case.camera)
        if case.request.audio and not case.terms.audio:
            yield Reason("audio-not-consented", say("audio-not-consented"), case.camera)


def _grant(
    admitted: Admitted,
    cases: list[Case],
    cameras: tuple[CameraGrant, ...],
    trimmed: tuple[Reason, ...],
    approval: Approval | None,
    now: UtcNs,
) -> Grant:
    """Make the grant: the only call of ``Grant`` in the program."""
    # From arrival, or from the owner's answer: deciding again never starts the cooling-off anew. It ends before
    # release_by: the rule "cooling-off" holds that for an arrival, and `_ask_until` for an answer.
    start = admitted.arrived_at if approval is None else max(admitted.arrived_at, approval.signed_at)
    not_before = UtcNs(start + max(case.house.cooling_off for case in cases))
    return Grant(
        request=admitted.request,
        cameras=cameras,
        trimmed=trimmed,
        decided_at=now,
        not_before=not_before,
        approved_by=None if approval is None else approval.thumbprint,
        escrow=all(case.house.escrow for case in cases),
    )


def _denial(request: Request, reasons: Iterable[Reason], now: UtcNs) -> Denial:
    return Denial(request, _sorted(reasons), now)


_ORDER = {code: number for number, code in enumerate(CODES)}


def _sorted(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    key: Callable[[Reason], tuple[int, str]] = lambda reason: (_ORDER[reason.code], reason.camera or "")  # noqa: E731
    return tuple(sorted(set(reasons), key=key))


def _plain(code: str) -> Reason:
    return Reason(code, say(code))

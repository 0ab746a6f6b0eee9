"""What the rules find on each camera of a request, before anything is decided of it.

Owns which rules are asked of which camera. ``trace`` and ``counted`` read the findings for the owner's command
``explain`` and for the quotas; ``decision`` makes a verdict of them. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.consent.house_state import History, HouseState
from edge_agent.consent.rules import RULES, Case, in_force_reasons, make_case
from edge_agent.protocol.reasons import UNKNOWN, say
from edge_agent.protocol.request import Admitted, Request
from edge_agent.protocol.verdict import Reason
from edge_agent.units import ClockState, UtcNs

EVERY_CAMERA = "*"


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


def reason_of_request(code: str) -> Reason:
    """Return a reason that is of no single camera."""
    return Reason(code, say(code))

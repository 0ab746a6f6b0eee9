"""The record of each turn of a request, as values: the entries, the answer's members and the fate of its cameras.

Owns how a verdict or an end is written as a ``RequestStep`` of the tables (``lifecycle``). Decides nothing and stores
nothing. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.consent.bound import NOTHING, Bound
from edge_agent.consent.decision import Evaluation
from edge_agent.ledger.entries import LedgerCamera, LedgerEntry, Reasons
from edge_agent.ledger.request_kinds import (
    DecisionEntry,
    DenialEntry,
    EndEntry,
    GrantEntry,
    NarrowedEntry,
    RequestEntry,
    TakenBackEntry,
)
from edge_agent.protocol.answer import Note
from edge_agent.protocol.reasons import UNKNOWN, say
from edge_agent.protocol.request import EVERY_CAMERA, Request
from edge_agent.protocol.verdict import Ask, CameraGrant, Denial, Grant, Reason
from edge_agent.units import UtcNs
from edge_agent.uplink.inbound.lifecycle import CameraEvent, Event
from edge_agent.uplink.store.releases import StoredRelease
from edge_agent.uplink.store.requests import StoredRequest

LATE = "release-by-passed"
"""Reason code for a request that simply ran out of time."""
NARROWED = "grant-narrowed"


@dataclass(frozen=True, slots=True)
class CameraStep:
    """The event of one camera, and the release to save; None keeps it."""

    event: CameraEvent
    release: StoredRelease | None = None


@dataclass(frozen=True, slots=True)
class RequestStep:
    """One event of a request with everything that the tables do not know by themselves; None keeps what is stored."""

    event: Event
    now: UtcNs
    entries: tuple[LedgerEntry, ...] = ()
    bound: Bound | None = None
    due: UtcNs | None = None
    reasons: Reasons | None = None
    approval: bytes | None = None
    answer: Mapping[str, Any] | None = field(default_factory=dict)
    """Members of the answer, beside its status; None if its receiver is owed silence."""
    answer_at: UtcNs | None = None
    """When it is due, if not ``now``."""
    cameras: Mapping[str, CameraStep] = field(default_factory=dict)


# A decision


def ask(stored: StoredRequest, verdict: Ask, bound: Bound) -> RequestStep:
    """Ask the owner: silence ends it when the verdict says."""
    return RequestStep(Event.ASK, verdict.decided_at, (_decision(stored, verdict),), bound, verdict.until, ())


def grant(stored: StoredRequest, verdict: Grant, bound: Bound, now: UtcNs) -> RequestStep:
    """Grant, and tell that a clip waits for the end of cooling-off."""
    entry, members = _decision(stored, verdict), tell_queued(verdict)
    return RequestStep(Event.GRANT, now, (entry,), bound, verdict.not_before, (), answer=members)


def refuse(
    stored: StoredRequest, reasons: Sequence[Reason], answer_at: UtcNs | None, now: UtcNs, event: Event = Event.DENIAL
) -> RequestStep:
    """Refuse a request that was not granted yet, for all of its reasons; ``answer_at`` None for silence."""
    codes = encode_reasons(reasons)
    entry = DenialEntry(**_name(stored), reasons=codes)
    answer: dict[str, Any] | None = None if answer_at is None else {}
    return RequestStep(event, now, (entry,), NOTHING, now, codes, answer=answer, answer_at=answer_at)


def narrow(stored: StoredRequest, evaluation: Evaluation, now: UtcNs, due: UtcNs | None) -> RequestStep:
    """Store what a later evaluation left of the bound."""
    bound = evaluation.bound
    if stored.bound is not None and bound.cameras == stored.bound.cameras:
        return RequestStep(Event.LESS, now, bound=bound, due=due)
    entry = NarrowedEntry(**_name(stored), cameras=bound.names, reasons=encode_reasons(evaluation.left))
    return RequestStep(Event.CAMERAS_LEFT, now, (entry,), bound, due)


# An end


def end(stored: StoredRequest, event: Event, outcome: str, reasons: Reasons, now: UtcNs) -> RequestStep:
    """End what was granted; ``outcome`` is the phase that the tables lead to."""
    entry = EndEntry(stored.jti, stored.iss, stored.incident, outcome, reasons, number=stored.id)
    members: dict[str, Any] = {}
    if outcome == "failed":
        members["reason"] = reasons[0]["code"] if reasons else "internal"
    if outcome == "no-footage":
        members["missing"] = tuple(Note(each["code"], each.get("camera")) for each in reasons)
    return RequestStep(event, now, (entry,), NOTHING, reasons=reasons, answer=members)


def end_denied(stored: StoredRequest, verdict: Denial, now: UtcNs, *, is_stop: bool) -> RequestStep:
    """End what is not granted any more: overdue if only time is against it, else cancelled."""
    if now >= stored.release_by and {each.code for each in verdict.reasons} <= {LATE, *UNKNOWN}:
        return end(stored, Event.OVERDUE, "failed", ({"code": LATE, "camera": None},), now)
    reasons = encode_reasons(verdict.reasons or (Reason(NARROWED, say(NARROWED)),))
    return end(stored, Event.STOP if is_stop else Event.DENIAL, "cancelled", reasons, now)


def take_back(stored: StoredRequest, wider: Sequence[StoredRelease], reasons: Reasons, now: UtcNs) -> RequestStep:
    """Take back an answer that the broker was not given; ``wider`` is built anew, the rest stays uploaded."""
    names = tuple(each.camera for each in wider)
    entry = TakenBackEntry(stored.jti, stored.iss, stored.incident, names, reasons, number=stored.id)
    cameras = {name: CameraStep(CameraEvent.LEAVE) for name in names}
    return RequestStep(Event.TAKEN_BACK, now, (entry,), cameras=cameras)


def too_late(stored: StoredRequest, reasons: Reasons, now: UtcNs, *, is_stop: bool) -> RequestStep:
    """Stop a release whose key the broker may have: it is not sent again, and the owner's stop is entered."""
    if not is_stop:
        return RequestStep(Event.DENIAL, now)
    entry = EndEntry(stored.jti, stored.iss, stored.incident, "too-late", reasons, number=stored.id)
    return RequestStep(Event.STOP, now, (entry,), reasons=reasons)


# Its parts


def camera(happened: CameraEvent, release: StoredRelease, now: UtcNs, *entries: LedgerEntry) -> RequestStep:
    """Carry one camera on, and save its release."""
    return RequestStep(Event.CAMERA, now, entries, cameras={release.camera: CameraStep(happened, release)})


def tell_queued(verdict: Grant) -> dict[str, Any]:
    """Return the members of ``queued``: a clip is granted, and waits."""
    names = tuple(each.camera for each in verdict.cameras)
    return {"cameras": names, "trimmed": notes_of(verdict), "not_before": verdict.not_before}


def describe_request(request: Request, number: int | None) -> RequestEntry:
    """Return the ledger's entry of the question; None for a request that is not stored."""
    return RequestEntry(
        **identify(request),
        request_sha256=request.payload_sha256,
        to="area" if request.audience.is_area else "gateway",
        signers=tuple(f"{signer.person} ({signer.role.value})" for signer in request.signers),
        cameras=tuple(request.cameras),
        start=request.window.start,
        end=request.window.end,
        purpose=request.purpose,
        number=number,
    )


def describe_grant(verdict: Grant, part: CameraGrant) -> GrantEntry:
    """Return the entry that a bundle is built under: it travels in it, and speaks of no other camera."""
    return GrantEntry(
        **identify(verdict.request),
        cameras=(_describe(part),),
        not_before=verdict.not_before,
        approved_by=_approver(verdict),
    )


def deny(identity: Mapping[str, Any], reasons: Sequence[Reason]) -> DenialEntry:
    """Return the ledger's entry of a refusal."""
    return DenialEntry(**identity, reasons=encode_reasons(reasons))


def encode_reasons(reasons: Sequence[Reason]) -> tuple[dict[str, str | None], ...]:
    """Write reasons as JSON values, for the store and the ledger."""
    return tuple({"code": each.code, "camera": each.camera} for each in reasons)


def notes_of(verdict: Grant) -> tuple[Note, ...]:
    """Return what an answer may say of the parts that were not granted (PROTOCOL 6.2, O6).

    Of a camera that was named in the request: that it is not granted, never why. Of ``*``: nothing about other cameras.
    """
    granted = {part.camera for part in verdict.cameras}
    named = [name for name in verdict.request.cameras if name != EVERY_CAMERA]
    missing = [Note("camera-not-granted", name) for name in named if name not in granted]
    about_granted = [Note(each.code, each.camera) for each in verdict.trimmed if each.camera in granted]
    return (*missing, *about_granted)


def identify(request: Request) -> dict[str, str]:
    """Return what every ledger entry about a request begins with."""
    return {
        "jti": request.jti,
        "iss": request.iss,
        "incident": request.incident.number,
        "category": request.incident.category.value,
    }


def with_entries(step: RequestStep, *before: LedgerEntry) -> RequestStep:
    """Return a step that enters something before its own entries."""
    return replace(step, entries=(*before, *step.entries))


def _decision(stored: StoredRequest, verdict: Ask | Grant) -> DecisionEntry:
    return DecisionEntry(
        **identify(verdict.request),
        outcome=type(verdict).__name__.lower(),
        cameras=tuple(_describe(part) for part in verdict.cameras),
        reasons=encode_reasons(verdict.trimmed),
        not_before=verdict.not_before if isinstance(verdict, Grant) else None,
        approved_by=_approver(verdict) if isinstance(verdict, Grant) else None,
        number=stored.id,
    )


def _describe(part: CameraGrant) -> LedgerCamera:
    return LedgerCamera(
        part.camera, part.quality.value, part.windows, part.audio, part.consent_sha256, part.consent_version
    )


def _approver(verdict: Grant) -> str:
    return verdict.approved_by or "terms"


def _name(stored: StoredRequest) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in ("jti", "iss", "incident", "category")} | {"number": stored.id}

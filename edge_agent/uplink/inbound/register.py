"""Writes down what becomes of requests: state, ledger entries and answers, together in one transaction.

Owns what is entered and what is answered for each turn of a request, and when: refusals of every cause go out at the
same moment after arrival and are of the same size, and nothing is answered before a grant but that. Decides nothing.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.bound import NOTHING, Bound
from edge_agent.consent.decision import Evaluation, public_notes
from edge_agent.consent.policy import Refusal
from edge_agent.ledger import entries
from edge_agent.ledger import table as ledger
from edge_agent.ledger.entries import (
    DecisionEntry,
    DenialEntry,
    EndEntry,
    GrantEntry,
    LedgerCamera,
    NarrowedEntry,
    RequestEntry,
    TakenBackEntry,
)
from edge_agent.protocol.answer import Answer, Note, Status, encode_answer
from edge_agent.protocol.reasons import RULES
from edge_agent.protocol.request import Request
from edge_agent.protocol.verdict import Ask, CameraGrant, Denial, Grant, Reason, Verdict
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.inbound.evaluator import Telling
from edge_agent.uplink.store.requests import ReleaseState, RequestState, Store, StoredRelease, StoredRequest

MAX_CORRELATION_BYTES = 64
DAY_OF_GRACE_NS = DAY_NS
_CHECK_OF_TIME = 9

UNDER_WAY = (RequestState.GRANTED, RequestState.UPLOADING)

FINAL_ANSWERS: Mapping[RequestState, Status] = {
    RequestState.NO_FOOTAGE: Status.NO_FOOTAGE,
    RequestState.CANCELLED: Status.CANCELLED,
    RequestState.FAILED: Status.FAILED,
}


class WithdrawnError(Exception):
    """The request is not under way any more: go no further."""


class Docket:
    """The register of requests.

    Args:
        store: Where everything is written.
        gateway: This gateway's id: in topics and answers.
        key: Signs answers.
    """

    def __init__(self, store: Store, gateway: str, key: Ed25519PrivateKey) -> None:
        self._store = store
        self.gateway = gateway
        self._key = key

    @property
    def answer_topic(self) -> str:
        """Where this gateway's answers go."""
        return f"rtcc/1/gw/{self.gateway}/res"

    def add(
        self, connection: sqlite3.Connection, request: Request, correlation: bytes | None, now: UtcNs
    ) -> StoredRequest:
        """Enter a verified request into store and ledger; its id is burnt from here on."""
        stored = StoredRequest(
            id=0,
            iss=request.iss,
            jti=request.jti,
            payload_sha256=request.payload_sha256,
            raw=request.raw,
            incident=request.incident.number,
            category=request.incident.category.value,
            is_area=request.audience.is_area,
            correlation=(correlation or b"")[:MAX_CORRELATION_BYTES],
            arrived_at=now,
            release_by=request.release_by,
            state=RequestState.DENIED,
            due=now,
            approval=None,
            reasons=(),
        )
        self.enter_request(connection, request, now)
        return self._store.read_request(self._store.add_request(connection, stored))

    def enter_request(self, connection: sqlite3.Connection, request: Request, now: UtcNs) -> None:
        """Enter what was asked into the ledger."""
        entry = RequestEntry(
            **identify(request),
            request_sha256=request.payload_sha256,
            to="area" if request.audience.is_area else "gateway",
            signers=tuple(f"{signer.person} ({signer.role.value})" for signer in request.signers),
            cameras=tuple(request.cameras),
            start=request.window.start,
            end=request.window.end,
            purpose=request.purpose,
        )
        entries.append(connection, entry, now)

    def settle(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        verdict: Verdict,
        bound: Bound,
        telling: Telling,
        now: UtcNs,
    ) -> None:
        """Enter a verdict on a request: the decision, its bound, the state that follows, the answer that is due."""
        if isinstance(verdict, Denial):
            self.refuse(connection, stored, verdict.reasons, telling, now)
            return
        self.enter_decision(connection, verdict, now)
        if isinstance(verdict, Ask):
            state, due = RequestState.ASKED, verdict.until
        else:
            state, due = RequestState.GRANTED, verdict.not_before
            self.answer_queued(connection, stored, verdict, now)
        self._store.update_request(connection, stored.id, state, due=due, reasons=[], bound=bound)

    def narrow(self, connection: sqlite3.Connection, stored: StoredRequest, evaluation: Evaluation, now: UtcNs) -> None:
        """Enter what a later evaluation leaves of a request's bound, if that is less than before or later.

        Of a denial nothing is entered here: it ends the request, and with it the bound.
        """
        bound = evaluation.bound
        if isinstance(evaluation.verdict, Denial) or bound == stored.bound:
            return
        if stored.bound is None or bound.cameras != stored.bound.cameras:
            entry = NarrowedEntry(**_name(stored), cameras=bound.names, reasons=encode_reasons(evaluation.left))
            entries.append(connection, entry, now)
        due = UtcNs(max(stored.due, bound.not_before)) if stored.state in UNDER_WAY else None
        self._store.update_request(connection, stored.id, stored.state, due=due, bound=bound)

    def answer_queued(self, connection: sqlite3.Connection, stored: StoredRequest, grant: Grant, now: UtcNs) -> None:
        """Tell that a clip is granted and waits: for the end of cooling-off, or for what it needs at home."""
        self.answer(
            connection,
            stored,
            now,
            status=Status.QUEUED,
            cameras=tuple(camera.camera for camera in grant.cameras),
            trimmed=notes_of(grant),
            not_before=grant.not_before,
        )

    def refuse(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        reasons: Sequence[Reason],
        telling: Telling,
        now: UtcNs,
    ) -> None:
        """Enter a refusal of a request that was not granted yet, for all of its reasons."""
        self.enter_refusal(connection, _name(stored), reasons, now)
        self._store.update_request(
            connection,
            stored.id,
            RequestState.DENIED,
            due=now,
            reasons=encode_reasons(reasons),
            bound=NOTHING,
        )
        self._decline(connection, stored, reasons, telling)

    def enter_refusal(
        self,
        connection: sqlite3.Connection,
        identity: Mapping[str, str],
        reasons: Sequence[Reason],
        now: UtcNs,
    ) -> None:
        """Enter a refusal into the ledger."""
        entries.append(connection, DenialEntry(**identity, reasons=encode_reasons(reasons)), now)

    def enter_decision(self, connection: sqlite3.Connection, verdict: Ask | Grant, now: UtcNs) -> None:
        """Enter a grant or an ask into the ledger, for the owner: all cameras, and what was left out and why."""
        entry = DecisionEntry(
            **identify(verdict.request),
            outcome=type(verdict).__name__.lower(),
            cameras=tuple(_describe(camera) for camera in verdict.cameras),
            reasons=encode_reasons(verdict.trimmed),
            not_before=verdict.not_before if isinstance(verdict, Grant) else None,
            approved_by=_approver(verdict) if isinstance(verdict, Grant) else None,
        )
        entries.append(connection, entry, now)

    def enter_grant(
        self, connection: sqlite3.Connection, grant: Grant, camera: CameraGrant, now: UtcNs, known: int | None = None
    ) -> int:
        """Enter what a bundle is built under and return the entry's index.

        An entry of its own, because it travels in the bundle as a proof: it speaks of this camera and of no other.
        ``known`` is that of an earlier try: it is used again where it says the same.
        """
        entry = GrantEntry(
            **identify(grant.request),
            cameras=(_describe(camera),),
            not_before=grant.not_before,
            approved_by=_approver(grant),
        )
        if known is not None and ledger.read_entry(connection, known) == entry.members():
            return known
        return entries.append(connection, entry, now)

    def demand_open(
        self, _connection: sqlite3.Connection, stored: StoredRequest, release: StoredRelease | None = None
    ) -> None:
        """Raise WithdrawnError if a request is not under way any more, or one camera's release was dropped.

        Inside the transaction of a step, so that nothing slips between.
        """
        if self._store.read_request(stored.id).state not in UNDER_WAY:
            raise WithdrawnError
        if release is not None and release.camera not in {each.camera for each in self._store.list_releases(stored.id)}:
            raise WithdrawnError

    def withdraw(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        state: RequestState,
        reasons: Sequence[Mapping[str, Any]],
        now: UtcNs,
    ) -> None:
        """End a request that was granted: cancelled, failed or without footage; its age headers are destroyed.

        Headers that wait in the outbox are taken back as well: what the broker has not taken was not handed over.
        """
        entry = EndEntry(stored.jti, stored.iss, stored.incident, state.value, tuple(reasons))
        entries.append(connection, entry, now)
        self._store.forget_header(connection, stored.id)
        self._store.recall_key(connection, stored.id)
        self._store.update_request(connection, stored.id, state, reasons=reasons, bound=NOTHING)
        members: dict[str, Any] = {}
        if state is RequestState.FAILED:
            members["reason"] = reasons[0]["code"] if reasons else "internal"
        if state is RequestState.NO_FOOTAGE:
            members["missing"] = tuple(Note(each["code"], each.get("camera")) for each in reasons)
        self.answer(connection, stored, now, status=FINAL_ANSWERS[state], **members)

    def take_back(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        wider: Sequence[StoredRelease],
        reasons: Sequence[Mapping[str, Any]],
        now: UtcNs,
    ) -> None:
        """Take back an answer with age headers that the broker was not given; the release goes on.

        Args:
            connection: Of the evaluation's transaction.
            stored: The request.
            wider: What may not leave as it is: its bundle and its age header are gone.
            reasons: Why, as the ledger has them.
            now: The moment of the evaluation.
        """
        cameras = tuple(each.camera for each in wider)
        entry = TakenBackEntry(stored.jti, stored.iss, stored.incident, cameras, tuple(reasons))
        entries.append(connection, entry, now)
        self._store.recall_key(connection, stored.id)
        for release in self._store.list_releases(stored.id):
            if release.camera in {each.camera for each in wider}:
                self._store.remove_release(connection, release)
            elif release.state is ReleaseState.DELIVERED:
                self._store.set_release_state(connection, release, ReleaseState.UPLOADED)
        self._store.update_request(connection, stored.id, RequestState.GRANTED)

    def enter_too_late(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        reasons: Sequence[Mapping[str, Any]],
        now: UtcNs,
    ) -> None:
        """Enter that a release was stopped after its key was handed to the broker; it is not sent again."""
        entry = EndEntry(stored.jti, stored.iss, stored.incident, "too-late", tuple(reasons))
        entries.append(connection, entry, now)
        self._store.drop_key(connection, stored.id)
        self._store.update_request(connection, stored.id, stored.state, reasons=reasons)

    def repeat(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        answer: bytes,
        correlation: bytes | None,
        now: UtcNs,
    ) -> None:
        """Send a stored answer once more, for a request that came again; nothing where it still waits to be sent.

        Age headers pass the gate again like the first time, end with ``release_by``, and are not sent again where the
        owner took them back too late.
        """
        is_key = stored.state is RequestState.DELIVERED  # the last answer of such a request carries them
        is_over = is_key and (now >= stored.release_by or bool(stored.reasons))
        if is_over or self._store.has_message(connection, answer):
            return
        self._store.push_message(
            connection,
            self.answer_topic,
            answer,
            (correlation or b"")[:MAX_CORRELATION_BYTES],
            now,
            stored.release_by if is_key else UtcNs(max(stored.release_by, now) + DAY_OF_GRACE_NS),
            key_of=stored.id if is_key else None,
        )

    def _decline(
        self, connection: sqlite3.Connection, stored: StoredRequest, reasons: Sequence[Reason], telling: Telling
    ) -> None:
        how = telling.how.area if stored.is_area else telling.how.gateway
        if how is Refusal.SILENCE or any(RULES[each.code].check <= _CHECK_OF_TIME for each in reasons):
            return
        # The moment at which an owner who was asked and kept silent would have been refused: the latest of all causes.
        due = UtcNs(stored.arrived_at + telling.after_ns)
        if due < stored.release_by:
            self.answer(connection, stored, due, status=Status.DECLINED)

    def answer(self, connection: sqlite3.Connection, stored: StoredRequest, due: UtcNs, **members: Any) -> None:
        """Sign the next answer of a request and put it into the outbox."""
        answer = Answer(
            gateway=self.gateway,
            requester=stored.iss,
            jti=stored.jti,
            seq=self._store.count_answers(stored.id),
            at=due,
            **members,
        )
        raw = encode_answer(answer, self._key)
        # The age headers leave before `release_by` or not at all; the end of a request is worth telling a day later.
        is_key = bool(answer.files)
        expires = stored.release_by if is_key else UtcNs(max(stored.release_by, due) + DAY_OF_GRACE_NS)
        self._store.push_answer(connection, stored, self.answer_topic, raw, due, expires, is_key=is_key)


def encode_reasons(reasons: Sequence[Reason]) -> tuple[dict[str, str | None], ...]:
    """Write reasons as JSON values, for the store and the ledger."""
    return tuple({"code": each.code, "camera": each.camera} for each in reasons)


def notes_of(grant: Grant) -> tuple[Note, ...]:
    """Return what an answer may say about the parts that were not granted."""
    return tuple(Note(each.code, each.camera) for each in public_notes(grant))


def _describe(camera: CameraGrant) -> LedgerCamera:
    return LedgerCamera(
        camera.camera,
        camera.quality.value,
        camera.windows,
        camera.audio,
        camera.consent_sha256,
        camera.consent_version,
    )


def _approver(grant: Grant) -> str:
    return grant.approved_by or "terms"


def _name(stored: StoredRequest) -> dict[str, str]:
    return {name: getattr(stored, name) for name in ("jti", "iss", "incident", "category")}


def identify(request: Request) -> dict[str, str]:
    """Return what every ledger entry about a request begins with."""
    return {
        "jti": request.jti,
        "iss": request.iss,
        "incident": request.incident.number,
        "category": request.incident.category.value,
    }

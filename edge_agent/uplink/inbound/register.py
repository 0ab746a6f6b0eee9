"""Records each event of a request: one ``apply`` records a row of the tables, in the caller's transaction.

Owns that state, ledger entries, answer, keys and payloads of a turn change together or not at all. The part that lies
outside of SQLite is recorded in the transaction and carried out after it (``Aftermath``). Decides nothing.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.decision import Evaluation
from edge_agent.ledger import entries as ledger_entries
from edge_agent.ledger.entries import LedgerEntry
from edge_agent.protocol.answer import Answer, Status, encode_answer
from edge_agent.protocol.request import Request
from edge_agent.protocol.verdict import Ask, Denial, Reason
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.inbound import lifecycle, steps
from edge_agent.uplink.inbound.evaluator import Assessment, Outlook
from edge_agent.uplink.inbound.lifecycle import (
    CameraRow,
    CameraState,
    Event,
    KeyFate,
    PayloadFate,
    Phase,
    Row,
)
from edge_agent.uplink.inbound.steps import CameraStep, RequestStep
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.outbox import OutboxMessage
from edge_agent.uplink.store.releases import ReleaseState, StoredRelease
from edge_agent.uplink.store.requests import QuotaUse, RequestChange, RequestState, StoredRequest

MAX_CORRELATION_BYTES = 64
"""Echoed into every answer of a request, so its size must not be the sender's choice."""
DAY_OF_GRACE_NS = DAY_NS
"""So long after ``release_by`` the broker keeps an end for an RTCC that was away; a key never."""

UNDER_WAY = (RequestState.GRANTED, RequestState.UPLOADING)


class WithdrawnError(Exception):
    """Control flow, not an error: the request was stopped meanwhile, so this step has no cell in the tables."""


@dataclass(slots=True)
class Aftermath:
    """Work that follows the transaction that recorded it; if a kill prevents it, the next start does it."""

    payloads: list[StoredRelease] = field(default_factory=list)
    """Their files are to be deleted here; at the upload server, the store remembers it."""
    told: list[StoredRequest] = field(default_factory=list)
    """The owner gets a notice of each; as it is after its event."""
    stopped: list[int] = field(default_factory=list)
    """Numbers of requests of which something was stopped."""


class RequestRegister:
    """The register of requests.

    Args:
        store: Where everything is written.
        gateway: This gateway's id: in topics and answers.
        key: Signs answers.
    """

    def __init__(self, store: Database, gateway: str, key: Ed25519PrivateKey) -> None:
        self._store = store
        self.gateway = gateway
        self._key = key

    @property
    def answer_topic(self) -> str:
        """The topic of this gateway's answers."""
        return f"rtcc/1/gw/{self.gateway}/res"

    def add(
        self, connection: sqlite3.Connection, request: Request, correlation: bytes | None, now: UtcNs
    ) -> StoredRequest:
        """Take a verified request in; its id is used up from here on. The same transaction has to decide it."""
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
            state=RequestState.NEW,
            due=now,
            approval=None,
            reasons=(),
        )
        return self._store.requests.read(self._store.requests.add(connection, stored))

    def find_phase(self, stored: StoredRequest) -> Phase:
        """Return where a request stands in the tables."""
        if stored.state is RequestState.DELIVERED:
            return Phase.KEY_GIVEN if stored.is_handed_over else Phase.KEY_WAITS
        return Phase(stored.state.value)

    def apply(
        self,
        connection: sqlite3.Connection,
        request_id: int,
        step: RequestStep,
        aftermath: Aftermath | None = None,
    ) -> None:
        """Record one event of a request, and everything that follows from it: the only way to change its state.

        Args:
            connection: Of the transaction in which the event was found to happen.
            request_id: Of the request, which is read here: in that transaction, as it is now.
            step: What happens.
            aftermath: Takes what is to be carried out after the commit.

        Raises:
            WithdrawnError: The event cannot happen in this state, of the request or of a camera; nothing is recorded.
        """
        aftermath = Aftermath() if aftermath is None else aftermath
        request = self._store.requests.read(request_id)
        row = lifecycle.REQUEST.get((self.find_phase(request), step.event))
        if row is None:
            raise WithdrawnError
        moves = self._find_moves(request, row, step)
        # Before the first write: a step that would record less than its row demands records
        # nothing.
        _demand_entries(row, moves, step.entries)
        for entry in step.entries:
            ledger_entries.append(connection, entry, step.now)
        self._move_request(connection, request, row, step)
        for move in moves:
            self._move_camera(connection, move, aftermath)
        if row.phase in lifecycle.ENDED or any(move.is_dropped for move in moves):
            aftermath.stopped.append(request.id)
        self._move_keys(connection, request, {move.row.key for move in moves})
        if row.answer is not None and step.answer is not None:
            self._answer(connection, request, row.answer, step.answer_at or step.now, step.answer)
        if row.notice is not None:
            self._store.notices.add(connection, request.id, row.phase.value)
            aftermath.told.append(self._store.requests.read(request.id))

    def _find_moves(self, request: StoredRequest, row: Row, step: RequestStep) -> list["_Move"]:
        """Return what happens to each camera; WithdrawnError if it cannot happen to one."""
        found = {each.camera: each for each in self._store.releases.list_of(request.id)}
        happens = dict.fromkeys(found, CameraStep(row.cameras)) if row.cameras is not None else {}
        moves = []
        for name, camera in {**happens, **step.cameras}.items():
            state = _find_state(request, found.get(name))
            cell = lifecycle.CAMERA.get((state, camera.event))
            if cell is None:
                raise WithdrawnError
            moves.append(_Move(found.get(name), cell, camera))
        return moves

    def _move_request(
        self, connection: sqlite3.Connection, request: StoredRequest, row: Row, step: RequestStep
    ) -> None:
        delivered = row.phase in (Phase.KEY_WAITS, Phase.KEY_GIVEN)
        state = RequestState.DELIVERED if delivered else RequestState(row.phase.value)
        change = RequestChange(step.due, step.reasons, step.approval, step.bound)
        self._store.requests.update(connection, request.id, state, change)

    def _move_camera(self, connection: sqlite3.Connection, move: "_Move", aftermath: Aftermath) -> None:
        cell, release = move.row, move.step.release or move.release
        if release is None:
            return
        if cell.payload is not PayloadFate.KEEP and move.release is not None:
            aftermath.payloads.append(move.release)
        # Recorded here, asked of the server later: a server that is away must not hold up a
        # revocation.
        if cell.payload is PayloadFate.DELETE_EVERYWHERE and move.release is not None and move.release.upload_url:
            self._store.releases.doom_upload(connection, move.release)
        if cell.state is CameraState.NONE:
            self._store.releases.remove(connection, release)
            return
        moved = replace(release, state=_STORED[cell.state])
        if cell.key in (KeyFate.KEEP, KeyFate.QUEUE, KeyFate.RECALL):
            self._store.releases.save(connection, moved)
        else:
            self._store.releases.save_without_header(connection, moved)

    def _move_keys(self, connection: sqlite3.Connection, request: StoredRequest, fates: set[KeyFate]) -> None:
        """Move the answer with the keys, inside the transaction."""
        if KeyFate.GIVE in fates:
            self._store.requests.mark_handed_over(connection, request.id)
        if KeyFate.TOO_LATE in fates:
            self._store.outbox.drop_key(connection, request.id)
        elif fates & {KeyFate.DESTROY, KeyFate.RECALL}:
            self._store.outbox.recall_key(connection, request.id)

    # Turns that a verdict makes

    def enter(
        self,
        connection: sqlite3.Connection,
        request: Request,
        correlation: bytes | None,
        assessment: Assessment,
        outlook: Outlook,
    ) -> StoredRequest:
        """Take a request in with its first verdict and its use of the quotas."""
        stored = self.add(connection, request, correlation, outlook.now)
        for camera, granted_ns in assessment.uses:
            use = QuotaUse(camera, outlook.now, granted_ns, request.iss, stored.incident)
            self._store.quotas.add_use(connection, stored.id, use)
        asked = steps.describe_request(request, stored.id)
        self.record_verdict(connection, stored, assessment, outlook, asked)
        return stored

    def record_verdict(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        assessment: Assessment,
        outlook: Outlook,
        *before: LedgerEntry,
        aftermath: Aftermath | None = None,
    ) -> None:
        """Record a decision: of a new request (``before`` is the entry of its question), or of an approval."""
        verdict, bound = assessment.verdict, assessment.bound
        if isinstance(verdict, Denial):
            answer_at = outlook.find_decline(stored, verdict.reasons)
            step = steps.refuse(stored, verdict.reasons, answer_at, outlook.now)
        elif isinstance(verdict, Ask):
            step = steps.ask(stored, verdict, bound)
        else:
            step = steps.grant(stored, verdict, bound, outlook.now)
        self.apply(connection, stored.id, steps.with_entries(step, *before), aftermath)

    def enter_reused(
        self, connection: sqlite3.Connection, request: Request, reasons: Sequence[Reason], now: UtcNs
    ) -> None:
        """Enter a request that has the id of another one: it is refused, and has no life of its own."""
        ledger_entries.append(connection, steps.describe_request(request, None), now)
        ledger_entries.append(connection, steps.deny(steps.identify(request), reasons), now)

    def refuse(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        reasons: Sequence[Reason],
        outlook: Outlook,
        event: Event = Event.DENIAL,
        aftermath: Aftermath | None = None,
    ) -> None:
        """Refuse a request that was asked about."""
        answer_at = outlook.find_decline(stored, reasons)
        self.apply(connection, stored.id, steps.refuse(stored, reasons, answer_at, outlook.now, event), aftermath)

    def narrow(self, connection: sqlite3.Connection, stored: StoredRequest, evaluation: Evaluation, now: UtcNs) -> None:
        """Record what a later evaluation leaves of a bound, if it allows less than before, or allows it later.

        A denial is not recorded here: it ends the request, and with it the bound.
        """
        bound = evaluation.bound
        if isinstance(evaluation.verdict, Denial) or bound == stored.bound:
            return
        due = UtcNs(max(stored.due, bound.not_before)) if stored.state in UNDER_WAY else None
        self.apply(connection, stored.id, steps.narrow(stored, evaluation, now, due))

    def demand_open(self, stored: StoredRequest) -> StoredRequest:
        """Return a request as it is now; WithdrawnError if it is not under way any more.

        Inside the transaction of a step, so that nothing slips between.
        """
        current = self._store.requests.read(stored.id)
        if current.state not in UNDER_WAY:
            raise WithdrawnError
        return current

    # Answers

    def repeat(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        answer: bytes,
        correlation: bytes | None,
        now: UtcNs,
    ) -> None:
        """Send a stored answer once more, for a request that came again; nothing if it still waits to be sent.

        Age headers pass the gate again as they did the first time, expire at ``release_by``, and are not sent again
        if the owner took them back too late.
        """
        is_key = stored.state is RequestState.DELIVERED  # the last answer of such a request carries them
        # A repeated request must not bring a key that the owner took back, however late (A5).
        is_over = is_key and (now >= stored.release_by or bool(stored.reasons))
        if is_over or self._store.outbox.has_message(connection, answer):
            return
        kept = (correlation or b"")[:MAX_CORRELATION_BYTES]
        expires = stored.release_by if is_key else UtcNs(max(stored.release_by, now) + DAY_OF_GRACE_NS)
        key_of = stored.id if is_key else None
        self._store.outbox.push(connection, OutboxMessage(self.answer_topic, answer, kept, now, expires, key_of))

    def decline_unkept(
        self, connection: sqlite3.Connection, request: Request, correlation: bytes | None, due: UtcNs, now: UtcNs
    ) -> None:
        """Send, or send again, the refusal of a request that is only counted: the same bytes each time.

        Its id and the moment determine them, and Ed25519 signs without a random number: nothing has to be kept.
        """
        answer = Answer(self.gateway, request.iss, request.jti, seq=0, at=due, status=Status.DECLINED)
        raw, expires = encode_answer(answer, self._key), UtcNs(max(request.release_by, now) + DAY_OF_GRACE_NS)
        if not self._store.outbox.has_message(connection, raw):
            kept = (correlation or b"")[:MAX_CORRELATION_BYTES]
            self._store.outbox.push(connection, OutboxMessage(self.answer_topic, raw, kept, due, expires))

    def _answer(
        self,
        connection: sqlite3.Connection,
        stored: StoredRequest,
        status: Status,
        due: UtcNs,
        members: Mapping[str, Any],
    ) -> None:
        """Sign the next answer of a request and put it into the outbox."""
        answer = Answer(
            gateway=self.gateway,
            requester=stored.iss,
            jti=stored.jti,
            seq=self._store.outbox.count_answers(stored.id),
            at=due,
            status=status,
            **members,
        )
        raw = encode_answer(answer, self._key)
        # The age headers leave before `release_by` or not at all; the end of a request is worth telling a day later.
        is_key = bool(answer.files)
        expires = stored.release_by if is_key else UtcNs(max(stored.release_by, due) + DAY_OF_GRACE_NS)
        key_of = stored.id if is_key else None
        message = OutboxMessage(self.answer_topic, raw, stored.correlation, due, expires, key_of)
        self._store.outbox.push_answer(connection, stored.id, message)


@dataclass(frozen=True, slots=True)
class _Move:
    """One camera's release as it is stored, its cell, and its part of the step."""

    release: StoredRelease | None
    row: CameraRow
    step: CameraStep

    @property
    def is_dropped(self) -> bool:
        """Tell whether a release goes that there was."""
        return self.release is not None and self.row.state is CameraState.NONE


_STORED = {
    CameraState.WAITING: ReleaseState.WAITING,
    CameraState.BUILT: ReleaseState.BUILT,
    CameraState.UPLOADED: ReleaseState.UPLOADED,
    CameraState.KEY_WAITS: ReleaseState.DELIVERED,
    CameraState.KEY_GIVEN: ReleaseState.DELIVERED,
    CameraState.NO_FOOTAGE: ReleaseState.NO_FOOTAGE,
    CameraState.FAILED: ReleaseState.FAILED,
}


def _find_state(request: StoredRequest, release: StoredRelease | None) -> CameraState:
    if release is None:
        return CameraState.NONE
    if release.state is ReleaseState.DELIVERED:
        return CameraState.KEY_GIVEN if request.is_handed_over else CameraState.KEY_WAITS
    return CameraState(release.state.value)


def _demand_entries(row: Row, moves: Sequence[_Move], entries: Sequence[LedgerEntry]) -> None:
    """Hold a step to the ledger entries of its cells."""
    expected = (*row.entries, *(move.row.entry for move in moves if move.row.entry is not None))
    if tuple(type(each) for each in entries) != expected:
        raise AssertionError(f"entries are not those of the tables: {entries!r}")

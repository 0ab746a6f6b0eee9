"""The gate, asked anew before every step of a release; and the end of a release that is not granted any more.

Owns the word "decide" of PROTOCOL 9: each later evaluation of a request, recorded in one transaction with everything
that follows from it. A bundle that holds more than is granted now is dropped here, before anything else happens to it.
"""

import logging
import sqlite3
from collections.abc import Callable
from typing import Protocol

from edge_agent.consent.decision import Evaluation
from edge_agent.host.clock import Clock
from edge_agent.ledger.entries import Reasons
from edge_agent.protocol.trust_bundle import TrustBundle
from edge_agent.protocol.verdict import Ask, Denial, Grant, Wait
from edge_agent.uplink.inbound import steps
from edge_agent.uplink.inbound.evaluator import Evaluator, Outlook
from edge_agent.uplink.inbound.lifecycle import CameraEvent, Event
from edge_agent.uplink.inbound.register import UNDER_WAY, Aftermath, RequestRegister, WithdrawnError
from edge_agent.uplink.inbound.steps import NARROWED, CameraStep, RequestStep, encode_reasons
from edge_agent.uplink.release.payload import covers
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.releases import ReleaseState, StoredRelease, Waiting
from edge_agent.uplink.store.requests import OPEN_STATES, RequestState, StoredRequest

log = logging.getLogger(__name__)


class Payloads(Protocol):
    """Where payloads wait for their upload."""

    def remove(self, name: str) -> None:
        """Delete one that may not leave any more."""


class PutOffError(Exception):
    """Nothing can be done about this request now: it is looked at again after a pause."""


class Reauthorization:
    """Decides again, and ends.

    Args:
        store: Where every step is durable.
        evaluator: The gate.
        register: Writes down how a request ends.
        payloads: Those that were built of it.
        clock: By which it is decided.
        on_end: Told of every request that ended, after its transaction.
    """

    def __init__(
        self,
        store: Database,
        evaluator: Evaluator,
        register: RequestRegister,
        payloads: Payloads,
        clock: Clock,
        on_end: Callable[[StoredRequest], None],
    ) -> None:
        self._store = store
        self._evaluator = evaluator
        self._register = register
        self._payloads = payloads
        self._clock = clock
        self._on_end = on_end

    def require_grant(self, request: StoredRequest) -> tuple[Grant, TrustBundle | None]:
        """Return the current grant and the trust bundle that it rests on; payloads under a wider one are gone.

        Raises:
            WithdrawnError: The request is not under way any more, or has just ended because it is not granted.
            PutOffError: Nothing can be decided yet, or the cooling-off is not over.
        """
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            self._register.demand_open(request)
            verdict, outlook = self.decide(connection, request.id, aftermath)
        self.clear_up(aftermath)
        if isinstance(verdict, Denial):
            raise WithdrawnError
        if not isinstance(verdict, Grant) or outlook.now < verdict.not_before:
            raise PutOffError
        return verdict, outlook.trust

    def decide(
        self, connection: sqlite3.Connection, request_id: int, aftermath: Aftermath
    ) -> tuple[Ask | Grant | Denial | Wait, Outlook]:
        """Look, evaluate one request, and record the outcome; with the outlook that it rests on."""
        outlook = self._evaluator.look()
        return self.evaluate(connection, request_id, outlook, aftermath), outlook

    def evaluate(
        self,
        connection: sqlite3.Connection,
        request_id: int,
        outlook: Outlook,
        aftermath: Aftermath,
        *,
        is_stop: bool = False,
    ) -> Ask | Grant | Denial | Wait:
        """Evaluate an open request, or one with a waiting key, and record the outcome. Nothing else decides again.

        ``is_stop``: the owner has just taken something back, and is owed an entry if it came too late.

        A camera that left the bound loses its bundle and its age header; a request without any camera ends.
        """
        request = self._store.requests.read(request_id)
        evaluation = self._evaluator.decide_again(request, outlook)
        verdict = evaluation.verdict
        # O9: the bound only narrows, and does so even if no step can be taken for the request now.
        self._register.narrow(connection, request, evaluation, outlook.now)
        if request.state is RequestState.ASKED:
            if isinstance(verdict, Denial):
                event = Event.STOP if is_stop else Event.DENIAL
                self._register.refuse(connection, request, verdict.reasons, outlook, event, aftermath)
        elif request.state in UNDER_WAY:
            self._evaluate_release(connection, request, evaluation, outlook, aftermath, is_stop=is_stop)
        elif self._store.outbox.has_waiting_key(connection, request_id):
            return self._evaluate_key(connection, request, evaluation, outlook, aftermath, is_stop=is_stop)
        return verdict

    def evaluate_all(self, connection: sqlite3.Connection, outlook: Outlook, aftermath: Aftermath) -> None:
        """Evaluate everything that is open, and every key that waits: the owner has just taken something back."""
        # A key in the outbox belongs to a request that is no longer open: without these a pause
        # would miss it.
        waiting = set(self._store.outbox.list_waiting_keys())
        for request_id in sorted(waiting | {each.id for each in self._store.requests.list_newest(OPEN_STATES)}):
            self.evaluate(connection, request_id, outlook, aftermath, is_stop=True)

    def clear_up(self, aftermath: Aftermath) -> None:
        """Carry out the consequences, after the transaction; after a kill the next start's sweep does it."""
        for release in aftermath.payloads:
            self._payloads.remove(release.file)
        # An approved request is told of as well, and is not over: its footage is held until it is.
        for ended in [request for request in aftermath.told if request.state not in OPEN_STATES]:
            log.info("request ended request=%d state=%s", ended.id, ended.state.value)
            self._on_end(ended)

    def end(self, request: StoredRequest, event: Event, outcome: str, reasons: Reasons) -> None:
        """End a request that is under way; its payloads and age headers are destroyed."""
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            step = steps.end(request, event, outcome, reasons, self._clock.utc())
            self._register.apply(connection, request.id, step, aftermath)
        self.clear_up(aftermath)

    def _evaluate_release(
        self,
        connection: sqlite3.Connection,
        request: StoredRequest,
        evaluation: Evaluation,
        outlook: Outlook,
        aftermath: Aftermath,
        *,
        is_stop: bool,
    ) -> None:
        verdict = evaluation.verdict
        if isinstance(verdict, Denial):
            step = steps.end_denied(request, verdict, outlook.now, is_stop=is_stop)
            self._register.apply(connection, request.id, step, aftermath)
            return
        dropped = [
            each
            for each in self._store.releases.list_of(request.id)
            if evaluation.bound.find(each.camera) is None
            or (isinstance(verdict, Grant) and not self._covers(verdict, each, outlook))
        ]
        for release in dropped:
            log.warning("camera is not released any more: request=%d camera=%s", request.id, release.camera)
        if dropped:
            leave = {each.camera: CameraStep(CameraEvent.LEAVE) for each in dropped}
            self._register.apply(connection, request.id, RequestStep(Event.LESS, outlook.now, cameras=leave), aftermath)

    def _evaluate_key(
        self,
        connection: sqlite3.Connection,
        request: StoredRequest,
        evaluation: Evaluation,
        outlook: Outlook,
        aftermath: Aftermath,
        *,
        is_stop: bool,
    ) -> Ask | Grant | Denial | Wait:
        """Evaluate a request whose age headers wait in the outbox.

        A grant of less than they open takes the answer back: the rest is handed over anew.
        """
        verdict = evaluation.verdict
        wider = self._list_wider(request, evaluation, outlook)
        if not wider and not isinstance(verdict, Denial):
            return verdict
        reasons = encode_reasons(evaluation.left) or tuple({"code": NARROWED, "camera": each.camera} for each in wider)
        # The broker may have it, and no step takes a key back: the request stays delivered, and the
        # key is not sent again.
        if request.is_handed_over:
            step = steps.too_late(request, reasons, outlook.now, is_stop=is_stop)
            self._register.apply(connection, request.id, step, aftermath)
            return Denial(None, evaluation.left, outlook.now)
        if isinstance(verdict, Denial):
            step = steps.end_denied(request, verdict, outlook.now, is_stop=is_stop)
            self._register.apply(connection, request.id, step, aftermath)
            return verdict
        step = steps.take_back(request, wider, reasons, outlook.now)
        self._register.apply(connection, request.id, step, aftermath)
        return Wait((), outlook.now)

    def _list_wider(self, request: StoredRequest, evaluation: Evaluation, outlook: Outlook) -> list[StoredRelease]:
        """Return the releases of a delivery that hold more than the evaluation leaves."""
        found = self._store.releases.list_of(request.id)
        delivered = [each for each in found if each.state is ReleaseState.DELIVERED]
        verdict = evaluation.verdict
        if isinstance(verdict, Grant):
            return [each for each in delivered if not self._covers(verdict, each, outlook)]
        return [each for each in delivered if evaluation.bound.find(each.camera) is None]

    def _covers(self, grant: Grant, release: StoredRelease, outlook: Outlook) -> bool:
        if isinstance(release.info, Waiting):
            # Nothing is built yet, so nothing can hold too much: its bundle will be built under the
            # new grant.
            return any(each.camera == release.camera for each in grant.cameras)
        return covers(grant, release.camera, release.info.granted, outlook.trust)

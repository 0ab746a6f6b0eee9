"""The key: after this step the RTCC can open the payload that it holds.

Owns the last two decisions of a release (PROTOCOL 9, steps 5 to 7): the one after the last byte, which puts the age
headers into the outbox, and the one as they leave it.
"""

import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

from edge_agent.ledger.request_kinds import DeliveryEntry
from edge_agent.protocol.answer import DeliveredFile, Note
from edge_agent.protocol.verdict import Denial, Grant
from edge_agent.units import UtcNs
from edge_agent.uplink.inbound import steps
from edge_agent.uplink.inbound.lifecycle import Event
from edge_agent.uplink.inbound.register import Aftermath, RequestRegister, WithdrawnError
from edge_agent.uplink.inbound.steps import RequestStep, notes_of
from edge_agent.uplink.release.recheck import PutOffError, Reauthorization
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.outbox import OutboxMessage
from edge_agent.uplink.store.releases import Ended, ReleaseState, StoredRelease
from edge_agent.uplink.store.requests import StoredRequest

log = logging.getLogger(__name__)


class KeyStep:
    """Gives the age headers out.

    Args:
        store: Where every step is durable.
        register: Writes entries and answers.
        reauthorization: Decides anew.
    """

    def __init__(
        self,
        store: Database,
        register: RequestRegister,
        reauthorization: Reauthorization,
    ) -> None:
        self._store = store
        self._register = register
        self._reauthorization = reauthorization

    def hand_over(self, request: StoredRequest) -> None:
        """Decide, and put the age headers of the uploaded payloads into the outbox, in one transaction.

        If no camera has a payload, and each of them was tried, the request ends in that transaction instead.

        Raises:
            WithdrawnError: The request was withdrawn.
            PutOffError: Nothing can be decided yet.
        """
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            self._register.demand_open(request)
            verdict, outlook = self._reauthorization.decide(connection, request.id, aftermath)
            releases = self._store.releases.list_of(request.id)
            done = [each for each in releases if each.state is ReleaseState.UPLOADED]
            # O9, step 5: a camera that was dropped by this very decision is built anew first, or
            # leaves permanently.
            is_whole = isinstance(verdict, Grant) and [each.camera for each in releases] == sorted(
                each.camera for each in verdict.cameras
            )
            # O12: a longer cooling-off that was signed meanwhile has moved `not_before`, and
            # counts.
            if isinstance(verdict, Grant) and outlook.now >= verdict.not_before and is_whole:
                if done:
                    self._enter(connection, request, verdict, releases, outlook.now)
                else:
                    step = _end_empty(request, releases, outlook.now)
                    self._register.apply(connection, request.id, step, aftermath)
        self._reauthorization.clear_up(aftermath)
        if isinstance(verdict, Denial):
            raise WithdrawnError
        if not isinstance(verdict, Grant) or outlook.now < verdict.not_before:
            raise PutOffError
        if is_whole and done:  # else something was dropped, and the next round goes on with the rest
            log.info("clip uploaded, its key is due request=%d cameras=%d", request.id, len(done))

    def _enter(
        self,
        connection: sqlite3.Connection,
        request: StoredRequest,
        grant: Grant,
        releases: Sequence[StoredRelease],
        now: UtcNs,
    ) -> None:
        """Enter the delivery, and put the answer with the age headers into the outbox."""
        done = [each for each in releases if each.state is ReleaseState.UPLOADED]
        missing = tuple(Note(_reason_of(each), each.camera) for each in releases if each not in done)
        outcome, cameras = "partial" if missing else "delivered", tuple(each.camera for each in done)
        entry = DeliveryEntry(request.jti, request.iss, request.incident, outcome, cameras, number=request.id)
        members: dict[str, Any] = {"files": tuple(_file(each) for each in done), "trimmed": notes_of(grant)}
        if missing:
            members["missing"] = missing
        event = Event.PART if missing else Event.WHOLE
        # Step 6: ledger entry and answer in one transaction, so no key waits that the ledger does
        # not show.
        self._register.apply(connection, request.id, RequestStep(event, now, (entry,), answer=members))

    def confirm(self, message: OutboxMessage) -> bool:
        """Decide once more on a request whose age headers are in a message, and note that they leave now.

        Decision and note are one transaction: a payload that the owner takes back before it stays closed; after it the
        header may be with the broker already, acknowledged or not. This message alone counts: while those before it
        were sent, it may have been taken back, and a narrower one put in its place.

        Returns:
            False if they must not leave: they were taken back, now or before, or wait until it can be decided.
        """
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            request_id = message.key_of
            if request_id is None:
                return False
            verdict, outlook = self._reauthorization.decide(connection, request_id, aftermath)
            # `message` was read outside of this transaction: the owner may have taken its keys back
            # since, and `decide` takes them back if less is granted now (step 7).
            is_here = self._store.outbox.has_message(connection, message.payload)
            leaves = is_here and isinstance(verdict, Grant) and outlook.now >= verdict.not_before
            if leaves:
                self._register.apply(connection, request_id, RequestStep(Event.KEY_LEAVES, outlook.now), aftermath)
        self._reauthorization.clear_up(aftermath)
        return leaves


def _end_empty(request: StoredRequest, releases: Sequence[StoredRelease], now: UtcNs) -> RequestStep:
    """Return the end of a request of which there is nothing to deliver."""
    reasons = tuple({"code": _reason_of(each), "camera": each.camera} for each in releases)
    failed = any(each.state is ReleaseState.FAILED for each in releases)
    event, outcome = (Event.FAILURE, "failed") if failed else (Event.NOTHING, "no-footage")
    return steps.end(request, event, outcome, reasons, now)


def _reason_of(release: StoredRelease) -> str:
    return release.info.reason if isinstance(release.info, Ended) else "no-footage"


def _file(release: StoredRelease) -> DeliveredFile:
    return DeliveredFile(
        camera=release.camera,
        upload=release.file,
        sha256=bytes.fromhex(release.bundle.sha256),
        size=release.bundle.size,
        age_header=release.header,
    )

"""The key: from here on the RTCC can open what it has.

Owns the last two decisions of a release (PROTOCOL 9, steps 5 to 7): the one after the last byte, which puts the age
headers into the outbox, and the one as they leave it.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.ledger import entries
from edge_agent.ledger.entries import DeliveryEntry
from edge_agent.protocol.answer import DeliveredFile, Note, Status
from edge_agent.protocol.verdict import Denial, Grant
from edge_agent.units import UtcNs
from edge_agent.uplink.inbound.evaluator import Judge
from edge_agent.uplink.inbound.register import Docket, WithdrawnError, notes_of
from edge_agent.uplink.release.recheck import Aftermath, PutOffError, Regrant
from edge_agent.uplink.release.upload_step import Shipping
from edge_agent.uplink.store.requests import ReleaseState, RequestState, Store, StoredRelease, StoredRequest

log = logging.getLogger(__name__)


class Handover:
    """Gives the age headers out.

    Args:
        store: Where every step is durable.
        docket: Writes entries and answers.
        judge: Reads the house for each decision.
        regrant: Decides anew.
        shipping: Deletes what is left at home.
        on_end: Told of every request whose key left, or ended instead.
    """

    def __init__(
        self,
        store: Store,
        docket: Docket,
        judge: Judge,
        regrant: Regrant,
        shipping: Shipping,
        on_end: Callable[[StoredRequest], None],
    ) -> None:
        self._store = store
        self._docket = docket
        self._judge = judge
        self._regrant = regrant
        self._shipping = shipping
        self._on_end = on_end

    def hand_over(self, request: StoredRequest) -> None:
        """Decide, and put the age headers of what was uploaded into the outbox, in one transaction.

        Raises:
            WithdrawnError: The request ended instead.
            PutOffError: Nothing can be decided yet.
        """
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            outlook = self._judge.look_and_note(connection)
            self._docket.demand_open(connection, request)
            verdict = self._regrant.evaluate(connection, request.id, outlook, aftermath)
            releases = self._store.list_releases(request.id)
            done = [each for each in releases if each.state is ReleaseState.UPLOADED]
            is_whole = isinstance(verdict, Grant) and [each.camera for each in releases] == sorted(
                each.camera for each in verdict.cameras
            )
            if isinstance(verdict, Grant) and outlook.now >= verdict.not_before and is_whole and done:
                self._enter(connection, request, verdict, releases, outlook.now)
        self._regrant.clear_up(aftermath)
        if isinstance(verdict, Denial):
            raise WithdrawnError
        if not isinstance(verdict, Grant) or outlook.now < verdict.not_before:
            raise PutOffError
        if not is_whole:
            return  # Something was dropped: the next round goes on with what is left.
        if not done:  # what was uploaded is not granted any more, and the rest could not be built
            self.end_empty(request, releases)
            return
        log.info("clip uploaded, its key is due jti=%s cameras=%d", request.jti, len(done))
        for release in releases:
            self._shipping.make_room(release)

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
        entry = DeliveryEntry(request.jti, request.iss, request.incident, outcome, cameras)
        members: dict[str, Any] = {"files": tuple(_file(each) for each in done), "trimmed": notes_of(grant)}
        if missing:
            members["missing"] = missing
        entries.append(connection, entry, now)
        status = Status.PARTIAL if missing else Status.DELIVERED
        self._docket.answer(connection, request, now, status=status, **members)
        for release in done:
            self._store.set_release_state(connection, release, ReleaseState.DELIVERED)
        self._store.update_request(connection, request.id, RequestState.DELIVERED)

    def end_empty(self, request: StoredRequest, releases: Sequence[StoredRelease]) -> None:
        """End a request of which there is nothing to deliver."""
        reasons = [{"code": _reason_of(each), "camera": each.camera} for each in releases]
        failed = any(each.state is ReleaseState.FAILED for each in releases)
        self._regrant.end(request, RequestState.FAILED if failed else RequestState.NO_FOOTAGE, reasons)

    def confirm(self, request_id: int) -> bool:
        """Decide once more on a request whose age headers wait in the outbox, and note that they leave now.

        Decision and note are one transaction: what the owner takes back before it stays closed, and what they would
        take back after it may be with the broker already, acknowledged or not.

        Returns:
            False where they must not leave: they were taken back, now or before, or wait until it can be decided.
        """
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            if not self._store.has_waiting_key(connection, request_id):
                return False
            outlook = self._judge.look_and_note(connection)
            verdict = self._regrant.evaluate(connection, request_id, outlook, aftermath)
            request = self._store.read_request(request_id)
            leaves = isinstance(verdict, Grant) and outlook.now >= verdict.not_before
            if leaves:
                self._store.mark_handed_over(connection, request_id)
                self._store.forget_header(connection, request_id)
        self._regrant.clear_up(aftermath)
        if leaves and not request.is_handed_over:
            self._on_end(self._store.read_request(request_id))
        return leaves


def _reason_of(release: StoredRelease) -> str:
    return str(release.info.get("reason", "no-footage"))


def _file(release: StoredRelease) -> DeliveredFile:
    return DeliveredFile(
        camera=release.camera,
        upload=release.file,
        sha256=bytes.fromhex(release.info["sha256"]),
        size=release.info["size"],
        age_header=release.header,
    )

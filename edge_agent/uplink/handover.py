"""The key: from here on the RTCC can open what it has.

Owns the last two decisions of a release (PROTOCOL 9, steps 5 to 7): the one after the last byte, which puts the age
headers into the outbox, and the one as they leave it.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.clock import Clock, ClockState
from edge_agent.consent.verdict import Grant
from edge_agent.uplink import ledger
from edge_agent.uplink.answers import DeliveredFile, Note, Status
from edge_agent.uplink.docket import Docket, notes_of
from edge_agent.uplink.regrant import Regrant, end_of, waits
from edge_agent.uplink.shipping import Shipping
from edge_agent.uplink.store import ReleaseState, RequestState, Store, StoredRelease, StoredRequest

log = logging.getLogger(__name__)


class Handover:
    """Gives the age headers out.

    Args:
        store: Where every step is durable.
        docket: Writes entries and answers.
        regrant: Decides anew.
        shipping: Deletes what is left at home.
        clock: By which it is decided.
        on_end: Told of every request whose key left, or ended instead.
    """

    def __init__(
        self,
        store: Store,
        docket: Docket,
        regrant: Regrant,
        shipping: Shipping,
        clock: Clock,
        on_end: Callable[[StoredRequest], None],
    ) -> None:
        self._store = store
        self._docket = docket
        self._regrant = regrant
        self._shipping = shipping
        self._clock = clock
        self._on_end = on_end

    def hand_over(self, request: StoredRequest) -> None:
        """Decide, and put the age headers of what was uploaded into the outbox.

        Raises:
            WithdrawnError: The request ended instead.
            PutOffError: Nothing can be decided yet.
        """
        grant = self._regrant.demand(request)
        releases = self._store.list_releases(request.id)
        if {each.camera for each in releases} != {each.camera for each in grant.cameras}:
            return  # Something was dropped or is new: the next round builds it.
        done = [each for each in releases if each.state is ReleaseState.UPLOADED]
        if not done:  # what was uploaded is not granted any more, and the rest could not be built
            self.end_empty(request, releases)
            return
        missing = tuple(Note(_reason_of(each), each.camera) for each in releases if each not in done)
        entry = {
            "jti": request.jti,
            "iss": request.iss,
            "incident": request.incident,
            "outcome": "partial" if missing else "delivered",
            "cameras": [each.camera for each in done],
        }
        members: dict[str, Any] = {"files": tuple(_file(each) for each in done), "trimmed": notes_of(grant)}
        if missing:
            members["missing"] = missing
        now = self._clock.utc()
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            ledger.append(connection, "delivery", entry, now)
            status = Status.PARTIAL if missing else Status.DELIVERED
            self._docket.answer(connection, request, now, status=status, **members)
            for release in done:
                self._store.set_release_state(connection, release, ReleaseState.DELIVERED)
            self._store.forget_header(connection, request.id)
            self._store.update_request(connection, request.id, RequestState.DELIVERED)
        log.info("clip uploaded, its key is due jti=%s cameras=%d", request.jti, len(done))
        for release in releases:
            self._shipping.make_room(release)

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
        now = self._clock.utc()
        with self._store.transaction() as connection:
            if not self._store.has_waiting_key(connection, request_id):
                return False
            if self._clock.state() is not ClockState.SYNCHRONISED:
                return False
            request = self._store.read_request(request_id)
            verdict = self._regrant.decide_on_key(request, now)
            if waits(verdict, request, now):
                return False
            is_granted = isinstance(verdict, Grant)
            if is_granted:
                self._store.mark_handed_over(connection, request.id)
            elif request.is_handed_over:  # this would be a repetition: there is nothing to end any more
                self._store.drop_key(connection, request.id)
            else:
                self._docket.withdraw(connection, request, *end_of(verdict, request, now), now)
        if not request.is_handed_over:
            if not is_granted:
                self._shipping.discard(request_id)
            self._on_end(self._store.read_request(request_id))
        return is_granted


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

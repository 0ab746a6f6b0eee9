"""The gate, asked anew before every step of a release; and the end of a release that is not granted any more.

Owns the word "decide" of PROTOCOL 9 and how a request ends by it. A bundle that holds more than is granted now is
dropped here, before anything else is done with it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.clock import Clock, ClockState
from edge_agent.consent.verdict import Ask, Grant, Reason
from edge_agent.reasons import TRANSIENT, say
from edge_agent.units import UtcNs
from edge_agent.uplink.docket import UNDER_WAY, Docket, WithdrawnError, encode_reasons
from edge_agent.uplink.judge import Judge
from edge_agent.uplink.maker import LATE
from edge_agent.uplink.payload import covers
from edge_agent.uplink.shipping import Shipping
from edge_agent.uplink.store import ReleaseState, RequestState, Store, StoredRelease, StoredRequest

log = logging.getLogger(__name__)

_NARROWED = "grant-narrowed"

Verdict = Ask | Grant | tuple[Reason, ...]


class PutOffError(Exception):
    """Nothing can be done about this request now: it is looked at again after a pause."""


class Regrant:
    """Decides again, and ends.

    Args:
        store: Where every step is durable.
        judge: The gate.
        docket: Writes down how a request ends.
        shipping: Deletes what was built and sent of it.
        clock: By which it is decided.
        on_end: Told of every request that ended, after its transaction.
    """

    def __init__(
        self,
        store: Store,
        judge: Judge,
        docket: Docket,
        shipping: Shipping,
        clock: Clock,
        on_end: Callable[[StoredRequest], None],
    ) -> None:
        self._store = store
        self._judge = judge
        self._docket = docket
        self._shipping = shipping
        self._clock = clock
        self._on_end = on_end

    def demand(self, request: StoredRequest) -> Grant:
        """Return the grant of now; what was built under a wider one is gone.

        Raises:
            WithdrawnError: The request is not under way any more, or has just ended because it is not granted.
            PutOffError: Nothing can be decided yet.
        """
        now = self._clock.utc()
        current = self._store.read_request(request.id)
        if current.state not in UNDER_WAY:
            raise WithdrawnError
        if self._clock.state() is not ClockState.SYNCHRONISED:
            raise PutOffError
        verdict = self._judge.decide_again(current, now)
        if waits(verdict, current, now):
            raise PutOffError
        if not isinstance(verdict, Grant):
            self.end(current, *end_of(verdict, current, now))
            raise WithdrawnError
        self._drop_what_is_wider(current, verdict)
        return verdict

    def decide_on_key(self, request: StoredRequest, now: UtcNs) -> Verdict:
        """Decide on the age headers of a request that wait; a grant that covers less than they open is none."""
        verdict = self._judge.decide_again(request, now)
        releases = [each for each in self._store.list_releases(request.id) if each.state is ReleaseState.DELIVERED]
        if isinstance(verdict, Grant):
            narrowed = [each.camera for each in releases if not self._covers(verdict, each)]
            return _reasons_against(verdict, narrowed) if narrowed else verdict
        return verdict

    def end(self, request: StoredRequest, state: RequestState, reasons: Sequence[Mapping[str, Any]]) -> None:
        """End a request that is under way; its payloads and age headers are destroyed."""
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            self._docket.withdraw(connection, request, state, reasons, self._clock.utc())
        self._shipping.discard(request.id)
        log.info("release ended jti=%s state=%s", request.jti, state.value)
        self._on_end(self._store.read_request(request.id))

    def _drop_what_is_wider(self, request: StoredRequest, grant: Grant) -> None:
        """Delete bundles that hold more than is granted now: they are built anew, with less."""
        for release in self._store.list_releases(request.id):
            if not self._covers(grant, release):
                log.warning("bundle holds more than is granted now: jti=%s camera=%s", request.jti, release.camera)
                self._shipping.drop(request, release)

    def _covers(self, grant: Grant, release: StoredRelease) -> bool:
        if release.state is ReleaseState.WAITING:  # nothing is built
            return any(each.camera == release.camera for each in grant.cameras)
        return covers(grant, release.camera, release.info["granted"], self._judge.list_recipients(grant))


def _reasons_against(grant: Grant, cameras: Sequence[str]) -> tuple[Reason, ...]:
    """Return why a grant of now does not cover the bundles of these cameras."""
    granted = {each.camera for each in grant.cameras}
    reasons: list[Reason] = []
    for camera in cameras:
        found = [each for each in grant.trimmed if each.camera == camera and camera not in granted]
        reasons += found or [Reason(_NARROWED, say(_NARROWED), camera)]
    return tuple(reasons)


def waits(verdict: Verdict, request: StoredRequest, now: UtcNs) -> bool:
    """Tell whether nothing is against a request but what waiting mends: a trust bundle that is not here yet."""
    codes = {each.code for each in verdict} if isinstance(verdict, tuple) else set()
    return bool(codes) and codes <= TRANSIENT and now < request.release_by


def end_of(verdict: Verdict, request: StoredRequest, now: UtcNs) -> tuple[RequestState, list[dict[str, str | None]]]:
    """Return how a request ends that is not granted any more, and why."""
    reasons = verdict if isinstance(verdict, tuple) else ()
    if now >= request.release_by and {each.code for each in reasons} <= {LATE, *TRANSIENT}:
        return RequestState.FAILED, [{"code": LATE, "camera": None}]
    return RequestState.CANCELLED, encode_reasons(reasons or (Reason(_NARROWED, say(_NARROWED)),))

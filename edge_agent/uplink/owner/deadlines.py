"""The acts that are due at a time for each request: its footage is held, the owner is reminded, silence becomes a no.

Owns when; the package of each act carries it out. Everything is planned anew from the store at each start, so that
doing it again does nothing.
"""

from collections.abc import Callable
from functools import partial

from edge_agent.host.clock import Clock
from edge_agent.protocol.verdict import Ask, Grant, Verdict
from edge_agent.units import HOUR_NS, MINUTE_NS, ClockState, UtcNs
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.release.worker import SETTLE_NS, ReleaseWorker
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.releases import ReleaseState
from edge_agent.uplink.store.requests import OPEN_STATES, RequestState, StoredRequest

REMIND_BEFORE_NS = HOUR_NS
"""So long before silence becomes a no the owner is reminded; at half time of an ask that is shorter than two hours."""


class Deadlines:
    """Plans and carries out.

    Args:
        store: Of the requests.
        footage: Keeps what a request still needs.
        worker: Carries out what was granted.
        clock: The moment of each.
        remind: Tells the owner once more that a request waits.
        refuse: Ends a request that waits for the owner, for a reason.
    """

    def __init__(
        self,
        store: Database,
        footage: Footage,
        worker: ReleaseWorker,
        clock: Clock,
        remind: Callable[[StoredRequest], None],
        refuse: Callable[[StoredRequest, str], object],
    ) -> None:
        self._store, self._footage, self._worker, self._clock = store, footage, worker, clock
        self._tell_again, self._refuse = remind, refuse

    def plan_all(self, jobs: Jobs) -> None:
        """Plan what is due for every request that is open."""
        for request in self._store.requests.list_newest(OPEN_STATES):
            self._plan_hold(jobs, request)
            if request.state is RequestState.ASKED:
                self._plan_ask(jobs, request)

    def plan(self, jobs: Jobs, request: StoredRequest, verdict: Verdict) -> None:
        """Plan what is due for a request that was just decided."""
        if isinstance(verdict, Ask):
            self._plan_ask(jobs, request)
        if isinstance(verdict, Ask | Grant):
            self._plan_hold(jobs, request)
        self._worker.wake()

    def _plan_hold(self, jobs: Jobs, request: StoredRequest) -> None:
        # Nothing is asked for that ends after its arrival (check 10).
        due = UtcNs(request.arrived_at + SETTLE_NS)
        jobs.at(f"hold {request.id}", due, partial(self._hold, jobs, request.id))

    def _plan_ask(self, jobs: Jobs, request: StoredRequest) -> None:
        jobs.at(f"ask {request.id}", request.due, partial(self._end_ask, jobs, request.id))
        early_ns = min(REMIND_BEFORE_NS, (request.due - request.arrived_at) // 2)
        jobs.at(f"remind {request.id}", UtcNs(request.due - early_ns), partial(self._remind, request.id))

    def _hold(self, jobs: Jobs, request_id: int) -> None:
        """Keep what a request still needs; doing it again does nothing."""
        request = self._store.requests.read(request_id)
        if request.state not in OPEN_STATES:
            return
        if self._worker.is_at_work_on(request_id):
            # Footage that is read for the bundle now needs no copy beside it, which would cost the disk as much again.
            later = UtcNs(self._clock.utc() + MINUTE_NS)
            jobs.at(f"hold {request_id}", later, partial(self._hold, jobs, request_id))
            return
        if request.bound is not None:
            releases = self._store.releases.list_of(request_id)
            done = {each.camera for each in releases if each.state is not ReleaseState.WAITING}
            self._footage.hold(request.jti, [each for each in request.bound.cameras if each.camera not in done])
        if self._store.requests.read(request_id).state not in OPEN_STATES:
            self._footage.drop_holds(request.jti)  # it ended while its footage was copied

    def _remind(self, request_id: int) -> None:
        request = self._store.requests.read(request_id)
        if request.state is RequestState.ASKED:
            self._tell_again(request)

    def _end_ask(self, jobs: Jobs, request_id: int) -> None:
        request = self._store.requests.read(request_id)
        if request.state is not RequestState.ASKED:
            return
        # A no for silence needs a clock that is believed: one set forward would answer for the
        # owner.
        if self._clock.state() is ClockState.SYNCHRONISED:
            self._refuse(request, "owner-silent")
        else:  # it may not be time yet
            later = UtcNs(self._clock.utc() + MINUTE_NS)
            jobs.at(f"ask {request_id}", later, partial(self._end_ask, jobs, request_id))

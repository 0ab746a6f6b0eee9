"""Carries out grants: bundle, upload, key; each step after one more decision and in a transaction of its own.

The order is the promise (PROTOCOL 9): the ledger's ``release`` entry is durable before the first byte leaves, and the
age headers leave only after the last byte is there and the gate has said yes once more. A kill at any point repeats
nothing that counts and loses nothing. Owns the thread, the order of requests and the pauses; the steps are those of
``build_step``, ``upload_step`` and ``key_step``.
"""

import logging
import threading
from dataclasses import dataclass
from typing import NoReturn

from edge_agent.errors import EdgeAgentError, UploadRefusedError
from edge_agent.host.clock import Clock
from edge_agent.protocol.verdict import Grant
from edge_agent.units import MINUTE_NS, SECOND_NS, ClockState, MonoNs
from edge_agent.uplink.inbound.lifecycle import Event
from edge_agent.uplink.inbound.register import UNDER_WAY, RequestRegister, WithdrawnError
from edge_agent.uplink.inbound.steps import RequestStep, tell_queued
from edge_agent.uplink.release.build_step import BuildStep, last_call
from edge_agent.uplink.release.key_step import KeyStep
from edge_agent.uplink.release.recheck import PutOffError, Reauthorization
from edge_agent.uplink.release.upload_step import UploadStep
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.releases import ReleaseState, StoredRelease
from edge_agent.uplink.store.requests import StoredRequest

log = logging.getLogger(__name__)

POLL_S = 0.5
FIRST_PAUSE_NS = 2 * SECOND_NS
"""PROTOCOL 9, step 3: tried again after 2 s and then twice as long each time, up to 5 min."""
LONGEST_PAUSE_NS = 5 * MINUTE_NS
SETTLE_NS = 5 * SECOND_NS
"""How long after a window's end its last record is certainly in the ring: a record spans at most two seconds."""
TURN_NS = 10 * MINUTE_NS
"""How long one upload may keep others that are due from going on."""


class _StoppedError(Exception):
    """The process ends, or it is others' turn: go no further for now."""


@dataclass(frozen=True, slots=True)
class ReleaseSteps:
    """The three steps of a release, in their order."""

    build: BuildStep
    """Makes bundles."""
    upload: UploadStep
    """Uploads them."""
    give_key: KeyStep
    """Gives their keys out."""


class ReleaseWorker:
    """The thread that carries out grants, one request at a time.

    Args:
        store: Where every step is durable.
        register: Tells the RTCC that something waits.
        reauthorization: Decides anew before each step.
        steps: Build, upload, and give keys out.
        clock: Decides what is due.
        stop: Ends the thread.
    """

    def __init__(
        self,
        store: Database,
        register: RequestRegister,
        reauthorization: Reauthorization,
        steps: ReleaseSteps,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._register = register
        self._reauthorization = reauthorization
        self._steps = steps
        self._clock = clock
        self._stop = stop
        self._wake = threading.Event()
        self._pauses: dict[int, tuple[int, MonoNs]] = {}
        self._in_hand = 0
        self._thread = threading.Thread(target=self._run, name="release")

    def start(self) -> None:
        """Delete what no release names, and begin."""
        self.sweep()
        self._thread.start()

    def sweep(self) -> None:
        """Delete what a kill left behind."""
        self._steps.upload.sweep(self._open())

    def wake(self) -> None:
        """Look at once for due steps."""
        self._wake.set()

    def join(self, timeout_s: float = 15.0) -> None:
        """Wait until the thread has ended after ``stop``."""
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def is_at_work_on(self, request_id: int) -> bool:
        """Tell whether a request's footage is being bundled or uploaded at this moment."""
        return self._in_hand == request_id

    def _open(self) -> list[StoredRequest]:
        return self._store.requests.list_newest(UNDER_WAY)[::-1]

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(POLL_S)
            # Cleared before the turn: a wake that comes during it is kept for the next one.
            self._wake.clear()
            try:
                self.turn()
            except Exception:  # such as a disk that fails: nothing may end this thread
                log.exception("releases wait and are looked at again")
                self._stop.wait(POLL_S)

    def turn(self) -> None:
        """Carry every release on that is due, once; the body of the thread."""
        # By any clock: neither decides anything, and both only take away.
        self._store.destroy_remains()
        self._steps.upload.forget_one()
        if self._clock.state() is not ClockState.SYNCHRONISED:
            return  # nothing is decided, and nothing ended, by a clock that cannot be believed
        for request in self._open():
            if self._stop.is_set():
                return
            if self._is_due(request):
                self._carry_on(request)

    def _carry_on(self, request: StoredRequest) -> None:
        self._in_hand = request.id
        try:
            self._step(request)
        except _StoppedError:
            log.info("release stopped request=%d", request.id)
        except PutOffError:
            self._rest(request)
        except EdgeAgentError as error:
            self._rest(request)
            log.warning("release waits and is tried again request=%d: %s", request.id, error)
        except WithdrawnError:
            self._pauses.pop(request.id, None)
        except Exception:
            self._rest(request)
            log.exception("release failed request=%d", request.id)
        else:
            self._pauses.pop(request.id, None)
        finally:
            self._in_hand = 0

    def _is_due(self, request: StoredRequest) -> bool:
        _, rests_until = self._pauses.get(request.id, (0, MonoNs(0)))
        return request.due <= self._clock.utc() and self._clock.boot() >= rests_until

    def _rest(self, request: StoredRequest) -> None:
        """Leave a request alone for a while, each time for longer, but not past its last call."""
        # A first pause of 0 doubles to 0, and becomes ``FIRST_PAUSE_NS``.
        pause_ns, _ = self._pauses.get(request.id, (0, MonoNs(0)))
        pause_ns = min(LONGEST_PAUSE_NS, 2 * pause_ns or FIRST_PAUSE_NS)
        left_ns = last_call(request) - self._clock.utc()
        rest_ns = min(pause_ns, left_ns) if left_ns > 0 else pause_ns
        self._pauses[request.id] = (pause_ns, MonoNs(self._clock.boot() + rest_ns))

    # The steps

    def _step(self, request: StoredRequest) -> None:
        """Bring one granted request to its end, or as far as it goes."""
        grant, trust = self._reauthorization.require_grant(request)
        # PROTOCOL 9, step 1.
        if self._clock.utc() < grant.request.window.end + SETTLE_NS:
            return
        releases = self._steps.build.make(request, grant, trust)
        sendable = [each for each in releases if each.state in (ReleaseState.BUILT, ReleaseState.UPLOADED)]
        is_waiting = any(each.state is ReleaseState.WAITING for each in releases)
        for release in sendable:
            if release.state is ReleaseState.BUILT:
                # Building and the upload before may have taken hours: each upload has a decision of
                # its own (O9).
                self._reauthorization.require_grant(request)
                self._upload(request, release, sendable)
                self._pauses.pop(request.id, None)  # its payload made room: what waits for that is tried soon
        if is_waiting:
            self._tell_waiting(request, grant)
            raise PutOffError
        if sendable:
            self._demand_still_there(request)
        # Last (R2): every payload is at its server, and was asked for once more.
        self._steps.give_key.hand_over(request)

    def _tell_waiting(self, request: StoredRequest, grant: Grant) -> None:
        """Tell the RTCC, if it believes in an upload, that the rest is not built yet: once, not at every try."""
        with self._store.transaction() as connection:
            step = RequestStep(Event.REST_WAITS, self._clock.utc(), answer=tell_queued(grant))
            self._register.apply(connection, request.id, step)

    def _upload(self, request: StoredRequest, release: StoredRelease, all_of_it: list[StoredRelease]) -> None:
        turn_ends = self._clock.boot() + TURN_NS

        def should_stop() -> bool:
            return self._stop.is_set() or (self._clock.boot() >= turn_ends and self._others_wait(request))

        try:
            if not self._steps.upload.upload(request, release, all_of_it, should_stop):
                raise _StoppedError
        except UploadRefusedError as error:
            self._end_refused(request, release.camera, error)

    def _demand_still_there(self, request: StoredRequest) -> None:
        """Put the key off if the server has lost what was uploaded, perhaps hours ago: that is built anew."""
        try:
            if self._steps.upload.drop_lost(request):
                raise PutOffError
        except UploadRefusedError as error:
            self._end_refused(request, None, error)

    def _end_refused(self, request: StoredRequest, camera: str | None, error: UploadRefusedError) -> NoReturn:
        log.error("upload is refused request=%d: %s", request.id, error)
        reasons = ({"code": "upload-refused", "camera": camera},)
        self._reauthorization.end(request, Event.FAILURE, "failed", reasons)
        raise WithdrawnError from error

    def _others_wait(self, request: StoredRequest) -> bool:
        return any(each.id != request.id and self._is_due(each) for each in self._open())

"""Carries out grants: bundle, upload, key; each step after one more decision and in a transaction of its own.

The order is the promise (PROTOCOL 9): the ledger's ``release`` entry is durable before the first byte leaves, and the
age headers leave only after the last byte is there and the gate has said yes once more. A kill at any point repeats
nothing that counts and loses nothing.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from edge_agent.clock import Clock, ClockState
from edge_agent.consent.verdict import Ask, Grant, Reason
from edge_agent.errors import EdgeAgentError, UploadRefusedError
from edge_agent.reasons import TRANSIENT
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs
from edge_agent.uplink import ledger
from edge_agent.uplink.answers import DeliveredFile, Note, Status
from edge_agent.uplink.docket import UNDER_WAY, Docket, WithdrawnError, encode_reasons, notes_of
from edge_agent.uplink.judge import Judge
from edge_agent.uplink.maker import LATE, BundleMaker, last_call
from edge_agent.uplink.payload import covers, target_of
from edge_agent.uplink.staging import Staging
from edge_agent.uplink.store import ReleaseState, RequestState, Store, StoredRelease, StoredRequest

log = logging.getLogger(__name__)

POLL_S = 0.5
FIRST_PAUSE_NS = 2 * SECOND_NS
LONGEST_PAUSE_NS = 5 * MINUTE_NS
SETTLE_NS = 5 * SECOND_NS
"""How long after a window's end its last record is certainly in the ring: a record spans at most two seconds."""
TURN_NS = 10 * MINUTE_NS
"""How long one upload may keep others that are due from going on."""
_TELL_EVERY_NS = 10 * SECOND_NS


class Uploader(Protocol):
    """Carries one payload to its target."""

    def upload(
        self,
        release: StoredRelease,
        target: str,
        remember: Callable[[str], None],
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Go on where it stopped; True when the last byte is there, False where ``should_stop`` ended it.

        Raises:
            UploadRefusedError: The target will never take it.
            DeliveryError: Trying again may mend it.
        """

    def forget(self, release: StoredRelease, target: str) -> None:
        """Ask the target to delete what it has of a release that was withdrawn; DeliveryError where it does not."""


class _StoppedError(Exception):
    """The process ends, or it is others' turn: go no further for now."""


class _WaitsError(Exception):
    """Something of the request cannot be built now."""


class ReleaseWorker:
    """The thread that carries out grants, one request at a time.

    Args:
        store: Where every step is durable.
        judge: Decides anew before each step.
        docket: Writes entries and answers.
        maker: Makes bundles.
        uploader: Uploads them.
        staging: Where payloads wait.
        clock: Decides what is due.
        on_end: Told of every request that ended here, after its transaction.
        stop: Ends the thread.
    """

    def __init__(
        self,
        store: Store,
        judge: Judge,
        docket: Docket,
        maker: BundleMaker,
        uploader: Uploader,
        staging: Staging,
        clock: Clock,
        on_end: Callable[[StoredRequest], None],
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._judge = judge
        self._docket = docket
        self._maker = maker
        self._uploader = uploader
        self._staging = staging
        self._clock = clock
        self._on_end = on_end
        self._stop = stop
        self._wake = threading.Event()
        self._forgetting: deque[tuple[StoredRelease, str]] = deque(maxlen=64)
        self._pauses: dict[int, tuple[int, MonoNs]] = {}
        self._thread = threading.Thread(target=self._run, name="release")

    def start(self) -> None:
        """Delete what no release names, and begin."""
        self.sweep()
        self._thread.start()

    def sweep(self) -> None:
        """Delete what no release waits to upload: what a kill left behind."""
        releases = [each for request in self._open() for each in self._store.list_releases(request.id)]
        self._staging.sweep([each.file for each in releases if each.state is ReleaseState.BUILT])

    def wake(self) -> None:
        """Look at once for what is due."""
        self._wake.set()

    def join(self, timeout_s: float = 15.0) -> None:
        """Wait until the thread has ended after ``stop``."""
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def confirm(self, request_id: int) -> bool:
        """Decide once more on a request whose age headers wait in the outbox, and note that they leave now.

        Decision and note are one transaction: what the owner takes back before it stays closed, and what they would
        take back after it may be with the broker already, acknowledged or not.

        Returns:
            False where they must not leave: they were taken back, now or before, or wait for a believable clock.
        """
        with self._store.transaction() as connection:
            if not self._store.has_waiting_key(connection, request_id):
                return False
            if self._clock.state() is not ClockState.SYNCHRONISED:
                return False
            request = self._store.read_request(request_id)
            is_granted = self._confirm(connection, request)
        if not request.is_handed_over:
            self._on_end(self._store.read_request(request_id))
        return is_granted

    def _confirm(self, connection: sqlite3.Connection, request: StoredRequest) -> bool:
        now = self._clock.utc()
        verdict = self._judge.decide_again(request, now)
        if _passes_by_itself(verdict) and now < request.release_by:
            return False
        releases = [each for each in self._store.list_releases(request.id) if each.state is ReleaseState.DELIVERED]
        if isinstance(verdict, Grant) and all(self._covers(verdict, each) for each in releases):
            self._store.mark_handed_over(connection, request.id)
            return True
        if request.is_handed_over:  # this would be a repetition: there is nothing to end any more
            self._store.drop_key(connection, request.id)
        else:
            self._docket.withdraw(connection, request, *_end_of(verdict, is_late=now >= request.release_by), now)
        return False

    def discard(self, request_id: int) -> None:
        """Delete the payloads of a request that was withdrawn, here and, as far as it goes, at their targets."""
        request = self._store.read_request(request_id)
        for release in self._store.list_releases(request_id):
            self._staging.remove(release.file)
            self._forget_later(request, release)
        self._wake.set()

    def _forget_later(self, request: StoredRequest, release: StoredRelease) -> None:
        if release.upload_url and release.state is not ReleaseState.DELIVERED:
            self._forgetting.append((release, target_of(request)))

    def _forget(self) -> None:
        """Have one upload deleted: one a turn, so that a server that does not answer holds up no release."""
        if not self._forgetting:
            return
        release, target = self._forgetting.popleft()
        try:
            self._uploader.forget(release, target)
        except Exception as error:
            # Without its age header it can be opened by nobody: this is tidiness, and is not tried for ever.
            log.warning("upload stays at its target, closed: file=%s: %s", release.file, error)

    def _open(self) -> list[StoredRequest]:
        return self._store.list_requests(UNDER_WAY)[::-1]

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(POLL_S)
            self._wake.clear()
            try:
                self.turn()
            except Exception:  # such as a disk that fails: nothing may end this thread
                log.exception("releases wait and are looked at again")
                self._stop.wait(POLL_S)

    def turn(self) -> None:
        """Carry every release on that is due, once; the body of the thread."""
        self._forget()
        if self._clock.state() is not ClockState.SYNCHRONISED:
            return  # nothing is decided, and nothing ended, by a clock that cannot be believed
        for request in self._open():
            if self._stop.is_set():
                return
            if self._is_due(request):
                self._carry_on(request)

    def _carry_on(self, request: StoredRequest) -> None:
        try:
            self._step(request)
        except (_StoppedError, WithdrawnError):
            log.info("release stopped jti=%s", request.jti)
        except _WaitsError:
            self._rest(request)
        except EdgeAgentError as error:
            self._rest(request)
            log.warning("release waits and is tried again jti=%s: %s", request.jti, error)
        except Exception:
            self._rest(request)
            log.exception("release failed jti=%s", request.jti)
        else:
            self._pauses.pop(request.id, None)

    def _others_wait(self, request: StoredRequest) -> bool:
        return any(each.id != request.id and self._is_due(each) for each in self._open())

    def _is_due(self, request: StoredRequest) -> bool:
        _, rests_until = self._pauses.get(request.id, (0, MonoNs(0)))
        return request.due <= self._clock.utc() and self._clock.boot() >= rests_until

    def _rest(self, request: StoredRequest) -> None:
        """Leave a request alone for a while, each time for longer, but not past its last call."""
        pause_ns, _ = self._pauses.get(request.id, (0, MonoNs(0)))
        pause_ns = min(LONGEST_PAUSE_NS, 2 * pause_ns or FIRST_PAUSE_NS)
        left_ns = last_call(request) - self._clock.utc()
        rest_ns = min(pause_ns, left_ns) if left_ns > 0 else pause_ns
        self._pauses[request.id] = (pause_ns, MonoNs(self._clock.boot() + rest_ns))

    # The steps

    def _step(self, request: StoredRequest) -> None:
        """Bring one granted request to its end, or as far as it goes."""
        grant = self._granted(request)
        if grant is None or self._clock.utc() < grant.request.window.end + SETTLE_NS:
            return
        self._maker.make(request, grant)
        releases = self._store.list_releases(request.id)
        sendable = [each for each in releases if each.state in (ReleaseState.BUILT, ReleaseState.UPLOADED)]
        for release in sendable:
            if release.state is ReleaseState.BUILT:
                self._upload(request, release, sendable)
                self._pauses.pop(request.id, None)  # its payload made room: what waits for that is tried soon
        if any(each.state is ReleaseState.WAITING for each in releases):
            self._tell_waiting(request, grant)
            raise _WaitsError
        if sendable:
            self._hand_over(request)
        else:
            self._end_empty(request, releases)

    def _tell_waiting(self, request: StoredRequest, grant: Grant) -> None:
        """Tell the RTCC, where it believes in an upload, that the rest is not built yet: once, not at every try."""
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            if self._store.read_request(request.id).state is RequestState.UPLOADING:
                self._store.update_request(connection, request.id, RequestState.GRANTED)
                self._docket.answer_queued(connection, request, grant, self._clock.utc())

    def _granted(self, request: StoredRequest) -> Grant | None:
        """Decide once more; None where the request has ended by that."""
        now = self._clock.utc()
        current = self._store.read_request(request.id)
        if current.state not in UNDER_WAY:
            raise WithdrawnError
        if self._clock.state() is not ClockState.SYNCHRONISED:
            raise _StoppedError
        verdict = self._judge.decide_again(current, now)
        if _passes_by_itself(verdict) and now < current.release_by:
            raise _WaitsError
        if not isinstance(verdict, Grant):
            self._withdraw(current, *_end_of(verdict, is_late=now >= current.release_by))
            return None
        self._drop_what_is_wider(current, verdict)
        return verdict

    def _drop_what_is_wider(self, request: StoredRequest, grant: Grant) -> None:
        """Delete bundles that hold more than is granted now: they are built anew, with less."""
        for release in self._store.list_releases(request.id):
            if not self._covers(grant, release):
                log.warning("bundle holds more than is granted now: jti=%s camera=%s", request.jti, release.camera)
                self._staging.remove(release.file)
                with self._store.transaction() as connection:
                    self._store.remove_release(connection, release)
                self._forget_later(request, release)

    def _covers(self, grant: Grant, release: StoredRelease) -> bool:
        if release.state is ReleaseState.WAITING:  # nothing is built
            return any(each.camera == release.camera for each in grant.cameras)
        return covers(grant, release.camera, release.info["granted"], self._judge.list_recipients(grant))

    def _upload(self, request: StoredRequest, release: StoredRelease, all_of_it: list[StoredRelease]) -> None:
        total = sum(each.info["size"] for each in all_of_it)
        before = sum(each.info["size"] for each in all_of_it if each.camera < release.camera)
        target = target_of(request)
        told_at = MonoNs(0)
        turn_ends = self._clock.boot() + TURN_NS

        def tell(sent: int) -> None:
            nonlocal told_at
            if self._clock.boot() - told_at >= _TELL_EVERY_NS:
                told_at = self._clock.boot()
                self._tell_progress(request, before + sent, total)

        def should_stop() -> bool:
            if self._stop.is_set():
                return True
            if self._clock.boot() >= turn_ends and self._others_wait(request):
                return True
            current = self._store.read_request(request.id)
            return current.state is not RequestState.UPLOADING or self._clock.utc() >= current.release_by

        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            self._store.update_request(connection, request.id, RequestState.UPLOADING)
        remember: Callable[[str], None] = lambda url: self._store.save_upload_url(release, url)  # noqa: E731
        try:
            is_whole = self._uploader.upload(release, target, remember, tell, should_stop)
        except UploadRefusedError as error:
            log.error("upload is refused jti=%s: %s", request.jti, error)
            self._withdraw(request, RequestState.FAILED, [{"code": "upload-refused", "camera": release.camera}])
            raise _StoppedError from error
        if not is_whole:
            raise _StoppedError
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            self._store.set_release_state(connection, release, ReleaseState.UPLOADED)
        self._staging.remove(release.file)

    def _tell_progress(self, request: StoredRequest, sent: int, total: int) -> None:
        now = self._clock.utc()
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            self._docket.answer(connection, request, now, status=Status.UPLOADING, sent_bytes=sent, total_bytes=total)

    def _hand_over(self, request: StoredRequest) -> None:
        """The last decision, and the age headers: from here on the RTCC can open what it has."""
        grant = self._granted(request)
        if grant is None:
            return
        releases = self._store.list_releases(request.id)
        if {each.camera for each in releases} != {each.camera for each in grant.cameras}:
            return  # Something was dropped or is new: the next round builds it.
        done = [each for each in releases if each.state is ReleaseState.UPLOADED]
        undone = [each for each in releases if each not in done]
        if not done:  # what was uploaded is not granted any more, and the rest could not be built
            self._end_empty(request, releases)
            return
        missing = tuple(Note(each.info.get("reason", "no-footage"), each.camera) for each in undone)
        now = self._clock.utc()
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
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            ledger.append(connection, "delivery", entry, now)
            status = Status.PARTIAL if missing else Status.DELIVERED
            self._docket.answer(connection, request, now, status=status, **members)
            for release in done:
                self._store.set_release_state(connection, release, ReleaseState.DELIVERED)
            self._store.forget_header(connection, request.id)
            self._store.update_request(connection, request.id, RequestState.DELIVERED)
        self.discard(request.id)
        log.info("clip uploaded, its key is due jti=%s cameras=%d", request.jti, len(done))

    def _end_empty(self, request: StoredRequest, releases: list[StoredRelease]) -> None:
        reasons = [{"code": each.info.get("reason", "no-footage"), "camera": each.camera} for each in releases]
        failed = any(each.state is ReleaseState.FAILED for each in releases)
        self._withdraw(request, RequestState.FAILED if failed else RequestState.NO_FOOTAGE, reasons)

    def _withdraw(self, request: StoredRequest, state: RequestState, reasons: Sequence[Mapping[str, Any]]) -> None:
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            self._docket.withdraw(connection, request, state, reasons, self._clock.utc())
        self.discard(request.id)
        log.info("release ended jti=%s state=%s", request.jti, state.value)
        self._on_end(self._store.read_request(request.id))


def _passes_by_itself(verdict: Ask | Grant | tuple[Reason, ...]) -> bool:
    """Tell whether nothing is against a request but what waiting mends: a trust bundle that is not here yet."""
    return isinstance(verdict, tuple) and bool(verdict) and {each.code for each in verdict} <= TRANSIENT


def _end_of(
    verdict: Ask | Grant | tuple[Reason, ...], *, is_late: bool
) -> tuple[RequestState, list[dict[str, str | None]]]:
    """Return how a request ends that is not granted any more, and why."""
    reasons = verdict if isinstance(verdict, tuple) else ()
    if is_late and {each.code for each in reasons} <= {LATE, *TRANSIENT}:
        return RequestState.FAILED, [{"code": LATE, "camera": None}]
    return RequestState.CANCELLED, encode_reasons(reasons)


def _file(release: StoredRelease) -> DeliveredFile:
    return DeliveredFile(
        camera=release.camera,
        upload=release.file,
        sha256=bytes.fromhex(release.info["sha256"]),
        size=release.info["size"],
        age_header=release.header,
    )

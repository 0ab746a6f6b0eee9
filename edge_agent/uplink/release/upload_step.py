"""Payloads on their way: one upload after the other, its progress, and what is deleted when it is withdrawn.

Owns the states between built and uploaded, and the payload's file. What leaves here can be opened by nobody.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.errors import UploadRefusedError
from edge_agent.host.clock import Clock
from edge_agent.protocol.answer import Status
from edge_agent.units import SECOND_NS, MonoNs
from edge_agent.uplink.inbound.register import Docket
from edge_agent.uplink.release.payload import target_of
from edge_agent.uplink.release.staging import PayloadLostError, Staging
from edge_agent.uplink.release.tus import MAX_LOSSES
from edge_agent.uplink.store.requests import ReleaseState, RequestState, Store, StoredRelease, StoredRequest

log = logging.getLogger(__name__)

TELL_EVERY_NS = 10 * SECOND_NS
_TO_FORGET = 64


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
            PayloadLostError: The staged payload is not there any more, or not whole.
            DeliveryError: Trying again may mend it.
        """

    def has_whole(self, release: StoredRelease, target: str) -> bool:
        """Tell whether the target still has the last byte of an upload; DeliveryError where it does not answer."""

    def forget(self, release: StoredRelease, target: str) -> None:
        """Ask the target to delete what it has of a release that was withdrawn; DeliveryError where it does not."""


class Shipping:
    """Uploads payloads, and deletes them.

    Args:
        store: Where every step is durable.
        docket: Tells the RTCC how far an upload is.
        uploader: Uploads one.
        staging: Where payloads wait.
        clock: For progress and deadlines.
    """

    def __init__(self, store: Store, docket: Docket, uploader: Uploader, staging: Staging, clock: Clock) -> None:
        self._store = store
        self._docket = docket
        self._uploader = uploader
        self._staging = staging
        self._clock = clock
        self._losses: dict[int, int] = {}
        self._forgetting: deque[tuple[StoredRelease, str]] = deque(maxlen=_TO_FORGET)

    def sweep(self, requests: Sequence[StoredRequest]) -> None:
        """Delete what none of these requests waits to upload: what a kill left behind."""
        releases = [each for request in requests for each in self._store.list_releases(request.id)]
        self._staging.sweep([each.file for each in releases if each.state is ReleaseState.BUILT])

    def upload(
        self,
        request: StoredRequest,
        release: StoredRelease,
        all_of_it: Sequence[StoredRelease],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Upload one payload, or go on with it; it stays until ``make_room`` or ``discard``.

        Args:
            request: To which it belongs.
            release: What is built of one camera.
            all_of_it: Everything of the request that is built, for the progress that is told.
            should_stop: Asked between pieces.

        Returns:
            False where it was stopped, by ``should_stop``, the request's end, or its ``release_by``.

        Raises:
            WithdrawnError: The request is not under way any more.
            UploadRefusedError: The target will never take it.
            PayloadLostError: The payload was lost at home; its release is dropped, to be built anew.
            DeliveryError: Trying again may mend it.
        """
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request)
            self._store.update_request(connection, request.id, RequestState.UPLOADING)

        def remember(url: str) -> None:
            self._store.save_upload_url(release, url)

        def is_over() -> bool:
            current = self._store.read_request(request.id)
            is_dropped = release.camera not in {each.camera for each in self._store.list_releases(request.id)}
            is_open = current.state is RequestState.UPLOADING and not is_dropped
            return not is_open or self._clock.utc() >= current.release_by

        tell = self._teller(request, release, all_of_it)
        try:
            if not self._uploader.upload(
                release, target_of(request), remember, tell, lambda: should_stop() or is_over()
            ):
                return False
        except PayloadLostError:
            self._drop_open(request, release)
            raise
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request, release)
            self._store.set_release_state(connection, release, ReleaseState.UPLOADED)
        return True

    def drop_lost(self, request: StoredRequest) -> bool:
        """Ask the target for everything of a request that was uploaded; drop what it lost since, to be built anew.

        Returns:
            Whether anything was lost.

        Raises:
            WithdrawnError: The request is not under way any more.
            UploadRefusedError: The target lost it again and again.
            DeliveryError: The target does not answer.
        """
        uploaded = [each for each in self._store.list_releases(request.id) if each.state is ReleaseState.UPLOADED]
        lost = [each for each in uploaded if not self._uploader.has_whole(each, target_of(request))]
        for release in lost:
            log.warning("upload server has lost a payload: jti=%s camera=%s", request.jti, release.camera)
            self._drop_open(request, release)
        if not lost:
            self._losses.pop(request.id, None)
            return False
        self._losses[request.id] = self._losses.get(request.id, 0) + 1
        if self._losses[request.id] > MAX_LOSSES:
            raise UploadRefusedError("upload server loses what it has acknowledged, again and again")
        return True

    def make_room(self, release: StoredRelease) -> None:
        """Delete the payload of what is uploaded."""
        self._staging.remove(release.file)

    def _teller(
        self, request: StoredRequest, release: StoredRelease, all_of_it: Sequence[StoredRelease]
    ) -> Callable[[int], None]:
        """Return what tells the RTCC of an upload's progress, now and then."""
        total = sum(each.info["size"] for each in all_of_it)
        before = sum(each.info["size"] for each in all_of_it if each.camera < release.camera)
        told_at = MonoNs(0)

        def tell(sent: int) -> None:
            nonlocal told_at
            if self._clock.boot() - told_at < TELL_EVERY_NS:
                return
            told_at = self._clock.boot()
            with self._store.transaction() as connection:
                self._docket.demand_open(connection, request)
                self._docket.answer(
                    connection,
                    request,
                    self._clock.utc(),
                    status=Status.UPLOADING,
                    sent_bytes=before + sent,
                    total_bytes=total,
                )

        return tell

    def drop(self, request: StoredRequest, release: StoredRelease) -> None:
        """Delete one camera's payload and its release; it may be built anew."""
        self._staging.remove(release.file)
        with self._store.transaction() as connection:
            self._store.remove_release(connection, release)
        self._forget_later(request, release)

    def _drop_open(self, request: StoredRequest, release: StoredRelease) -> None:
        """Drop a release whose payload is lost; not where a withdrawal has just deleted it."""
        with self._store.transaction() as connection:
            self._docket.demand_open(connection, request, release)
            self.drop(request, release)

    def clear_away(self, request: StoredRequest, releases: Sequence[StoredRelease]) -> None:
        """Delete the payloads of releases that were removed, here and, as far as it goes, at their targets."""
        for release in releases:
            self._staging.remove(release.file)
            self._forget_later(request, release)

    def discard(self, request_id: int) -> None:
        """Delete the payloads of a request that was withdrawn, here and, as far as it goes, at their targets."""
        request = self._store.read_request(request_id)
        for release in self._store.list_releases(request_id):
            self._staging.remove(release.file)
            self._forget_later(request, release)

    def _forget_later(self, request: StoredRequest, release: StoredRelease) -> None:
        # What was handed over is the RTCC's; a key that only waited in the outbox was not.
        if release.upload_url and not request.is_handed_over:
            self._forgetting.append((release, target_of(request)))

    def forget_one(self) -> None:
        """Have one withdrawn upload deleted: one a turn, so that a server that does not answer holds up no release."""
        if not self._forgetting:
            return
        release, target = self._forgetting.popleft()
        try:
            self._uploader.forget(release, target)
        except Exception as error:
            # Without its age header it can be opened by nobody: this is tidiness, and is not tried for ever.
            log.warning("upload stays at its target, closed: file=%s: %s", release.file, error)

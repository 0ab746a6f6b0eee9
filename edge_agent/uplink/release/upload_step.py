"""Payloads on their way: one upload after the other, its progress, and its deletion when it is withdrawn.

Owns the states between built and uploaded, and the payload's file. Nobody can open a payload that leaves here before
the key step has handed out its age header.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edge_agent.errors import UploadRefusedError
from edge_agent.host.clock import Clock
from edge_agent.protocol import jws
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.units import MINUTE_NS, SECOND_NS, MonoNs
from edge_agent.uplink.inbound.lifecycle import CameraEvent, Event
from edge_agent.uplink.inbound.register import Aftermath, RequestRegister
from edge_agent.uplink.inbound.steps import CameraStep, RequestStep
from edge_agent.uplink.release.staging import PayloadLostError, Staging
from edge_agent.uplink.release.tus import MAX_LOSSES
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.releases import ReleaseState, StoredRelease
from edge_agent.uplink.store.requests import RequestState, StoredRequest

log = logging.getLogger(__name__)

TELL_EVERY_NS = 10 * SECOND_NS
"""Progress is an answer each: more of them would cost the RTCC rows and tell it nothing new."""
MAX_TRIES = 12
"""At ``FORGET_AGAIN_NS`` apart: an hour or more. The rest is ciphertext that no key opens."""
FORGET_AGAIN_NS = 5 * MINUTE_NS
"""After a server did not delete an upload."""


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
        """Go on where it stopped; True when the last byte is there, False if ``should_stop`` ended it.

        Raises:
            UploadRefusedError: The target will never take it.
            PayloadLostError: The staged payload is not there any more, or not whole.
            DeliveryError: Trying again may mend it.
        """

    def has_whole(self, release: StoredRelease, target: str) -> bool:
        """Tell whether the target still has the last byte of an upload; DeliveryError if it does not answer."""

    def forget(self, url: str, target: str) -> None:
        """Ask the target to delete its part of an upload that was withdrawn; DeliveryError if it does not."""


class UploadStep:
    """Uploads payloads, and deletes them.

    Args:
        store: Where every step is durable.
        register: Tells the RTCC how far an upload is.
        uploader: Uploads one.
        staging: Where payloads wait.
        clock: For progress and deadlines.
    """

    def __init__(
        self, store: Database, register: RequestRegister, uploader: Uploader, staging: Staging, clock: Clock
    ) -> None:
        self._store = store
        self._register = register
        self._uploader = uploader
        self._staging = staging
        self._clock = clock
        self._losses: dict[int, int] = {}
        self._forget_at = MonoNs(0)

    def sweep(self, requests: Sequence[StoredRequest]) -> None:
        """Delete the payloads that none of these requests waits to upload: the rest that a kill left."""
        releases = [each for request in requests for each in self._store.releases.list_of(request.id)]
        self._staging.sweep([each.file for each in releases if each.state is ReleaseState.BUILT])

    def upload(
        self,
        request: StoredRequest,
        release: StoredRelease,
        all_of_it: Sequence[StoredRelease],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Upload one payload, or go on with it; with its last byte it is deleted here.

        Args:
            request: To which it belongs.
            release: The payload that is built of one camera.
            all_of_it: Everything of the request that is built, for the progress that is told.
            should_stop: Asked between pieces.

        Returns:
            False if it was stopped, by ``should_stop``, the request's end, its ``release_by``, or because the camera
            left the bound.

        Raises:
            WithdrawnError: The request is not under way any more.
            UploadRefusedError: The target will never take it.
            PayloadLostError: The payload was lost at home; its release is dropped, to be built anew.
            DeliveryError: Trying again may mend it.
        """
        with self._store.transaction() as connection:
            if not self._is_here(release):
                return False
            self._register.apply(connection, request.id, RequestStep(Event.UPLOAD, self._clock.utc()))

        def remember(url: str) -> None:
            self._store.releases.save_upload_url(release, url)

        def is_over() -> bool:
            # R3: asked between two pieces, so that a pause or a revocation stops an upload that is
            # under way.
            current = self._store.requests.read(request.id)
            is_open = current.state is RequestState.UPLOADING and self._is_here(release)
            return not is_open or self._clock.utc() >= current.release_by

        tell = self._teller(request, release, all_of_it)
        try:
            if not self._uploader.upload(
                release, _target_of(request), remember, tell, lambda: should_stop() or is_over()
            ):
                return False
        except PayloadLostError:
            self._record(request, release, CameraEvent.LOSE)
            raise
        # The only copy at home goes with this event: the server was asked for the whole just before
        # (A6).
        self._record(request, release, CameraEvent.UPLOAD)
        return True

    def _is_here(self, release: StoredRelease) -> bool:
        """Tell whether a camera's release is still a part of its request."""
        return release.file in {each.file for each in self._store.releases.list_of(release.request_id)}

    def drop_lost(self, request: StoredRequest) -> bool:
        """Ask the target for every uploaded payload of a request; drop those that it lost since, to be built anew.

        Returns:
            Whether anything was lost.

        Raises:
            WithdrawnError: The request is not under way any more.
            UploadRefusedError: The target lost it again and again.
            DeliveryError: The target does not answer.
        """
        uploaded = [each for each in self._store.releases.list_of(request.id) if each.state is ReleaseState.UPLOADED]
        lost = [each for each in uploaded if not self._uploader.has_whole(each, _target_of(request))]
        for release in lost:
            log.warning("upload server has lost a payload: request=%d camera=%s", request.id, release.camera)
            self._record(request, release, CameraEvent.LOSE)
        if not lost:
            self._losses.pop(request.id, None)
            return False
        self._losses[request.id] = self._losses.get(request.id, 0) + 1
        if self._losses[request.id] > MAX_LOSSES:
            raise UploadRefusedError("upload server loses what it has acknowledged, again and again")
        return True

    def _teller(
        self, request: StoredRequest, release: StoredRelease, all_of_it: Sequence[StoredRelease]
    ) -> Callable[[int], None]:
        """Return a function that tells the RTCC of an upload's progress, at most every ``TELL_EVERY_NS``."""
        total = sum(each.bundle.size for each in all_of_it)
        before = sum(each.bundle.size for each in all_of_it if each.camera < release.camera)
        told_at = MonoNs(0)

        def tell(sent: int) -> None:
            nonlocal told_at
            if self._clock.boot() - told_at < TELL_EVERY_NS:
                return
            told_at = self._clock.boot()
            with self._store.transaction() as connection:
                members = {"sent_bytes": before + sent, "total_bytes": total}
                self._register.apply(
                    connection, request.id, RequestStep(Event.PROGRESS, self._clock.utc(), answer=members)
                )

        return tell

    def _record(self, request: StoredRequest, release: StoredRelease, happened: CameraEvent) -> None:
        """Record one camera's event; WithdrawnError if a withdrawal came before it."""
        aftermath = Aftermath()
        step = RequestStep(Event.CAMERA, self._clock.utc(), cameras={release.camera: CameraStep(happened)})
        with self._store.transaction() as connection:
            self._register.apply(connection, request.id, step, aftermath)
        for gone in aftermath.payloads:  # if a kill prevents it, `sweep` does it
            self._staging.remove(gone.file)

    def forget_one(self) -> None:
        """Have one withdrawn upload deleted: one a turn, so that a server that does not answer holds up no release.

        The withdrawal has stored which ones. Without its age header nobody can open it: this is tidiness, and is
        given up after ``MAX_TRIES``.
        """
        doomed = None if self._clock.boot() < self._forget_at else self._store.releases.find_doomed_upload()
        if doomed is None:
            return
        try:
            self._uploader.forget(doomed.url, _target_of(self._store.requests.read(doomed.request_id)))
        except Exception as error:
            log.warning("upload stays at its target for now, closed: file=%s: %s", doomed.file, error)
            self._forget_at = MonoNs(self._clock.boot() + FORGET_AGAIN_NS)
            self._store.releases.put_off_doomed(doomed, MAX_TRIES)
        else:
            self._store.releases.put_off_doomed(doomed, 0)


def _target_of(request: StoredRequest) -> str:
    """Return the name of the upload target that a verified request asks for."""
    payload: Any = jws.parse(request.raw, REQUEST_TYP).payload
    return str(payload["deliver"])

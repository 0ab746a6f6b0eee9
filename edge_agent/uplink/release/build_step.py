"""Builds the bundle of every camera of a grant (PROTOCOL 9, step 3), or puts it off and keeps the reason.

Each bundle has one ``grant`` entry in the ledger, however often it is tried. A failure that may
mend by itself (no room in the staging folder, a ring or a disk that fails, one crash of the clip
child) is tried again as often as the caller comes back, until the last call before ``release_by``.
A failure that cannot mend ends the bundle at once. Never builds under a grant that the ledger does
not hold.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from edge_agent.errors import EdgeAgentError, RingError
from edge_agent.host.clock import Clock
from edge_agent.ledger import table as ledger
from edge_agent.ledger.request_kinds import BundleEntry, GivenUpEntry
from edge_agent.protocol.answer import upload_name
from edge_agent.protocol.trust_bundle import Recipient, TrustBundle, list_recipients
from edge_agent.protocol.verdict import CameraGrant, Grant
from edge_agent.units import MINUTE_NS, UtcNs, encode_rfc3339
from edge_agent.uplink.bundle.rings import NotRecordedError
from edge_agent.uplink.bundle.writer import BundleInfo
from edge_agent.uplink.clip.cutter import ClipError
from edge_agent.uplink.inbound import steps
from edge_agent.uplink.inbound.lifecycle import CameraEvent
from edge_agent.uplink.inbound.register import Aftermath, RequestRegister, WithdrawnError
from edge_agent.uplink.inbound.steps import LATE, RequestStep, describe_grant
from edge_agent.uplink.release.payload import describe
from edge_agent.uplink.release.staging import Staging, StagingFullError
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.releases import Bundle, Ended, ReleaseState, StoredRelease, Waiting
from edge_agent.uplink.store.requests import StoredRequest

log = logging.getLogger(__name__)

LAST_CALL_NS = MINUTE_NS
"""So long before ``release_by`` nothing is waited for any more: an uploaded payload can still be handed over."""
MAX_CRASHES = 2
"""The same footage that ends the clip child so often will do it again."""


class Builder(Protocol):
    """Makes one camera's bundle."""

    def build(
        self,
        grant: Grant,
        camera: CameraGrant,
        recipients: tuple[Recipient, ...],
        proof: Mapping[str, object],
        out: Any,
    ) -> BundleInfo:
        """Write the age payload to ``out``; the header comes back apart."""


def last_call(request: StoredRequest) -> UtcNs:
    """Return when the last try of a request's bundles is over."""
    return UtcNs(request.release_by - LAST_CALL_NS)


class BuildStep:
    """Makes the bundles of requests, one at a time.

    Args:
        store: Where every step is durable.
        register: Enters grants, and stops what was withdrawn meanwhile.
        builder: Makes one bundle.
        staging: Where payloads wait.
        sign: Signs a checkpoint inside a transaction: ``ledger.checkpoint`` with the gateway's key.
        clock: Tells when it is too late to try again.
    """

    def __init__(
        self,
        store: Database,
        register: RequestRegister,
        builder: Builder,
        staging: Staging,
        sign: Callable[[sqlite3.Connection, UtcNs], object],
        clock: Clock,
    ) -> None:
        self._store = store
        self._register = register
        self._builder = builder
        self._staging = staging
        self._sign = sign
        self._clock = clock

    def make(self, request: StoredRequest, grant: Grant, trust: TrustBundle | None) -> list[StoredRelease]:
        """Build the bundles of a grant that are missing.

        Returns:
            A release for each of its cameras, perhaps a waiting one, in the order of their names.

        Raises:
            WithdrawnError: The request was withdrawn meanwhile.
        """
        found = {each.camera: each for each in self._store.releases.list_of(request.id)}
        for camera in grant.cameras:
            earlier = found.get(camera.camera)
            if earlier is None or earlier.state is ReleaseState.WAITING:
                self._make(request, grant, camera, earlier, trust)
        return self._store.releases.list_of(request.id)

    def _make(
        self,
        request: StoredRequest,
        grant: Grant,
        camera: CameraGrant,
        earlier: StoredRelease | None,
        trust: TrustBundle | None,
    ) -> None:
        granted = describe(grant, camera, trust)
        if earlier is not None and earlier.waiting.tries and self._is_last_call(request):
            self._give_up(request, earlier, granted)
            return
        release, proof = self._enter(request, grant, camera, earlier)
        try:
            # R1: the payload and its name are synced when this block ends, before `_keep` enters
            # its digest.
            with self._staging.create(release.file, release.waiting.needs) as out:
                info = self._builder.build(grant, camera, list_recipients(trust, escrow=grant.escrow), proof, out)
        except (EdgeAgentError, OSError) as error:
            self._put_off(request, release, granted, error)
            return
        try:
            self._keep(request, release, granted, info)
        except BaseException:  # withdrawn while it was built, or not durable: nobody else knows of this file
            self._staging.remove(release.file)
            raise

    def _enter(
        self, request: StoredRequest, grant: Grant, camera: CameraGrant, earlier: StoredRelease | None
    ) -> tuple[StoredRelease, Mapping[str, object]]:
        """Enter the grant, once however often its bundle is tried; return what waits, and the proof of the entry."""
        known = None if earlier is None else earlier.waiting.entry
        now = self._clock.utc()
        with self._store.transaction() as connection:
            bound = self._register.demand_open(request).bound
            # O9, inside the transaction that enters the grant: a revocation comes wholly before it
            # or wholly after it.
            if bound is None or bound.find(camera.camera) is None:  # it left while another camera's bundle was built
                raise WithdrawnError
            entry = describe_grant(grant, camera)
            # A grant that has changed since gets an entry of its own: a bundle is built under what its entry says.
            if earlier is None or known is None or ledger.read_entry(connection, known) != entry.members():
                known = ledger.read_size(connection)  # of the entry that this step makes
                name = upload_name(self._register.gateway, request.jti, camera.camera)
                info = Waiting(known)
                earlier = StoredRelease(request.id, camera.camera, ReleaseState.WAITING, name, info, b"", "")
                self._register.apply(connection, request.id, steps.camera(CameraEvent.ENTER, earlier, now, entry))
                # Signed before the proof below: the bundle carries a proof against a checkpoint
                # that holds its own grant.
                self._sign(connection, now)
            return earlier, ledger.prove(connection, known)

    def _keep(
        self, request: StoredRequest, release: StoredRelease, granted: Mapping[str, Any], info: BundleInfo
    ) -> None:
        """Make a built bundle durable, and its ledger entry with it: before the first byte leaves."""
        # R1: this entry is durable before the worker may upload the first byte.
        entry = BundleEntry(
            jti=request.jti,
            iss=request.iss,
            incident=request.incident,
            camera=release.camera,
            outcome="built" if info.has_footage else "no-footage",
            bundle_sha256=info.sha256,
            manifest_sha256=info.manifest_sha256,
            size=info.size,
            delivered=tuple(info.delivered),
            number=request.id,
        )
        if info.has_footage:
            happened, built = CameraEvent.BUILD, replace(release, info=_bundle(granted, info), header=info.age_header)
        else:
            happened, built = CameraEvent.EMPTY, replace(release, info=Ended(granted, "no-footage"))
        self._record(request, steps.camera(happened, built, self._clock.utc(), entry))
        log.info(
            "bundle built request=%d camera=%s bytes=%d outcome=%s",
            request.id,
            release.camera,
            info.size,
            entry.outcome,
        )

    def _put_off(
        self, request: StoredRequest, release: StoredRelease, granted: Mapping[str, Any], error: Exception
    ) -> None:
        """Remember why a bundle could not be made, for the next try; give it up if there will be none."""
        log.warning("bundle cannot be built request=%d camera=%s: %s", request.id, release.camera, error)
        happened, info = after_failure(release.waiting, error)
        tried = replace(release, info=info)
        if happened is CameraEvent.PUT_OFF and not self._is_last_call(request):
            self._record(request, steps.camera(happened, tried, self._clock.utc()))
        else:
            self._give_up(request, tried, granted, happened)

    def _give_up(
        self,
        request: StoredRequest,
        release: StoredRelease,
        granted: Mapping[str, Any],
        happened: CameraEvent = CameraEvent.GIVE_UP,
    ) -> None:
        reason = release.waiting.reason or LATE
        log.error("bundle is given up request=%d camera=%s reason=%s", request.id, release.camera, reason)
        entry = GivenUpEntry(request.jti, request.iss, release.camera, reason, number=request.id)
        happened = CameraEvent.GIVE_UP if happened is CameraEvent.PUT_OFF else happened
        ended = replace(release, info=Ended(granted, reason))
        self._record(request, steps.camera(happened, ended, self._clock.utc(), entry))

    def _record(self, request: StoredRequest, step: RequestStep) -> None:
        aftermath = Aftermath()
        with self._store.transaction() as connection:
            self._register.apply(connection, request.id, step, aftermath)
        # After the commit: a kill in between leaves a file that no release names, and the next
        # sweep takes it.
        for release in aftermath.payloads:
            self._staging.remove(release.file)

    def _is_last_call(self, request: StoredRequest) -> bool:
        return self._clock.utc() >= last_call(request)


def after_failure(waiting: Waiting, error: Exception) -> tuple[CameraEvent, Waiting]:
    """Return the outcome of a failed try, put off or at its end, and the facts that are known then. Pure."""
    known = replace(waiting, tries=waiting.tries + 1)
    match error:
        case NotRecordedError():
            return CameraEvent.NOT_HERE, replace(known, reason=error.code)
        case StagingFullError():
            known = replace(known, reason="staging-full", needs=max(known.needs, error.needs_bytes))
            return CameraEvent.GIVE_UP if error.is_final else CameraEvent.PUT_OFF, known
        case ClipError():
            known = replace(known, reason="clip-failed", crashes=known.crashes + 1)
            return CameraEvent.GIVE_UP if known.crashes >= MAX_CRASHES else CameraEvent.PUT_OFF, known
        # A disk may come back within the request's time; the last call bounds the tries.
        case RingError() | OSError():
            return CameraEvent.PUT_OFF, replace(known, reason="clip-failed")
    # Such as consent that changed under the builder's hands: the next decision knows more.
    return CameraEvent.PUT_OFF, replace(known, reason=None)


def _bundle(granted: Mapping[str, Any], info: BundleInfo) -> Bundle:
    return Bundle(
        granted,
        info.sha256.hex(),
        info.size,
        tuple(map(str, info.delivered)),
        tuple(
            {"start": encode_rfc3339(gap.start), "end": encode_rfc3339(gap.end), "reason": gap.reason}
            for gap in info.gaps
        ),
    )

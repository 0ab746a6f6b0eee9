"""The trust bundle in use: taken from a retained message or a file, kept across restarts, never rolled back."""

import logging

from edge_agent.host.clock import Clock
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.jws import deny
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.trust_bundle import Roots, TrustBundle, encode_roots, make_roots, verify_trust
from edge_agent.units import ClockState, encode_rfc3339
from edge_agent.uplink.store.database import Database

log = logging.getLogger(__name__)


def pin_roots(enrolment: Enrolment) -> Roots:
    """Return the roots that an enrolment pins, and how many of them have to sign."""
    return Roots(enrolment.threshold, {thumbprint(root): root for root in enrolment.roots})


class TrustStore:
    """Holds the newest verified trust bundle.

    Args:
        store: Keeps it across restarts.
        pinned: The roots of the enrolment; they count until a first bundle was accepted. None before enrolment: then
            no bundle is in use and none is taken, and the one that is kept stays for the enrolment that it belongs to.
        clock: Judges bundles from the future.
    """

    def __init__(self, store: Database, pinned: Roots | None, clock: Clock) -> None:
        self._store = store
        self._pinned = pinned
        self._clock = clock
        self._bundle = None if pinned is None else self._load(pinned)

    def _load(self, pinned: Roots) -> TrustBundle | None:
        kept = self._store.trust.load()
        if kept is None:
            return None
        raw, roots = kept
        # Verified again with the roots that it was verified with: after two rotations the pinned ones are gone. Whether
        # it was from the future was judged then: a clock that lost the time must not keep the process from starting.
        original = make_roots(roots["threshold"], roots["keys"])
        bundle = verify_trust(raw, original, None, self._clock.utc(), ClockState.FLOOR_ONLY)
        self._raise_floors(original, bundle)
        if roots.get("pinned") != _name(pinned):
            # Enrolled anew: perhaps because the old root keys were stolen, and then the thief signed this bundle.
            log.warning("trust bundle was accepted under other pinned roots and is dropped")
            self._store.trust.forget()
            return None
        return bundle

    def _raise_floors(self, verified_by: Roots, bundle: TrustBundle) -> None:
        roots = {*verified_by.keys, *bundle.roots.keys}
        self._store.trust.raise_floors(roots, bundle.version, bundle.payload_sha256)

    @property
    def bundle(self) -> TrustBundle | None:
        """The bundle in use, which may have expired: then every request is denied."""
        return self._bundle

    def take(self, raw: bytes) -> TrustBundle:
        """Verify a bundle and use it from now on.

        Raises:
            DenialError: It does not verify, or is older; the one in use stays in use.
        """
        if self._pinned is None:
            deny("trust-missing")
        current = self._bundle
        bundle = verify_trust(raw, self._pinned, current, self._clock.utc(), self._clock.state())
        if current is None or bundle.version > current.version:
            roots = self._pinned if current is None else current.roots
            self._refuse_below_floor(roots, bundle)
            # T5: the floor rises with the bundle, or neither does: a kill in between would allow a
            # rollback.
            with self._store.transaction():
                self._raise_floors(roots, bundle)
                self._store.trust.save(bundle.version, raw, {**encode_roots(roots), "pinned": _name(self._pinned)})
            log.info("trust bundle in use version=%d expires=%s", bundle.version, encode_rfc3339(bundle.expires))
        self._bundle = bundle
        return bundle

    def _refuse_below_floor(self, verified_by: Roots, bundle: TrustBundle) -> None:
        """Refuse a bundle that is older than any that its roots ever led to, forgotten ones included (PROTOCOL T5)."""
        floor = self._store.trust.find_floor({*verified_by.keys, *bundle.roots.keys})
        if floor is None or floor == (bundle.version, bundle.payload_sha256) or bundle.version > floor[0]:
            return
        deny("trust-rollback", version=floor[0])


def _name(roots: Roots) -> list[str]:
    """Name a set of roots, so that it can be told from another."""
    return [str(roots.threshold), *sorted(roots.keys)]

"""The trust bundle in use: taken from a retained message or a file, kept across restarts, never rolled back."""

import logging

from edge_agent.clock import Clock
from edge_agent.units import UtcNs, encode_rfc3339
from edge_agent.uplink.store import Store
from edge_agent.uplink.trust import Recipient, Roots, TrustBundle, encode_roots, make_roots, verify_trust

log = logging.getLogger(__name__)


class TrustStore:
    """Holds the newest verified trust bundle.

    Args:
        store: Where it survives.
        pinned: The roots of the enrolment; they count until a first bundle was accepted.
        clock: Judges bundles from the future.
    """

    def __init__(self, store: Store, pinned: Roots, clock: Clock) -> None:
        self._store = store
        self._pinned = pinned
        self._clock = clock
        self._bundle: TrustBundle | None = None
        kept = store.load_trust()
        if kept is not None:
            raw, roots = kept
            # Verified again with the roots that it was verified with: after two rotations the pinned ones are gone.
            self._bundle = verify_trust(raw, make_roots(roots["threshold"], roots["keys"]), None, clock.utc())

    @property
    def bundle(self) -> TrustBundle | None:
        """The bundle in use, which may have expired: then every request is denied."""
        return self._bundle

    @property
    def floor(self) -> UtcNs:
        """A time that is certainly past: when the bundle was issued."""
        return UtcNs(0) if self._bundle is None else self._bundle.issued_at

    def take(self, raw: bytes) -> TrustBundle:
        """Verify a bundle and use it from now on.

        Raises:
            DenialError: It does not verify, or is older; the one in use stays in use.
        """
        current = self._bundle
        bundle = verify_trust(raw, self._pinned, current, self._clock.utc(), self._clock.state())
        if current is None or bundle.version > current.version:
            roots = self._pinned if current is None else current.roots
            self._store.save_trust(bundle.version, raw, encode_roots(roots))
            log.info("trust bundle in use version=%d expires=%s", bundle.version, encode_rfc3339(bundle.expires))
        self._bundle = bundle
        return bundle


def list_recipients(bundle: TrustBundle | None, *, escrow: bool) -> tuple[Recipient, ...]:
    """Return to whom a clip is sealed now: the RTCC's evidence key, and escrow where the owner's terms have it."""
    if bundle is None:
        return ()
    return tuple(each for each in bundle.recipients if each.role == "evidence" or escrow)

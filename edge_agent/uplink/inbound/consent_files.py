"""The owner's terms as they are now: signed consents, ``consent.yaml`` and pauses.

Puts together the values that ``edge_agent.consent.decision`` judges with; decides nothing. Signed consents are those
that the store has taken in: the newest version of each camera. No file gives consent; ``consent.yaml`` only takes away.
"""

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.buffer.ring import load_superblock
from edge_agent.consent.house_state import FOREVER, CameraInForce, HouseState, KeptConsent, stand
from edge_agent.consent.owner_order import MAX_AGE_NS, ORDER_SKEW_NS
from edge_agent.consent.policy import Policy, parse_policy
from edge_agent.consent.signed_consent import Facts, SignedConsent, Stream, verify_consent
from edge_agent.errors import ConfigError, IntegrityError, RingError, UnsupportedVersionError, UsageError
from edge_agent.host.regular_file import read_regular
from edge_agent.ledger import entries
from edge_agent.ledger.owner_kinds import ConsentSignedEntry
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Place, Quality
from edge_agent.settings.gateway import Camera, Config
from edge_agent.settings.source_digest import digest_source
from edge_agent.units import UtcNs
from edge_agent.uplink.store.database import Database

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 256 * 1024


def load_facts(config: Config, enrolment: Enrolment, camera: Camera, store_id: str) -> Facts:
    """Gather the current facts that the terms for one camera depend on; a ring that cannot be read is left out."""
    return _read_facts(config, enrolment, camera, store_id)[0]


def _read_facts(config: Config, enrolment: Enrolment, camera: Camera, store_id: str) -> tuple[Facts, bool]:
    """Gather the facts, and tell whether each ring could be read."""
    streams = tuple(_list_streams(config, camera))
    location = config.location_of(camera)
    facts = Facts(
        camera=camera.id,
        streams=streams,
        place=None if location is None else Place(location.lat, location.lon),
        time_zone=config.gateway.time_zone,
        issuer=enrolment.iss,
        roots=tuple(sorted(thumbprint(root) for root in enrolment.roots)),
        threshold=enrolment.threshold,
        store=store_id,
        upload_origins=tuple(sorted({_origin(url) for url in enrolment.uploads.values()})),
    )
    return facts, len(streams) == len(camera.qualities)


def _list_streams(config: Config, camera: Camera) -> Iterator[Stream]:
    for quality in camera.qualities:
        try:
            ring_id = load_superblock(config.ring_path(camera.id, quality)).ring_id
            yield Stream(Quality(quality), ring_id.hex(), digest_source(ring_id, camera.address(quality)))
        except (IntegrityError, UnsupportedVersionError) as error:
            log.warning("ring cannot be read: %s", error)
        except (RingError, OSError):
            continue  # Not made yet, or its disk is away or fails.


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 443}"


class HouseReader:
    """Reads everything that a decision depends on, anew for each one.

    Args:
        config: Cameras, places, time zone, and where the files lie.
        enrolment: The RTCC that this gateway belongs to.
        owner: The owner's public key, pinned at ``init``.
        store: Pauses, revocations, versions.
    """

    def __init__(self, config: Config, enrolment: Enrolment, owner: Ed25519PublicKey, store: Database) -> None:
        self._config = config
        self._enrolment = enrolment
        self._owner = owner
        self._store = store
        self._told = ""

    def read(self, now: UtcNs) -> HouseState:
        """Return the terms in force of every camera that is switched on. Writes nothing."""
        policy = self.load_policy()
        stops = self._store.pauses.list_current(now)
        cameras = {camera.id: self._stand(camera, policy, stops) for camera in self._config.cameras if camera.enabled}
        return HouseState(cameras, ZoneInfo(self._config.gateway.time_zone), _until(stops, "*"))

    def take(self, connection: sqlite3.Connection, camera_id: str, raw: bytes, now: UtcNs) -> SignedConsent:
        """Take in a consent that the owner has just signed, inside a transaction, with its entry in the ledger.

        Raises:
            DenialError: ``consent-invalid`` or ``consent-facts-changed``: it would not count as things are now.
            UsageError: There is no such camera; the owner did not sign it just now, or signed it before a revocation;
                or this version or a later one was taken in before.
        """
        camera = self._config.demand_camera(camera_id)
        # By the pinned key and the current facts: a consent for another ring, place or RTCC does
        # not count (O2).
        consent = verify_consent(raw, self._owner, self.read_facts(camera)[0])
        self._demand_just_signed(connection, consent, now)
        # The table keeps the highest version and refuses any other: a consent is never put back
        # (O2).
        if not self._store.consents.save(connection, camera.id, consent.version, raw):
            raise UsageError(f"{camera.id}: version {consent.version} is not newer than what was signed before")
        entries.append(connection, ConsentSignedEntry(camera.id, consent.version, consent.sha256), now)
        log.info("consent in force camera=%s version=%d", camera.id, consent.version)
        return consent

    def _demand_just_signed(self, connection: sqlite3.Connection, consent: SignedConsent, now: UtcNs) -> None:
        """Refuse a consent that was signed and kept: the owner may have revoked since (PROTOCOL 6.1, O2b)."""
        hint = "read the terms and sign them again: edge-agent consent sign"
        if not -ORDER_SKEW_NS <= now - consent.signed_at <= MAX_AGE_NS:
            raise UsageError(f"{consent.camera}: its terms were not made ready within the last five minutes", hint)
        revoked_at = self._store.consents.find_revocation(connection, consent.camera)
        # A revocation from the future was entered under a wrong clock: it must not keep the owner from signing
        # until that time has come.
        if revoked_at is not None and consent.signed_at < revoked_at <= now + ORDER_SKEW_NS:
            raise UsageError(f"{consent.camera}: its consent was revoked after these terms were signed", hint)

    def read_facts(self, camera: Camera) -> tuple[Facts, bool]:
        """Return the facts of a camera as they are now, and whether each of its rings could be read."""
        return _read_facts(self._config, self._enrolment, camera, self._store.read_id())

    def load_policy(self) -> Policy | None:
        """Read ``consent.yaml``; None, logged once, if it is missing or wrong: then nothing new is granted."""
        path = self._config.consent.file
        try:
            policy = parse_policy(read_owners_file(path).decode(), str(path))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            if str(error) != self._told:
                log.error("consent file cannot be read, and nothing is granted until it is mended: %s", error)
                self._told = str(error)
            return None
        self._told = ""
        return policy

    def _stand(self, camera: Camera, policy: Policy | None, stops: Mapping[str, UtcNs | None]) -> CameraInForce:
        stored = self._store.consents.find(camera.id)
        facts, has_every_ring = self.read_facts(camera)
        kept = KeptConsent(
            None if stored is None or not stored.raw else stored.raw,
            highest_version=0 if stored is None else stored.version,
            revoked=stored is not None and stored.is_revoked,
            paused_until=_until(stops, camera.id),
        )
        return stand(
            kept,
            self._owner,
            facts,
            None if policy is None else policy.terms(camera.id),
            is_file_unreadable=policy is None,
            is_ring_unreadable=not has_every_ring,
        )


def _until(stops: Mapping[str, UtcNs | None], camera: str) -> UtcNs:
    if camera not in stops:
        return UtcNs(0)
    until = stops[camera]
    return FOREVER if until is None else until


def read_owners_file(path: Path) -> bytes:
    """Read ``consent.yaml``; OSError or ConfigError if it cannot be read, or is no regular file."""
    # The owner may keep the file elsewhere, behind a link: the configuration's folder is root's alone.
    return read_regular(path, MAX_FILE_BYTES, follow=True)

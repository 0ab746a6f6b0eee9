"""What the owner's word is now: signed consents, ``consent.yaml``, pauses and what was granted before.

Reads the files and the store and puts together the values that ``edge_agent.consent.decision`` judges with; decides
nothing. A file that is missing or wrong takes consent away, never gives it.
"""

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.buffer.ring import load_superblock
from edge_agent.consent.house_state import FOREVER, CameraHistory, CameraStanding, History, Household, stand
from edge_agent.consent.policy import Policy, parse_policy
from edge_agent.consent.signed_consent import TYP as CONSENT_TYP
from edge_agent.consent.signed_consent import Facts, Stream
from edge_agent.errors import ConfigError, DenialError, IntegrityError, RingError, UnsupportedVersionError
from edge_agent.host.regular_file import read_regular
from edge_agent.ledger import entries
from edge_agent.ledger.entries import ConsentSignedEntry
from edge_agent.protocol import jws
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Place, Quality
from edge_agent.settings.gateway import Camera, Config
from edge_agent.settings.source_digest import digest_source
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.store.requests import Store

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 256 * 1024
MONTH_NS = 30 * DAY_NS
NEWEST = 2**63 - 1
"""Stands for the number of a request that is not stored yet."""


def load_facts(config: Config, enrolment: Enrolment, camera: Camera, store_id: str) -> Facts:
    """Gather what the owner's terms for one camera lean on, as it is now; a ring that cannot be read is left out."""
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


class Standing:
    """Everything that a decision leans on, read anew for each one.

    Args:
        config: Cameras, places, time zone, and where the files lie.
        enrolment: The RTCC that this gateway belongs to.
        owner: The owner's public key, pinned at ``init``.
        store: Pauses, revocations, versions, quotas.
    """

    def __init__(self, config: Config, enrolment: Enrolment, owner: Ed25519PublicKey, store: Store) -> None:
        self._config = config
        self._enrolment = enrolment
        self._owner = owner
        self._store = store
        self._told = ""

    def household(self, now: UtcNs) -> Household:
        """Return what stands for every camera. Writes nothing: ``note_versions`` does."""
        policy = self.load_policy()
        stops = self._store.list_pauses(now)
        cameras = {camera.id: self._stand(camera, policy, stops) for camera in self._config.cameras if camera.enabled}
        return Household(cameras, ZoneInfo(self._config.gateway.time_zone), _until(stops, "*"))

    def note_versions(self, connection: sqlite3.Connection, household: Household, now: UtcNs) -> None:
        """Remember and enter each version of consent that is seen first; of the releaser alone."""
        for camera, standing in household.cameras.items():
            consent = standing.consent
            if consent is None or consent.version <= self._store.find_consent(camera)[0]:
                continue
            self._store.note_consent(connection, camera, consent.version)
            entries.append(connection, ConsentSignedEntry(camera, consent.version, consent.sha256), now)
            log.info("consent in force camera=%s version=%d", camera, consent.version)

    def history(self, household: Household, incident: tuple[str, str], before: int, now: UtcNs) -> History:
        """Return what was used of every camera's quotas by the requests with a smaller number than ``before``.

        Args:
            household: Names the cameras.
            incident: Issuer and number of the incident at hand.
            before: Number of the request at hand; ``NEWEST`` for one that has none yet.
            now: The moment at which the request was decided first.
        """
        uses = self._store.list_quota_uses(UtcNs(0), before=before)
        cameras = {}
        for camera in household.cameras:
            mine = [use for use in uses if use.camera == camera]
            month = [use for use in mine if use.at > now - MONTH_NS]
            cameras[camera] = CameraHistory(
                last_day=sum(use.at > now - DAY_NS for use in mine),
                last_month=len(month),
                same_incident=sum((use.iss, use.incident) == incident for use in mine),
                last_month_ns=sum(use.granted_ns for use in month),
            )
        return History(cameras)

    def load_policy(self) -> Policy | None:
        """Read ``consent.yaml``; None, logged once, if it is missing or wrong: then nothing new is granted."""
        path = self._config.consent.file
        try:
            policy = parse_policy(_read(path).decode(), str(path))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            if str(error) != self._told:
                log.error("consent file cannot be read, and nothing is granted until it is mended: %s", error)
                self._told = str(error)
            return None
        self._told = ""
        return policy

    def consent_path(self, camera: str) -> Path:
        """Return where a camera's signed consent lies."""
        return self._config.waivers_dir / f"{camera}.jws"

    def _stand(self, camera: Camera, policy: Policy | None, stops: Mapping[str, UtcNs | None]) -> CameraStanding:
        try:
            raw: bytes | None = _read(self.consent_path(camera.id))
        except (OSError, ConfigError):
            raw = None
        highest, revoked = self._store.find_consent(camera.id)
        facts, has_every_ring = _read_facts(self._config, self._enrolment, camera, self._store.read_id())
        return stand(
            raw,
            self._owner,
            facts,
            None if policy is None else policy.terms(camera.id),
            highest_version=highest,
            revoked=revoked,
            paused_until=_until(stops, camera.id),
            is_file_unreadable=policy is None,
            is_ring_unreadable=not has_every_ring,
        )

    def revoke(self, connection: sqlite3.Connection, camera: str) -> bool:
        """Revoke a camera's consent, be it one that nothing was decided by yet; only a new signature counts after that.

        Returns:
            False where none was ever signed.
        """
        seen, _ = self._store.find_consent(camera)
        version = max(seen, self.find_signed_version(camera))
        if version:
            self._store.note_consent(connection, camera, version, revoked=True)
        return version > 0

    def find_signed_version(self, camera: str) -> int:
        """Return the version of the consent that lies there, whether it counts now or not; 0 for none of ours."""
        try:
            message = jws.parse(_read(self.consent_path(camera)), CONSENT_TYP)
            jws.verify(message, {thumbprint(self._owner): self._owner})
            version = message.payload["version"]
        except (OSError, ConfigError, DenialError, KeyError, TypeError):
            return 0
        return version if isinstance(version, int) else 0


def _until(stops: Mapping[str, UtcNs | None], camera: str) -> UtcNs:
    if camera not in stops:
        return UtcNs(0)
    until = stops[camera]
    return FOREVER if until is None else until


def _read(path: Path) -> bytes:
    # The owner may keep the file elsewhere, behind a link: the configuration's folder is root's alone.
    return read_regular(path, MAX_FILE_BYTES, follow=True)

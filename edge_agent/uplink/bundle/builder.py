"""Makes bundles: gathers what a bundle says beyond grant and ring, and hands it to ``writer.build``."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent import __version__
from edge_agent.base64url import parse_b64url
from edge_agent.custody.keys import Custody, KeyStore
from edge_agent.custody.owner_identity import load_recipient
from edge_agent.errors import DeliveryError, DenialError
from edge_agent.host.build_id import digest_sources
from edge_agent.host.clock import Clock
from edge_agent.host.regular_file import open_reader
from edge_agent.protocol.trust_bundle import Recipient
from edge_agent.protocol.verdict import CameraGrant, ExportOrder, Grant
from edge_agent.settings.gateway import Config
from edge_agent.units import UtcNs
from edge_agent.uplink.bundle.mandate import GrantMandate, OrderMandate, Scope
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.bundle.writer import BundleFacts, BundleInfo, BundleRecipient, build
from edge_agent.uplink.inbound.consent_files import HouseReader

log = logging.getLogger(__name__)

_HEALTH = ("state", "since", "reason", "warning", "picture")
_MAX_STATUS_BYTES = 1 << 20
"""The recorder writes that file, and the releaser does not believe its length."""


@dataclass(frozen=True, slots=True)
class BundleKeys:
    """The keys of this gateway that a bundle is made with, and names."""

    gateway: str
    """This gateway's id."""
    key: Ed25519PrivateKey
    """Signs manifests."""
    recorder: Ed25519PublicKey
    """The recorder's public key."""
    custody: Custody
    """How well the keys are kept."""
    owner: str
    """The owner's age recipient, to whom every bundle is sealed as well."""


def load_bundle_keys(config: Config, keys: KeyStore, gateway: str) -> BundleKeys:
    """Return the keys of bundles, from the releaser's state; ``gateway`` is the id that they name."""
    recipient, recorder = load_recipient(config.state_dir), keys.load_public("recorder")
    return BundleKeys(gateway, keys.load_private("gateway"), recorder, keys.custody_level(), recipient)


class BundleBuilder:
    """Builds one camera's bundle, under a grant or the owner's order.

    Args:
        config: Names of cameras, the recorder's status file.
        keys: The gateway's, and the owner's recipient.
        footage: Opens rings.
        house_reader: The signed consents.
        clock: When it was made.
    """

    def __init__(
        self,
        config: Config,
        keys: BundleKeys,
        footage: Footage,
        house_reader: HouseReader,
        clock: Clock,
    ) -> None:
        self._config = config
        self._keys = keys
        self._footage = footage
        self._house_reader = house_reader
        self._clock = clock

    def build(
        self,
        grant: Grant,
        camera: CameraGrant,
        recipients: tuple[Recipient, ...],
        proof: Mapping[str, object],
        out: IO[bytes],
    ) -> BundleInfo:
        """Write the age payload to ``out``, sealed to these and to the owner; the header comes back apart.

        Raises:
            DeliveryError: There is no recipient.
            EdgeAgentError: The ring, the clip or the folder failed.
        """
        # Before the ring is opened: nothing is decrypted that cannot be sealed.
        if not recipients:
            raise DeliveryError("there is no trust bundle that names an evidence recipient")
        sealed = (
            *(BundleRecipient(each.role, each.age) for each in recipients),
            BundleRecipient("owner", self._keys.owner),
        )
        raw, waiver = self._consent(camera)
        mandate = GrantMandate(grant, camera, raw, parse_b64url(waiver))
        with self._footage.open(camera.camera, camera.quality, grant.request.jti) as reader:
            facts = self._facts(mandate.scope, reader.superblock.ring_id, proof, sealed)
            return build(mandate, reader, facts, out)

    def build_export(
        self,
        order: ExportOrder,
        raw: bytes,
        owner: Ed25519PublicKey,
        proof: Mapping[str, object],
        out: IO[bytes],
        on_progress: Callable[[UtcNs], None],
    ) -> BundleInfo:
        """Write a whole age file of own footage to ``out``, for the owner and whom the order names.

        Args:
            order: The verified order.
            raw: The order as it was signed by ``owner``.
            owner: The owner's pinned key.
            proof: Of the ledger's entry of this export.
            out: The owner's file.
            on_progress: Told the UTC up to which the footage was read.

        Raises:
            EdgeAgentError: The ring or the clip failed.
            OSError: ``out`` could not be written.
        """
        keys = {"gateway": self._keys.key.public_key(), "recorder": self._keys.recorder, "owner": owner}
        mandate = OrderMandate(order, raw, keys)
        named = [age for age in order.recipients or () if age != self._keys.owner]
        recipients = (BundleRecipient("owner", self._keys.owner), *(BundleRecipient("named", age) for age in named))
        with self._footage.open_own(order) as reader:
            facts = self._facts(mandate.scope, reader.superblock.ring_id, proof, recipients)
            return build(mandate, reader, facts, out, on_progress=on_progress)

    def _facts(
        self, scope: Scope, ring_id: bytes, proof: Mapping[str, object], recipients: tuple[BundleRecipient, ...]
    ) -> BundleFacts:
        configured = self._config.find_camera(scope.camera)
        return BundleFacts(
            gateway=self._keys.gateway,
            made_at=self._clock.utc(),
            version=__version__,
            build_sha256=digest_sources(),
            custody=self._keys.custody,
            camera_name=configured.title if configured is not None else scope.camera,
            ring_id=ring_id,
            health=self._read_health(scope),
            ledger_proof=proof,
            recipients=recipients,
            recorder_public=self._keys.recorder,
            gateway_key=self._keys.key,
        )

    def _consent(self, camera: CameraGrant) -> tuple[bytes, str]:
        # Read once more: a consent that was replaced since the decision ends the release, as each
        # later step may only narrow.
        in_force = self._house_reader.read(self._clock.utc()).cameras.get(camera.camera)
        consent = None if in_force is None else in_force.consent
        if consent is None or consent.sha256 != camera.consent_sha256:
            raise DenialError("consent-invalid", "The consent changed between decision and release.")
        return consent.raw, consent.notice.sha256

    def _read_health(self, scope: Scope) -> dict[str, str | int | bool | None]:
        """Read how the camera does, from the recorder's status; empty if it cannot be read."""
        try:
            with open_reader(self._config.status_path) as file:
                status: Any = json.loads(file.read(_MAX_STATUS_BYTES))
            found = cast("dict[str, Any]", status["cameras"][f"{scope.camera}.{scope.quality.value}"])
            return {
                name: value
                for name in _HEALTH
                if isinstance(value := found.get(name), str | int | bool | None) and value is not None
            }
        # The camera's health is a courtesy: no bundle fails for want of it.
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("recorder's status cannot be read: %s", type(error).__name__)
            return {}

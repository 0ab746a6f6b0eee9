"""The values that the checks of one bundle look at: the unpacked parts, the manifest, and the keys that count.

Owns where keys come from. Pinned ones were known before the bundle came. An export brings the house's public keys for
whoever has none; a statement that rests on those is said to be attested by the bundle's own keys, never to be proved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.base64url import parse_b64url
from edge_agent.errors import EvidenceError
from edge_agent.protocol.jws import VerifyingKey
from edge_agent.protocol.manifest import ExportManifest, Manifest
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.verifier.findings import Findings

AnyManifest = Manifest | ExportManifest


@dataclass(frozen=True, slots=True)
class KnownSigner:
    """Somebody who may sign requests."""

    key: VerifyingKey
    person: str
    role: str


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The RTCC's knowledge before the bundle came: pinned at enrolment, and its own trust bundle."""

    gateway_id: str
    gateway: Ed25519PublicKey
    recorder: Ed25519PublicKey
    owner: Ed25519PublicKey | None
    signers: Mapping[str, KnownSigner] = field(default_factory=dict)
    """By ``kid``."""
    request: bytes | None = None
    """The request as it was sent, if the RTCC kept it."""
    unpinned: frozenset[str] = frozenset()
    """Which of ``gateway``, ``recorder`` and ``owner`` came with the bundle itself."""


@dataclass(frozen=True, slots=True)
class Pins:
    """A stranger's knowledge: nothing, or thumbprints that somebody told over another way than the bundle came."""

    thumbprints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """One unpacked bundle, with a manifest whose signature verifies."""

    manifest: AnyManifest
    stored: Mapping[str, str]
    """SHA-256 by name, in order."""
    known: KnownKeys
    folder: Path
    findings: Findings

    def read(self, name: str) -> bytes:
        """Return a part."""
        return (self.folder / name).read_bytes()


def settle_keys(manifest: AnyManifest, known: KnownKeys | Pins) -> KnownKeys:
    """Return the keys to verify with; those that an export brings count if nothing better is known.

    Raises:
        EvidenceError: A release, of which no key is known; an export if a release was asked for; or the bundle
            brings other keys than the pinned ones, or one key for two of its signers.
    """
    if isinstance(manifest, Manifest):
        if isinstance(known, Pins):
            raise EvidenceError(
                "this is a release: the crime center that asked for it has the keys that verify it, by --gateway ID"
            )
        return known
    if isinstance(known, KnownKeys) and known.request is not None:
        raise EvidenceError("this is the owner's own export, and not the release of the request that was sent")
    brought = {name: _read_key(text) for name, text in manifest.keys.model_dump().items()}
    prints = {name: thumbprint(key) for name, key in brought.items()}
    if len(set(prints.values())) < len(prints):
        # One thumbprint that was told would vouch for a paper that somebody else has to sign.
        raise EvidenceError("the bundle brings one key for two of gateway, recorder and owner")
    if isinstance(known, Pins):
        if missing := sorted(known.thumbprints - set(prints.values())):
            raise EvidenceError(f"the bundle brings no key with the pinned thumbprint {missing[0]}")
        unpinned = frozenset(name for name, each in prints.items() if each not in known.thumbprints)
        return KnownKeys(manifest.gateway, brought["gateway"], brought["recorder"], brought["owner"], unpinned=unpinned)
    pinned = {"gateway": known.gateway, "recorder": known.recorder, "owner": known.owner}
    for name, key in pinned.items():
        if key is not None and thumbprint(key) != prints[name]:
            raise EvidenceError(f"the bundle brings another key of the {name} than the pinned one")
    if known.owner is None:
        return replace(known, owner=brought["owner"], unpinned=frozenset({"owner"}))
    return known


def _read_key(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(parse_b64url(text))

"""The signed metadata of a release repository (TUF specification 1.0): made, signed by persons, published.

Owns the folders ``metadata/`` and ``targets/`` that a web server serves, and ``drafts/``, in which metadata waits for
its signatures. Root and targets need two of three offline keys; snapshot and timestamp have one online key, which can
hold releases back and cannot make one.
"""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

THRESHOLD = 2
LASTS = {"root": 400, "targets": 200, "snapshot": 14, "timestamp": 14}
"""Days. The offline keys are wanted twice a year at the least, the online key every few days."""
_SERIALIZER = JSONSerializer(compact=False)


class DraftError(Exception):
    """A draft cannot be published; the message says what is missing."""


def make_key(passphrase: bytes) -> tuple[bytes, bytes]:
    """Return a new key pair as PEM: the private half under a passphrase, and the public half."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_signer(private: bytes, passphrase: bytes) -> CryptoSigner:
    """Open a private key."""
    key = load_pem_private_key(private, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise DraftError("not an Ed25519 key")
    return CryptoSigner(key)


def load_public(pem: bytes) -> SSlibKey:
    """Read a public key."""
    return SSlibKey.from_crypto(load_pem_public_key(pem))


class Repository:
    """One folder; ``now`` is given, so that tests can turn the clock."""

    def __init__(self, folder: Path) -> None:
        self.metadata, self.targets, self.drafts = folder / "metadata", folder / "targets", folder / "drafts"
        for each in (self.metadata, self.targets, self.drafts):
            each.mkdir(parents=True, exist_ok=True)

    def draft_root(
        self, roots: Sequence[SSlibKey], targets: Sequence[SSlibKey], online: SSlibKey, now: datetime
    ) -> Path:
        """Write the next root, which says whose signatures count; its predecessor's persons must sign it as well."""
        before = self._newest("root")
        root = Root(
            version=1 if before is None else before.signed.version + 1,
            expires=_ends("root", now),
            consistent_snapshot=True,
        )
        for role, keys, threshold in (
            ("root", roots, THRESHOLD),
            ("targets", targets, THRESHOLD),
            ("snapshot", [online], 1),
            ("timestamp", [online], 1),
        ):
            for key in keys:
                root.add_key(key, role)
            root.roles[role].threshold = threshold
        return self._draft(Metadata(root))

    def draft_targets(self, files: Mapping[str, Path], now: datetime) -> Path:
        """Lay files down under their digests and write the list that vouches for all of them, and for no other."""
        before = self._newest("targets")
        targets = Targets(version=1 if before is None else before.signed.version + 1, expires=_ends("targets", now))
        for name, source in files.items():
            target = TargetFile.from_file(name, str(source), ["sha256"])
            targets.targets[name] = target
            kept = self.targets / f"{target.hashes['sha256']}.{name}"
            if not kept.exists():
                shutil.copyfile(source, kept.with_suffix(".part"))
                kept.with_suffix(".part").rename(kept)
        return self._draft(Metadata(targets))

    def sign(self, draft: Path, signer: CryptoSigner) -> None:
        """Add one signature to a draft."""
        metadata: Metadata = Metadata.from_file(str(draft))  # type: ignore[type-arg]
        metadata.sign(signer, append=True)
        metadata.to_file(str(draft), _SERIALIZER)

    def publish(self, online: CryptoSigner, now: datetime) -> None:
        """Publish the drafts that have their signatures, then snapshot and timestamp, in this order.

        Raises:
            DraftError: A draft lacks signatures; nothing was published.
        """
        root, targets = self._next("root"), self._next("targets")
        old_root = self._newest("root")
        if root is None or targets is None:
            raise DraftError("a root and a list of targets are needed first")
        try:
            for vouching in [each for each in (old_root, root) if each is not None]:
                vouching.verify_delegate("root", root)
            root.verify_delegate("targets", targets)
        except UnsignedMetadataError as error:
            raise DraftError(str(error)) from error
        for name, metadata in (("root", root), ("targets", targets)):
            metadata.to_file(str(self.metadata / f"{metadata.signed.version}.{name}.json"), _SERIALIZER)
            (self.drafts / f"{name}.json").unlink(missing_ok=True)
        before, stamped = self._newest("snapshot"), self._read_timestamp()
        version = 1 if before is None else before.signed.version + 1
        snapshot = Metadata(
            Snapshot(
                version=version,
                expires=_ends("snapshot", now),
                meta={"targets.json": MetaFile(version=targets.signed.version)},
            )
        )
        timestamp = Metadata(
            Timestamp(
                version=1 if stamped is None else stamped.signed.version + 1,
                expires=_ends("timestamp", now),
                snapshot_meta=MetaFile(version=version),
            )
        )
        for metadata, name in ((snapshot, f"{version}.snapshot.json"), (timestamp, "timestamp.json")):
            metadata.sign(online)
            metadata.to_file(str(self.metadata / f"{name}.part"), _SERIALIZER)
            (self.metadata / f"{name}.part").rename(self.metadata / name)

    def newest_root(self) -> Path:
        """Return the root that a package is built with: before the first release, its signed draft."""
        return max(self.metadata.glob("*.root.json"), key=_version_of, default=self.drafts / "root.json")

    def published(self) -> Mapping[str, Path]:
        """Return the files of the newest list, by name."""
        newest = self._newest("targets")
        found: Mapping[str, TargetFile] = {} if newest is None else newest.signed.targets
        return {name: self.targets / f"{target.hashes['sha256']}.{name}" for name, target in found.items()}

    def _draft(self, metadata: Metadata) -> Path:  # type: ignore[type-arg]
        path = self.drafts / f"{metadata.signed.type}.json"
        metadata.to_file(str(path), _SERIALIZER)
        return path

    def _next(self, role: str) -> Metadata | None:  # type: ignore[type-arg]
        draft = self.drafts / f"{role}.json"
        return Metadata.from_file(str(draft)) if draft.exists() else self._newest(role)

    def _newest(self, role: str) -> Metadata | None:  # type: ignore[type-arg]
        paths = list(self.metadata.glob(f"*.{role}.json"))
        return Metadata.from_file(str(max(paths, key=_version_of))) if paths else None

    def _read_timestamp(self) -> Metadata | None:  # type: ignore[type-arg]
        path = self.metadata / "timestamp.json"
        return Metadata.from_file(str(path)) if path.exists() else None


def _version_of(path: Path) -> int:
    return int(path.name.partition(".")[0])


def _ends(role: str, now: datetime) -> datetime:
    return (now + timedelta(days=LASTS[role])).astimezone(UTC).replace(microsecond=0)

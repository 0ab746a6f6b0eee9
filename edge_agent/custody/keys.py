"""The gateway's keys: their places, their modes and their names.

Owns the key files (``keys/`` in the state folder), the check of their owner and mode, and the systemd credentials that
replace them. Must never log a private key, repair a bad mode by itself, or choose another key if the named one is
missing. Public keys as values: ``protocol.public_keys``.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edge_agent.errors import CustodyError
from edge_agent.protocol.public_keys import PublicKey, thumbprint

PrivateKey = Ed25519PrivateKey | X25519PrivateKey | EllipticCurvePrivateKey
KeyRole = Literal["recorder", "releaser", "owner"]
Custody = Literal["bare", "tpm", "passphrase"]

MAX_KEY_BYTES = 16 * 1024
"""A key is some hundred bytes; the bound keeps a wrong path from filling memory."""

_PRIVATE_TYPES: dict[str, type[Any]] = {
    "recorder": Ed25519PrivateKey,
    "vault": X25519PrivateKey,
    "gateway": Ed25519PrivateKey,
    "tls": EllipticCurvePrivateKey,
    "owner": Ed25519PrivateKey,
}
_PUBLIC_TYPES: dict[str, type[Any]] = {
    "recorder": Ed25519PublicKey,
    "vault": X25519PublicKey,
    "gateway": Ed25519PublicKey,
    "owner": Ed25519PublicKey,
}
KEY_HOLDER: Mapping[str, KeyRole] = {
    "recorder": "recorder",
    "vault": "releaser",
    "gateway": "releaser",
    "tls": "releaser",
    "owner": "owner",
}
"""Which role holds which private key."""


def generate(name: str) -> PrivateKey:
    """Make a new private key of the kind that ``name`` has (``KEY_HOLDER`` lists the names).

    A key that signs has a thumbprint that a person can type: one with a hyphen first would be taken for an option.
    """
    kind = _PRIVATE_TYPES[name]
    if kind is EllipticCurvePrivateKey:
        return generate_private_key(SECP256R1())
    while True:
        key: Ed25519PrivateKey | X25519PrivateKey = kind.generate()
        if isinstance(key, X25519PrivateKey) or thumbprint(key.public_key())[0].isalnum():
            return key


class KeyStore:
    """Private keys of one role, and everybody's public ones.

    A systemd credential of the key's name wins over the file: it is decrypted for this service alone, and its
    folder is not readable by others.

    Args:
        state_dir: The gateway's state folder.
        role: The role whose private keys may be loaded. Asking for another role's is a bug and a ``CustodyError``.
        credentials_dir: ``$CREDENTIALS_DIRECTORY`` unless given.
    """

    def __init__(self, state_dir: Path, role: KeyRole, credentials_dir: Path | None = None) -> None:
        self._keys_dir = state_dir / "keys"
        self._role: KeyRole = role
        named = os.environ.get("CREDENTIALS_DIRECTORY")
        self._credentials_dir = credentials_dir or (Path(named) if named else None)

    @overload
    def load_private(
        self, name: Literal["recorder", "gateway"], passphrase: bytes | None = ...
    ) -> Ed25519PrivateKey: ...
    @overload
    def load_private(self, name: Literal["vault"], passphrase: bytes | None = ...) -> X25519PrivateKey: ...
    @overload
    def load_private(self, name: Literal["tls"], passphrase: bytes | None = ...) -> EllipticCurvePrivateKey: ...
    @overload
    def load_private(self, name: Literal["owner"], passphrase: bytes | None) -> Ed25519PrivateKey: ...
    def load_private(self, name: str, passphrase: bytes | None = None) -> PrivateKey:
        """Read one private key, after its file's owner and mode were checked.

        Args:
            name: ``recorder``; ``vault``, ``gateway`` or ``tls``; ``owner``.
            passphrase: For an encrypted key; if it is missing, the credential ``passphrase`` is used.

        Raises:
            CustodyError: Missing, readable by others, owned by another, of the wrong kind, or the passphrase is wrong.
        """
        path = self.private_path(name)
        pem = self._read(path)
        if is_encrypted(pem) and passphrase is None:
            passphrase = self._find_passphrase()
        return decode_named(name, pem, passphrase, str(path))

    @overload
    def load_public(self, name: Literal["recorder", "gateway", "owner"]) -> Ed25519PublicKey: ...
    @overload
    def load_public(self, name: Literal["vault"]) -> X25519PublicKey: ...
    def load_public(self, name: str) -> PublicKey:
        """Read one of the public keys ``vault``, ``recorder``, ``gateway``, ``owner``.

        Raises:
            CustodyError: Missing, of the wrong kind, or writable by others: a public key is a pin.
        """
        path = self._keys_dir / "public" / f"{name}.pem"
        try:
            key = load_pem_public_key(read_guarded(path, forbidden=0o022))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CustodyError(f"not a public key in PEM: {path}") from error
        if not isinstance(key, _PUBLIC_TYPES[name]):
            raise CustodyError(f"key is of the wrong kind: {path}")
        found: PublicKey = key
        return found

    def private_path(self, name: str) -> Path:
        """Return the file that ``load_private`` would read: for a TLS library that wants a path."""
        # In code, beside the modes of the files: a process that asks for another's key fails even
        # as root.
        if KEY_HOLDER[name] != self._role:
            raise CustodyError(f"key {name} does not belong to the {self._role}")
        if self._credentials_dir is not None and (self._credentials_dir / name).is_file():
            return self._credentials_dir / name
        return locate_private(self._keys_dir.parent, name)

    def custody_level(self) -> Custody:
        """Tell how the role's private keys are kept, by the weakest of them.

        ``tpm``: a systemd credential that ``edge-agent init --seal`` bound to the TPM. ``passphrase``: every file
        is encrypted and needs the owner after each start. ``bare``: a copy of the disk has the key. A
        credential sealed with the host's key alone is bare too: that key lies on the same disk.
        """
        levels: set[Custody] = {self._level_of(name) for name, role in KEY_HOLDER.items() if role == self._role}
        # Of two levels the weaker counts: a thief needs one key that the disk gives away.
        return levels.pop() if len(levels) == 1 else "bare"

    def _level_of(self, name: str) -> Custody:
        path = self.private_path(name)
        if path.parent == self._credentials_dir:
            note = custody_note_path(self._keys_dir.parent)
            return "tpm" if note.is_file() and read_guarded(note, forbidden=0o022).strip() == b"tpm" else "bare"
        return "passphrase" if is_encrypted(self._read(path)) else "bare"

    def _read(self, path: Path) -> bytes:
        # systemd may hand a credential to the service's user by an ACL, which shows as a group bit.
        return read_guarded(path, forbidden=0o007 if path.parent == self._credentials_dir else 0o077)

    def _find_passphrase(self) -> bytes | None:
        if self._credentials_dir is None or not (self._credentials_dir / "passphrase").is_file():
            return None
        return read_guarded(self._credentials_dir / "passphrase", forbidden=0o007).rstrip(b"\n")


def locate_private(state_dir: Path, name: str) -> Path:
    """Return the path of a private key, for any caller: ``keys/<role>/<name>.pem``, or ``keys/owner.pem``."""
    role = KEY_HOLDER[name]
    return state_dir / "keys" / "owner.pem" if role == "owner" else state_dir / "keys" / role / f"{name}.pem"


def custody_note_path(state_dir: Path) -> Path:
    """Return the file that says how the installer sealed the credentials: a service sees them decrypted only."""
    return state_dir / "keys" / "public" / "custody"


def read_guarded(path: Path, forbidden: int) -> bytes:
    """Read a small file that belongs to us or to root, and has none of the ``forbidden`` mode bits.

    Raises:
        CustodyError: Missing, a symbolic link, another's, too open, or larger than 16 KiB.
    """
    try:
        # O_NOFOLLOW and fstat: the file read is the one checked. O_NONBLOCK: a FIFO must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise CustodyError(f"file is missing: {path}", "`edge-agent init` makes it") from None
    except OSError as error:
        raise CustodyError(f"file cannot be opened: {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise CustodyError(f"not a regular file: {path}")
        if os.geteuid() not in (0, status.st_uid) and status.st_uid != 0:
            raise CustodyError(f"file belongs to another user: {path} uid={status.st_uid}")
        if mode & forbidden:
            raise CustodyError(
                f"file is open to others: {path} mode={mode:04o}", f"chmod {mode & ~forbidden:04o} {path}"
            )
        if status.st_size > MAX_KEY_BYTES:
            raise CustodyError(f"file is too large: {path} bytes={status.st_size}")
        return file.read(MAX_KEY_BYTES)


def encode_private(key: PrivateKey) -> bytes:
    """Write a private key as PKCS#8 PEM without encryption: for a file of mode 0600, or a credential."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def decode_private(pem: bytes, passphrase: bytes | None, source: str) -> PrivateKey:
    """Read a private key from PKCS#8 PEM, encrypted or not.

    Raises:
        CustodyError: Not such a key, or the passphrase is missing or wrong; names ``source``.
    """
    if is_encrypted(pem) and passphrase is None:
        raise CustodyError(f"key is encrypted and no passphrase was given: {source}")
    try:
        key = load_pem_private_key(pem, passphrase if is_encrypted(pem) else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_encrypted(pem):
            raise CustodyError(f"passphrase does not open the key: {source}") from error
        raise CustodyError(f"not a private key in PEM: {source}") from error
    if not isinstance(key, PrivateKey):
        raise CustodyError(f"key is of the wrong kind: {source}")
    return key


def decode_named(name: str, pem: bytes, passphrase: bytes | None, source: str) -> PrivateKey:
    """Read the private key of that name (``KEY_HOLDER``); otherwise as ``decode_private``."""
    key = decode_private(pem, passphrase, source)
    fits = isinstance(key, _PRIVATE_TYPES[name])
    if not fits:
        raise CustodyError(f"key is of the wrong kind: {source}")
    return key


def is_encrypted(pem: bytes) -> bool:
    """Tell whether a private key's PEM needs a passphrase."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem

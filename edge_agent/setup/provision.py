"""The state folder of a new gateway: its tree, its keys, their modes and owners.

Owns what ``edge-agent init`` makes. Never overwrites a key: a second run finds everything there and changes nothing
but missing folders and public halves.
"""

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import CustodyError, EvidenceError
from edge_agent.keys import (
    KEY_HOLDER,
    KeyStore,
    custody_note_path,
    decode_private,
    encode_private,
    encode_public,
    generate,
    private_path,
    read_guarded,
    thumbprint,
)
from edge_agent.passphrase import encode_encrypted
from edge_agent.recipient import IDENTITY_NAME, identity_path, make_identity, open_identity, recipient_path
from edge_agent.small_file import write_new_file, write_small_file
from edge_agent.uplink.csr import encode_csr, verify_csr

RECORDER_USER = "edge-agent-recorder"
RELEASER_USER = "edge-agent-releaser"
GROUP = "edge-agent"

PUBLIC_KEYS = ("vault", "recorder", "gateway", "owner")


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of the state tree: who owns it, and its mode."""

    path: str
    holder: str
    """``root``, ``recorder`` or ``releaser``."""
    mode: int


# The set-group-id bit gives new rings the group that the releaser reads them by. Nobody but root may write where
# public keys lie: they are pins.
TREE = (
    Folder(".", "root", 0o755),
    Folder("keys", "root", 0o755),
    Folder("keys/public", "root", 0o755),
    Folder("keys/recorder", "recorder", 0o700),
    Folder("keys/releaser", "releaser", 0o700),
    Folder("rings", "recorder", 0o2750),
    Folder("recorder", "recorder", 0o700),
    Folder("holds", "releaser", 0o700),
    Folder("releaser", "releaser", 0o700),
    Folder("releaser/staging", "releaser", 0o700),
    Folder("consent", "releaser", 0o750),
    # Packages that will be installed as root, and what root tells the releaser of them.
    Folder("update", "root", 0o700),
    Folder("update-notes", "root", 0o755),
)


def create_state(state_dir: Path, owner_passphrase: str | None) -> tuple[str, ...]:
    """Make the folders and the keys that are missing.

    Args:
        state_dir: The state folder; made where it is missing.
        owner_passphrase: For the owner's keys; ``None`` where they are there already.

    Returns:
        The names of the private keys that were made, in order.

    Raises:
        CustodyError: A private key is missing but its public half is there (it would be replaced silently), the
            owner's passphrase is missing or weak, or a file cannot be written.
    """
    try:
        for folder in TREE:
            (state_dir / folder.path).mkdir(parents=True, exist_ok=True)
            if folder.path != "." or os.listdir(state_dir) == []:
                os.chmod(state_dir / folder.path, folder.mode)
        made = tuple(name for name in KEY_HOLDER if _create_key(state_dir, name, owner_passphrase))
        return (*made, IDENTITY_NAME) if _create_identity(state_dir, owner_passphrase) else made
    except OSError as error:
        raise CustodyError(f"state folder cannot be written: {error.filename}: {error.strerror}") from error


def is_complete(state_dir: Path) -> bool:
    """Tell whether every key is there."""
    sealed = custody_note_path(state_dir).exists()
    owned = (identity_path(state_dir), recipient_path(state_dir))
    return (sealed or all(private_path(state_dir, name).exists() for name in KEY_HOLDER)) and all(
        path.exists() for path in (*(public_path(state_dir, name) for name in PUBLIC_KEYS), *owned)
    )


def public_path(state_dir: Path, name: str) -> Path:
    """Return where a public key's file lies."""
    return state_dir / "keys" / "public" / f"{name}.pem"


def hand_over(state_dir: Path) -> bool:
    """Give the folders and private keys to the two service users, as root.

    Returns:
        False where this is not root or the users do not exist: everything then stays with the caller, which is
        right for a trial (one user for both processes) and not for a gateway.
    """
    if os.geteuid() != 0:
        return False
    try:
        owners = {"recorder": pwd.getpwnam(RECORDER_USER).pw_uid, "releaser": pwd.getpwnam(RELEASER_USER).pw_uid}
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return False
    for folder in TREE:
        path = state_dir / folder.path
        os.chown(path, owners.get(folder.holder, 0), group, follow_symlinks=False)
        os.chmod(path, folder.mode)  # chown clears the set-group-id bit
    for name, role in KEY_HOLDER.items():
        if private_path(state_dir, name).exists():
            os.chown(private_path(state_dir, name), owners.get(role, 0), group, follow_symlinks=False)
    return True


def _create_key(state_dir: Path, name: str, owner_passphrase: str | None) -> bool:
    path, public = private_path(state_dir, name), public_path(state_dir, name)
    if path.exists():
        if name in PUBLIC_KEYS and not public.exists():
            passphrase = owner_passphrase.encode() if owner_passphrase is not None else None
            again = decode_private(read_guarded(path, forbidden=0o077), passphrase, str(path))
            write_new_file(public, encode_public(again.public_key()), 0o644)
        return False
    if custody_note_path(state_dir).exists():
        return False  # sealed by the installer: the file is gone because the credential has it
    if name in PUBLIC_KEYS and public.exists():
        raise CustodyError(f"private key is gone and its public half is not: {path}", "docs/recovery.md says what now")
    key = generate(name)
    if isinstance(key, Ed25519PrivateKey) and name == "owner":
        if owner_passphrase is None:
            raise CustodyError("the owner's key needs a passphrase")
        pem = encode_encrypted(key, owner_passphrase)
    else:
        pem = encode_private(key)
    write_new_file(path, pem, 0o600)
    if name in PUBLIC_KEYS:
        write_new_file(public, encode_public(key.public_key()), 0o644)
    return True


def _create_identity(state_dir: Path, owner_passphrase: str | None) -> bool:
    """Make the owner's age identity where it is missing, under the passphrase that opens the owner's key."""
    path, public = identity_path(state_dir), recipient_path(state_dir)
    if path.exists() and public.exists():
        return False
    if owner_passphrase is None:
        raise CustodyError("the owner's age identity needs a passphrase")
    if path.exists():
        write_new_file(public, f"{open_identity(state_dir, owner_passphrase)}\n".encode(), 0o644)
        return False
    if public.exists():
        raise CustodyError(f"private key is gone and its public half is not: {path}", "docs/recovery.md says what now")
    owner = private_path(state_dir, "owner")
    decode_private(read_guarded(owner, forbidden=0o077), owner_passphrase.encode(), str(owner))
    content, recipient = make_identity(owner_passphrase)
    write_new_file(path, content, 0o600)
    write_new_file(public, f"{recipient}\n".encode(), 0o644)
    return True


def write_csr(state_dir: Path, path: Path) -> bool:
    """Write the gateway's application to an RTCC (PROTOCOL 7), unless one with these very keys is there already.

    Returns:
        False where nothing was written: it is there, or the TLS key is sealed and only the releaser has it.
    """
    if not private_path(state_dir, "tls").exists():
        return False
    keys = KeyStore(state_dir, "releaser")
    tls = keys.load_private("tls")
    owner, gateway, recorder = keys.load_public("owner"), keys.load_public("gateway"), keys.load_public("recorder")
    if _find_applied_keys(path) == [thumbprint(key) for key in (tls.public_key(), gateway, recorder, owner)]:
        return False
    try:
        write_small_file(path, encode_csr(tls, gateway=gateway, recorder=recorder, owner=owner), mode=0o644)
    except OSError as error:
        raise CustodyError(f"file cannot be written: {path}: {error.strerror}") from error
    return True


def _find_applied_keys(path: Path) -> list[str] | None:
    try:
        applied = verify_csr(path.read_bytes())
    except (OSError, EvidenceError):
        return None
    return [thumbprint(key) for key in (applied.tls, applied.gateway, applied.recorder, applied.owner)]

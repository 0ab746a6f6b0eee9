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

from edge_agent.custody.keys import (
    KEY_HOLDER,
    KeyStore,
    custody_note_path,
    decode_private,
    encode_private,
    generate,
    locate_private,
    read_guarded,
)
from edge_agent.custody.owner_identity import IDENTITY_NAME, identity_path, make_identity, open_identity, recipient_path
from edge_agent.custody.passphrase import encode_encrypted
from edge_agent.errors import CustodyError, EvidenceError
from edge_agent.host.atomic_file import write_new_file, write_small_file
from edge_agent.host.regular_file import open_regular, read_regular
from edge_agent.host.service_user import acting_as_owner, open_folder
from edge_agent.protocol.application import encode_csr, verify_csr
from edge_agent.protocol.public_keys import encode_public, thumbprint

RECORDER_USER = "edge-agent-recorder"
RELEASER_USER = "edge-agent-releaser"
PAGE_USER = "edge-agent-page"
DESK_USER = "edge-agent-desk"
GROUP = "edge-agent"

PUBLIC_KEYS = ("vault", "recorder", "gateway", "owner")


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of the state tree: its owner and its mode."""

    path: str
    holder: str
    """``root``, ``recorder``, ``releaser``, ``page`` or ``desk``."""
    mode: int


# The set-group-id bit gives new rings the group that the releaser reads them by. Root alone may write where public keys
# lie: they are pins.
TREE = (
    Folder(".", "root", 0o755),
    Folder("keys", "root", 0o755),
    Folder("keys/public", "root", 0o755),
    Folder("keys/recorder", "recorder", 0o700),
    Folder("keys/releaser", "releaser", 0o700),
    # The authority behind the page's certificate, and the page's own files.
    Folder("keys/page", "root", 0o700),
    Folder("page", "page", 0o700),
    Folder("desk", "desk", 0o700),
    Folder("rings", "recorder", 0o2750),
    Folder("recorder", "recorder", 0o700),
    Folder("holds", "releaser", 0o700),
    Folder("releaser", "releaser", 0o700),
    Folder("releaser/staging", "releaser", 0o700),
    Folder("consent", "releaser", 0o750),
    # Packages that will be installed as root, and root's notes of them for the releaser.
    Folder("update", "root", 0o700),
    Folder("update-notes", "root", 0o755),
)


@dataclass(frozen=True, slots=True)
class ServiceUsers:
    """The numbers of the services' users and of the group that joins the recorder and the releaser."""

    recorder: int
    releaser: int
    page: int
    desk: int
    group: int

    def holder(self, name: str) -> int:
        """Return the user of ``recorder``, ``releaser``, ``page`` or ``desk``; 0, root, for anybody else."""
        holders = {"recorder": self.recorder, "releaser": self.releaser, "page": self.page, "desk": self.desk}
        return holders.get(name, 0)


def find_users() -> ServiceUsers | None:
    """Return the services' users; None if this is not root or they do not exist: then it is a trial of one user."""
    if os.geteuid() != 0:
        return None
    try:
        names = (RECORDER_USER, RELEASER_USER, PAGE_USER, DESK_USER)
        recorder, releaser, page, desk = (pwd.getpwnam(name).pw_uid for name in names)
        return ServiceUsers(recorder, releaser, page, desk, grp.getgrnam(GROUP).gr_gid)
    except KeyError:
        return None


def create_state(state_dir: Path, owner_passphrase: str | None, users: ServiceUsers | None = None) -> tuple[str, ...]:
    """Make the folders and the keys that are missing.

    Args:
        state_dir: The state folder; made where it is missing.
        owner_passphrase: For the owner's keys; ``None`` where they are there already.
        users: The users that are given folders and keys; None: everything stays with the caller.

    Returns:
        The names of the private keys that were made, in order.

    Raises:
        CustodyError: A private key is missing but its public half is there (it would be replaced silently), the
            owner's passphrase is missing or weak, a file cannot be written, something else lies in a folder's or
            key's place, or an erasure is not finished.
    """
    # A new vault key now would be destroyed by the erasure that is given again, with the footage
    # recorded under it.
    if erasure_note_path(state_dir).exists():
        raise CustodyError("an erasure was begun and is not finished", "sudo edge-agent erase --everything")
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        for folder in TREE:
            _make_folder(state_dir, folder, users)
        made = tuple(name for name in KEY_HOLDER if _create_key(state_dir, name, owner_passphrase))
        if users is not None:
            for name, role in KEY_HOLDER.items():
                _give_key(locate_private(state_dir, name), users.holder(role), users.group)
        return (*made, IDENTITY_NAME) if _create_identity(state_dir, owner_passphrase) else made
    except OSError as error:
        raise CustodyError(f"state folder cannot be written: {error.filename}: {error.strerror}") from error


def _make_folder(state_dir: Path, folder: Folder, users: ServiceUsers | None) -> None:
    """Make a folder and give it away; by descriptor, because the one above it may be a service's."""
    names = () if folder.path == "." else folder.path.split("/")
    try:
        # Each step of the path by descriptor, and no link followed: root would otherwise chown the
        # target of a service's link.
        descriptor = open_folder(state_dir, *names, make=True)
    except NotADirectoryError as error:
        hint = "remove what lies there; another place is named in edge-agent.yaml (buffer.dir, uplink.staging_dir)"
        raise CustodyError(f"not a folder: {state_dir / folder.path}", hint) from error
    try:
        if users is not None:
            os.fchown(descriptor, users.holder(folder.holder), users.group)
        if users is not None or names or os.listdir(descriptor) == []:
            os.fchmod(descriptor, folder.mode)  # after fchown, which clears the set-group-id bit
    finally:
        os.close(descriptor)


def _give_key(path: Path, user: int, group: int) -> None:
    """Give a key file to its holder; another user's file, or one with a second name, is not given to anybody."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return
    try:
        found = os.fstat(descriptor)
        # A second name, or a file of another user: the holder of the folder may have put it there,
        # to be given a file that is not his.
        if found.st_nlink != 1 or found.st_uid not in (0, user):
            raise CustodyError(f"not this gateway's key: {path} uid={found.st_uid} names={found.st_nlink}")
        os.fchown(descriptor, user, group)
    finally:
        os.close(descriptor)


def is_complete(state_dir: Path) -> bool:
    """Tell whether every key is there."""
    sealed = custody_note_path(state_dir).exists()
    owned = (identity_path(state_dir), recipient_path(state_dir))
    return (sealed or all(locate_private(state_dir, name).exists() for name in KEY_HOLDER)) and all(
        path.exists() for path in (*(public_path(state_dir, name) for name in PUBLIC_KEYS), *owned)
    )


def public_path(state_dir: Path, name: str) -> Path:
    """Return where a public key's file lies."""
    return state_dir / "keys" / "public" / f"{name}.pem"


def erasure_note_path(state_dir: Path) -> Path:
    """Return the file that is there from the moment at which an erasure of everything begins until it has ended."""
    return state_dir / "erasing"


def _create_key(state_dir: Path, name: str, owner_passphrase: str | None) -> bool:
    path, public = locate_private(state_dir, name), public_path(state_dir, name)
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
    with acting_as_owner(path.parent):  # it may be the holder's already, and a link may lie there
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
    owner = locate_private(state_dir, "owner")
    # Proves the passphrase: both of the owner's keys must open with one.
    decode_private(read_guarded(owner, forbidden=0o077), owner_passphrase.encode(), str(owner))
    content, recipient = make_identity(owner_passphrase)
    write_new_file(path, content, 0o600)
    write_new_file(public, f"{recipient}\n".encode(), 0o644)
    return True


def write_csr(state_dir: Path, path: Path) -> bool:
    """Write the gateway's application to an RTCC (PROTOCOL 7), unless one with these very keys is there already.

    Returns:
        False if nothing was written: it is there, or the TLS key is sealed and only the releaser has it.
    """
    if not locate_private(state_dir, "tls").exists():
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
        applied = verify_csr(read_regular(path))
    except (OSError, EvidenceError):
        return None
    return [thumbprint(key) for key in (applied.tls, applied.gateway, applied.recorder, applied.owner)]

"""A copy of all that cannot be made again: the owner's keys, both configurations, passwords, and the ledger to be read.

An age file under the owner's passphrase (C2SP ``age``, scrypt), with a tar file in it: ``age -d`` and ``tar`` open it
without this program. It holds no key of a service and no footage: a restored gateway makes new ones. The ledger comes
back as an archive that gets no further entry, and never as the ledger: one that goes on from an old copy would be a
fork that has forgotten a revocation. The new ledger begins with the archive's checkpoint instead.
"""

import contextlib
import grp
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edge_agent.base64url import encode_b64, parse_b64
from edge_agent.custody.keys import KeyStore, locate_private
from edge_agent.custody.owner_identity import encrypt_under_passphrase, identity_path, open_identity, recipient_path
from edge_agent.errors import CustodyError, EvidenceError, UsageError
from edge_agent.host.atomic_file import write_new_file
from edge_agent.host.regular_file import NotRegularError, read_regular
from edge_agent.host.service_user import acting_as_owner
from edge_agent.protocol import merkle
from edge_agent.protocol.checkpoint import parse_leaf, read_origin, verify_checkpoint
from edge_agent.settings.gateway import Config
from edge_agent.setup.provision import GROUP
from edge_agent.uplink.store.sqlite_file import refuse_other_files

MAX_BYTES = 1 << 30
"""Of the packed files: age and tar work on them in memory."""
ARCHIVE_FOLDER = "ledger-archive"
STORE = "releaser/state.sqlite"
"""``Config.store_path``, within the state folder."""
LEDGER, CHECKPOINT = "ledger.jsonl", "checkpoint.txt"
CONFIGURATION = ("edge-agent.yaml", "consent.yaml", "credentials.yaml", "notify.yaml")
_KEYS = {
    "owner.pem": 0o600,
    "owner.age": 0o600,
    "owner.pub.pem": 0o644,
    "owner.age.pub": 0o644,
    "gateway.pub.pem": 0o644,
}
_README = """\
A backup of an edge agent: the owner's two keys (still under the passphrase), the configuration with passwords, and the
ledger as an archive. To restore, on a gateway without keys: edge-agent init --from-backup FILE (docs/recovery.md).
"""


@dataclass(frozen=True, slots=True)
class Backup:
    """The files of a backup, by name, after they were verified."""

    files: Mapping[str, bytes]
    entries: int
    checkpoint: str
    """The newest signed head that the archive holds; empty if no head was ever signed."""


def make_backup(config: Config, folder: Path, passphrase: str) -> bytes:
    """Return an encrypted backup.

    Args:
        config: The configuration: it names the folders of keys and ledger.
        folder: Of the configuration files.
        passphrase: The owner's: it must open both keys that are in it.

    Raises:
        CustodyError: A key is missing, or the passphrase is another.
        UsageError: The ledger is too large for one backup.
    """
    state = config.state_dir
    # Before anything is packed: a backup whose keys open with another passphrase than its envelope
    # could not be restored.
    KeyStore(state, "owner").load_private("owner", passphrase.encode())
    open_identity(state, passphrase)
    files = {"README.txt": _README.encode()}
    sources = {
        "owner.pem": locate_private(state, "owner"),
        "owner.age": identity_path(state),
        "owner.pub.pem": state / "keys/public/owner.pem",
        "owner.age.pub": recipient_path(state),
        "gateway.pub.pem": state / "keys/public/gateway.pem",
        **{name: folder / name for name in CONFIGURATION},
    }
    try:
        files |= {name: path.read_bytes() for name, path in sources.items() if name in _KEYS or path.exists()}
    except OSError as error:
        raise CustodyError(f"cannot be read: {error.filename}: {error.strerror}") from error
    files |= _read_ledger(config.store_path)
    packed = _pack(files)
    if len(packed) > MAX_BYTES:
        raise UsageError(f"the ledger is too large for a backup: {len(packed)} bytes")
    return encrypt_under_passphrase(packed, passphrase)


def open_backup(content: bytes, passphrase: str) -> Backup:
    """Decrypt a backup and verify all of it.

    Raises:
        CustodyError: The passphrase does not open it, or it is no backup.
        EvidenceError: Its ledger is not the one that its gateway signed.
    """
    try:
        packed = pyrage.passphrase.decrypt(content, passphrase)
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            known = {*_KEYS, *CONFIGURATION, LEDGER, CHECKPOINT, "README.txt"}
            # By name from a fixed list, and regular files only: no member of a tar file decides
            # where something is written.
            files = {each.name: _content(tar, each) for each in tar if each.isfile() and each.name in known}
    except pyrage.DecryptError as error:
        raise CustodyError("the passphrase does not open this backup, or it is damaged") from error
    except (tarfile.TarError, ValueError) as error:
        raise CustodyError("this is no backup of an edge agent") from error
    missing = sorted(name for name in (*_KEYS, "edge-agent.yaml", LEDGER) if name not in files)
    if missing:
        raise CustodyError(f"the backup lacks {', '.join(missing)}")
    checkpoint = files.get(CHECKPOINT, b"").decode()
    return Backup(files, _verify_ledger(files[LEDGER], checkpoint, files["gateway.pub.pem"]), checkpoint)


def restore(backup: Backup, folder: Path, state_dir: Path) -> tuple[str, ...]:
    """Lay down what a backup holds, beside nothing that is there; ``init`` makes the rest.

    One that was interrupted is done again by the same backup: the keys come last, and what it wrote stays. The gateway
    that made the backup, with its keys and without its store, gets the archive alone.

    Returns:
        The paths that were written.

    Raises:
        UsageError: There are other keys already: a restore would mix two gateways, or two ledgers.
        CustodyError: A file cannot be written.
    """
    archive = state_dir / ARCHIVE_FOLDER
    places = _list_places(folder, state_dir)
    written = []
    try:
        if _has_other_keys(state_dir, {path: backup.files.get(name) for name, path in places.items()}):
            _demand_lost_store(backup, state_dir)
            places = {name: path for name, path in places.items() if path.parent == archive}
        for name, path in places.items():
            if name not in backup.files or _is_kept(name, path, backup.files[name]):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            write_new_file(path, backup.files[name], _mode_of(name))
            written.append(str(path))
        _guard(archive)
    except OSError as error:
        raise CustodyError(f"cannot be written: {error.filename}: {error.strerror}") from error
    return tuple(written)


def _has_other_keys(state_dir: Path, ours: Mapping[Path, bytes | None]) -> bool:
    return any(not _holds(path, ours.get(path)) for path in (state_dir / "keys").rglob("*.pem"))


def _holds(path: Path, content: bytes | None) -> bool:
    # The folders in it are the services' own: root neither waits for what lies there nor follows it.
    try:
        return read_regular(path) == content
    except NotRegularError:
        return False


def _demand_lost_store(backup: Backup, state_dir: Path) -> None:
    """Demand that the keys are those of the gateway that made the backup, and that its ledger is gone."""
    public = state_dir / "keys/public"
    for key, name in (("owner", "owner.pub.pem"), ("gateway", "gateway.pub.pem")):
        path = public / f"{key}.pem"
        if not path.exists() or path.read_bytes() != backup.files[name]:
            hint = "a backup is restored on a gateway that has none"
            raise UsageError(f"there are keys in {state_dir} already, and not all are the backup's", hint)
    if (state_dir / STORE).exists():
        hint = "only if it is damaged: stop the releaser and move it away first (docs/recovery.md)"
        raise UsageError(f"this gateway has its keys and its ledger already: {state_dir / STORE}", hint)


def _list_places(folder: Path, state_dir: Path) -> dict[str, Path]:
    """Return where each file goes, in the order of writing."""
    # The keys last: until they lie there, an interrupted restore can be given again.
    keys, archive = state_dir / "keys", state_dir / ARCHIVE_FOLDER
    return {
        "gateway.pub.pem": archive / "gateway.pem",
        LEDGER: archive / LEDGER,
        CHECKPOINT: archive / CHECKPOINT,
        **{name: folder / name for name in CONFIGURATION},
        "owner.age": keys / "owner.age",
        "owner.age.pub": keys / "public/owner.age.pub",
        "owner.pem": keys / "owner.pem",
        "owner.pub.pem": keys / "public/owner.pem",
    }


def _is_kept(name: str, path: Path, content: bytes) -> bool:
    """Tell whether what lies there stays: a configuration, or the same bytes; the rest is refused when written."""
    return path.exists() and (name in CONFIGURATION or path.read_bytes() == content)


def _mode_of(name: str) -> int:
    if name in CONFIGURATION:
        return 0o600 if name in ("credentials.yaml", "notify.yaml") else 0o644
    return _KEYS.get(name, 0o440)


def _guard(archive: Path) -> None:
    """Let the releaser read the archive, and no other user of this machine."""
    archive.chmod(0o750)
    with contextlib.suppress(KeyError, PermissionError):  # a trial has neither the group nor root
        group = grp.getgrnam(GROUP).gr_gid
        for path in (archive, *archive.iterdir()):
            os.chown(path, -1, group, follow_symlinks=False)


def _pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o600
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None
    return file.read()


def _read_ledger(path: Path) -> dict[str, bytes]:
    """Read every leaf as it was hashed, and the newest signed head; neither if there is no ledger yet."""
    if not path.exists():
        return {LEDGER: b""}
    # With the releaser's rights: no journal of root's stays behind, which would shut the releaser out.
    with acting_as_owner(path.parent):
        refuse_other_files(path)
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            # One snapshot: leaves and signed head must be of the same moment, while the releaser
            # goes on.
            connection.execute("BEGIN")
            leaves = [bytes(leaf) for (leaf,) in connection.execute("SELECT leaf FROM ledger_leaves ORDER BY idx")]
            note = connection.execute("SELECT note FROM ledger_checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    lines = "".join(json.dumps({"leaf": encode_b64(leaf)}) + "\n" for leaf in leaves).encode()
    return {LEDGER: lines} | ({CHECKPOINT: str(note[0]).encode()} if note else {})


def _leaves(lines: bytes) -> Iterator[bytes]:
    for line in lines.splitlines():
        try:
            leaf = parse_b64(json.loads(line)["leaf"])
        except (ValueError, KeyError, TypeError) as error:
            raise EvidenceError("the backup's ledger has a line that is no entry") from error
        parse_leaf(leaf)
        yield leaf


def _verify_ledger(lines: bytes, checkpoint: str, gateway: bytes) -> int:
    """Recompute the tree up to the signed head; return the number of entries, those after it included."""
    nodes: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        return nodes[level, index]

    size = 0
    for leaf in _leaves(lines):
        nodes.update(dict(merkle.append(size, merkle.leaf_hash(leaf), read)))
        size += 1
    if not checkpoint:
        return size
    try:
        key = load_pem_public_key(gateway)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceError("the backup's gateway key is none") from error
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError("the backup's gateway key is none")
    # By the key in the backup itself: the passphrase vouches for that one, as for the rest.
    head = verify_checkpoint(checkpoint, read_origin(checkpoint), key)
    if head.size > size or merkle.root(head.size, read) != head.root:
        raise EvidenceError("the backup's ledger is not the one that was signed")
    return size

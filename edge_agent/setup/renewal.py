"""Everything erased: the vault's key first, then every ring, hold and staged bundle; then a new key and a fresh start.

A one-shot for root (on a gateway without systemd: for whoever runs it), because no service may delete its own key. From
the moment the key is gone, what is left of the footage anywhere is noise. Killed at any point, it is given again.
Never touches the owner's, the recorder's, the gateway's or the TLS key, the ledger's past, or the owner's pauses.
"""

import fcntl
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.buffer.ring import wipe_ring
from edge_agent.clock import SystemClock
from edge_agent.config import Config
from edge_agent.control import call
from edge_agent.errors import CustodyError, EdgeAgentError, RingBusyError, UnavailableError, UsageError
from edge_agent.host.regular_file import open_reader, open_regular
from edge_agent.keys import custody_note_path, encode_private, encode_public, generate, private_path, thumbprint
from edge_agent.setup.provision import hand_over, public_path
from edge_agent.small_file import sync_folder, write_small_file
from edge_agent.uplink import ledger
from edge_agent.uplink.store import Store

log = logging.getLogger(__name__)

UNITS = ("edge-agent.target", "edge-agent-recorder.service", "edge-agent-releaser.service")
SEALED_VAULT = Path("/etc/credstore.encrypted/edge-agent.vault")
_STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Renewal:
    """What was destroyed, the new key's thumbprint, and whether the services run again."""

    destroyed: tuple[str, ...]
    vault: str
    restarted: bool


def renew_vault(config: Config, *, has_services: bool, sealed: Path = SEALED_VAULT) -> Renewal:
    """Destroy all footage and the key that opens it; make a new key. Durable on return.

    Args:
        config: Where everything lies.
        has_services: This is the gateway that systemd runs, where it does: its services are stopped and started.
        sealed: Where ``scripts/install --seal`` put the vault's key, if it did.

    Raises:
        UsageError: Somebody without the right to the keys asked.
        RingBusyError: A process runs that is not systemd's.
        CustodyError: The TPM does not take the new key; nothing was destroyed.
    """
    _demand_right(config.state_dir)
    services = has_services and Path("/run/systemd/system").is_dir()
    if services:
        subprocess.run(["systemctl", "stop", *UNITS], check=True, timeout=_STOP_TIMEOUT_S, stdin=subprocess.DEVNULL)
    with _nobody_else(config):
        key = generate("vault")
        # A TPM that refuses is found out before anything is gone.
        draft = _seal(encode_private(key), sealed) if custody_note_path(config.state_dir).exists() else None
        destroyed = [str(path) for path in (private_path(config.state_dir, "vault"), sealed) if _shred(path)]
        public_path(config.state_dir, "vault").unlink(missing_ok=True)
        destroyed += _destroy_footage(config)
        if draft is not None:
            draft.rename(sealed)
            sync_folder(sealed.parent)
        else:
            write_small_file(private_path(config.state_dir, "vault"), encode_private(key), mode=0o600)
        write_small_file(public_path(config.state_dir, "vault"), encode_public(key.public_key()), mode=0o644)
        hand_over(config.state_dir)
        _enter(config, len(destroyed))
    if services:
        subprocess.run(["systemctl", "start", UNITS[0]], check=True, timeout=_STOP_TIMEOUT_S, stdin=subprocess.DEVNULL)
    return Renewal(tuple(destroyed), thumbprint(key.public_key()), services)


def _demand_right(state_dir: Path) -> None:
    try:
        owner = (state_dir / "keys" / "releaser").stat().st_uid
    except OSError as error:
        raise CustodyError(f"state folder has no keys: {state_dir}", "is this the right --config?") from error
    if os.geteuid() not in (0, owner):
        raise UsageError("only root may destroy the vault's key", "sudo edge-agent erase --everything")


@contextmanager
def _nobody_else(config: Config) -> Iterator[None]:
    """Make sure that neither process runs, and that no recorder begins meanwhile."""
    for name in ("recorder", "releaser"):
        try:
            call(config.control_path(name), "status")
        except UnavailableError:
            continue
        except EdgeAgentError:
            pass
        raise RingBusyError(f"the {name} runs", hint="Stop `edge-agent run`, then give the command again.")
    lock = config.recorder_state_dir / "lock"
    if not lock.exists():
        yield
        return
    with open_reader(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RingBusyError("a recorder runs", hint="Stop it, then give the command again.") from None
        yield


def _seal(pem: bytes, sealed: Path) -> Path:
    """Bind a key to this machine's TPM, as the installer did; it never lies on the disk in the clear."""
    draft = sealed.with_name(sealed.name + ".part")
    words = ["systemd-creds", "encrypt", "--with-key=tpm2", "--name=vault", "-", str(draft)]
    try:
        subprocess.run(words, input=pem, capture_output=True, check=True, timeout=_STOP_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise CustodyError("the TPM does not take a new vault key; nothing was destroyed") from error
    return draft


def _shred(path: Path) -> bool:
    """Overwrite a small file and delete it; what flash memory keeps of it is in docs/threat-model.md."""
    try:
        with os.fdopen(open_regular(path, os.O_RDWR), "rb+") as file:
            file.write(os.urandom(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return False
    path.unlink()
    sync_folder(path.parent)
    return True


def _destroy_footage(config: Config) -> list[str]:
    """Wipe every ring file, those of cameras that are no longer configured included, every hold, every staged byte."""
    destroyed = []
    for path in sorted(config.rings_dir.glob("*.ring*")) if config.rings_dir.is_dir() else []:
        wipe_ring(path)
        destroyed.append(str(path))
    for folder in (config.holds_dir, config.staging_dir):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            path.unlink()
            destroyed.append(str(path))
    for path in (config.recorder_state_dir / "rings.json", config.status_path):
        path.unlink(missing_ok=True)
    return destroyed


def _enter(config: Config, files: int) -> None:
    """Enter the erasure in the ledger and forget the headers of all uploads; the releaser ends what was under way."""
    if not config.store_path.exists():
        return
    owner = config.store_path.stat()
    with Store(config.store_path) as store, store.transaction() as connection:
        for release in store.list_releases():
            store.forget_header(connection, release.request_id)
        entry = {"what": "everything erased, new vault key", "camera": "*", "windows": ["all"], "files": files}
        ledger.append(connection, "erase", entry, SystemClock().utc())
    for path in config.store_path.parent.glob(config.store_path.name + "*"):
        os.chown(path, owner.st_uid, owner.st_gid)  # root's new journal would shut the releaser out

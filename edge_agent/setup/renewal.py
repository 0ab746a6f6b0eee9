"""Everything erased: the vault's key first, then every ring, hold and staged bundle; then a new key and a fresh start.

A one-shot for root (on a gateway without systemd: for the user who runs it), because no service may delete its own key.
From the moment the key is gone, what is left of the footage anywhere is noise. Killed at any point, it is given again:
a note in the state folder says that it was begun, and no command makes a new key meanwhile. The files in a service's
folders are destroyed with that service's rights, so that a link planted there leads nowhere. Never touches the owner's,
the recorder's, the gateway's or the TLS key, the ledger's past, or the owner's pauses.
"""

import fcntl
import fnmatch
import logging
import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.buffer.ring import wipe_ring
from edge_agent.custody.keys import PrivateKey, custody_note_path, encode_private, generate, locate_private
from edge_agent.errors import CustodyError, EdgeAgentError, RingBusyError, UnavailableError, UsageError
from edge_agent.host.atomic_file import sync_folder, write_small_file
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call
from edge_agent.host.regular_file import NotRegularError, open_regular, overwrite_regular
from edge_agent.host.service_user import acting_as_owner, remove_entry
from edge_agent.ledger import entries
from edge_agent.ledger.owner_kinds import ErasedAllEntry
from edge_agent.protocol.public_keys import encode_public, thumbprint
from edge_agent.settings.gateway import Config
from edge_agent.setup.machine import is_systemd_running
from edge_agent.setup.provision import erasure_note_path, public_path
from edge_agent.uplink.store.database import Database

log = logging.getLogger(__name__)

UNITS = ("edge-agent.target", "edge-agent-recorder.service", "edge-agent-releaser.service")
SEALED_VAULT = Path("/etc/credstore.encrypted/edge-agent.vault")
_SERVICES_TIMEOUT_S = 300.0
"""More than the units' own: a recorder may take three minutes until it is ready."""
_SEAL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Renewal:
    """The destroyed things, the others and why, the new key's thumbprint, and whether the services run again."""

    destroyed: tuple[str, ...]
    failed: dict[str, str]
    vault: str
    restarted: bool


@dataclass(slots=True)
class _Work:
    """The steps that are done so far."""

    destroyed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def go_on_after_errors(self, what: Path) -> Iterator[None]:
        """Note what could not be done, and let the rest be done: without the key it is noise anyway."""
        try:
            yield
        except (OSError, EdgeAgentError, sqlite3.Error) as error:
            self.failed[_show(what)] = getattr(error, "strerror", None) or str(error)


def renew_vault(config: Config, *, has_services: bool, sealed: Path = SEALED_VAULT) -> Renewal:
    """Destroy all footage and the key that opens it; make a new key. Durable on return.

    A thing that cannot be destroyed (a disk that fails) is named, and does not keep the gateway from recording again:
    the key that opened it is gone.

    Args:
        config: Where everything lies.
        has_services: This is the gateway that systemd runs, if it does: its services are stopped and started.
        sealed: Where ``edge-agent init --seal`` put the vault's key, if it did.

    Raises:
        UsageError: Somebody without the right to the keys asked.
        RingBusyError: A process runs that is not systemd's.
        CustodyError: The TPM does not take the new key, and nothing was destroyed; or a key cannot be destroyed or
            written: give it again.
    """
    _demand_right(config.state_dir)
    services = has_services and is_systemd_running()
    if services:
        _stop_services()
    work = _Work()
    with _nobody_else(config):
        key = generate("vault")
        # A TPM that refuses is found out before anything is gone.
        draft = _seal(encode_private(key), sealed) if custody_note_path(config.state_dir).exists() else None
        try:
            # The note first: from here on a kill leaves a gateway on which ``init`` refuses to make
            # a key before this is finished.
            write_small_file(erasure_note_path(config.state_dir), b"begun\n", mode=0o644)
            # The key before the footage: one small file, after which every ring and hold is noise,
            # however long wiping them takes.
            _destroy_key(config.state_dir, sealed, work)
            _destroy_footage(config, work)
            _write_key(config.state_dir, key, draft, sealed)
        except OSError as error:
            hint = "the erasure is not finished: give the command again"
            raise CustodyError(f"{error.filename}: {error.strerror}", hint) from error
        with work.go_on_after_errors(config.store_path), acting_as_owner(config.store_path.parent):
            _enter(config, work)
        # Last of the steps that a second run repeats.
        erasure_note_path(config.state_dir).unlink()
        sync_folder(config.state_dir)
    restarted = services and _start_services()
    _destroy_mirrors(config, work)
    return Renewal(tuple(work.destroyed), work.failed, thumbprint(key.public_key()), restarted)


def _stop_services() -> None:
    try:
        _run_systemctl("stop", *UNITS)
    except (OSError, subprocess.SubprocessError) as error:
        hint = "systemctl status 'edge-agent*' shows why; nothing was destroyed"
        raise RingBusyError("the services do not stop", hint) from error


def _start_services() -> bool:
    try:
        _run_systemctl("start", UNITS[0])
    except (OSError, subprocess.SubprocessError) as error:
        log.error("services do not start: %s", type(error).__name__)
        return False
    return True


def _run_systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True, timeout=_SERVICES_TIMEOUT_S, stdin=subprocess.DEVNULL)


def _demand_right(state_dir: Path) -> None:
    try:
        owner = os.lstat(state_dir / "keys" / "releaser").st_uid
    except OSError as error:
        raise CustodyError(f"state folder has no keys: {state_dir}", "is this the right --config?") from error
    if os.geteuid() not in (0, owner):
        raise UsageError("only root may destroy the vault's key", "sudo edge-agent erase --everything")


@contextmanager
def _nobody_else(config: Config) -> Iterator[None]:
    """Make sure that neither process runs, and that none begins meanwhile."""
    for name in ("recorder", "releaser"):
        try:
            call(config.control_path(name), "status")
        # Nobody listens at the socket: the process does not run.
        except UnavailableError:
            continue
        # It answered, if only with a refusal: it runs.
        except EdgeAgentError:
            pass
        raise RingBusyError(f"the {name} runs", hint="Stop `edge-agent run`, then give the command again.")
    with ExitStack() as locks:
        for name, folder in (("recorder", config.recorder_state_dir), ("releaser", config.store_path.parent)):
            if folder.is_dir():
                locks.enter_context(_locked(folder, name))
        yield


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a process's lock; a thing in the lock's place that is no file is removed, and locks nobody out."""
    path = folder / "lock"
    with acting_as_owner(folder):
        try:
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT, mode=0o640)
        except NotRegularError:
            remove_entry(folder, path.name)
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o640)
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RingBusyError(f"a {name} runs", hint="Stop it, then give the command again.") from None
        yield


def _seal(pem: bytes, sealed: Path) -> Path:
    """Bind a key to this machine's TPM, as the installer did; it never lies on the disk in the clear."""
    draft = sealed.with_name(sealed.name + ".part")
    words = ["systemd-creds", "encrypt", "--with-key=tpm2", "--name=vault", "-", str(draft)]
    try:
        subprocess.run(words, input=pem, capture_output=True, check=True, timeout=_SEAL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise CustodyError("the TPM does not take a new vault key; nothing was destroyed") from error
    return draft


def _destroy_key(state_dir: Path, sealed: Path, work: _Work) -> None:
    """Destroy every form of the vault's private key, then the pin; OSError if that fails."""
    for path in (locate_private(state_dir, "vault"), sealed):
        with acting_as_owner(path.parent):
            if _shred(path):
                work.destroyed.append(_show(path))
    public_path(state_dir, "vault").unlink(missing_ok=True)
    sync_folder(public_path(state_dir, "vault").parent)


def _shred(path: Path) -> bool:
    """Overwrite a small file and delete it; tell whether one was there."""
    try:
        overwrite_regular(path)
    # Destroyed by an earlier run, or never there: of a sealed key there is no file, of a plain one
    # no sealed copy.
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (NotRegularError, PermissionError):
        # Not a file that the key's holder could use: nothing is overwritten behind a link, a hard one included.
        log.warning("no key lies in a key's place, and it is removed path=%s", path)
    remove_entry(path.parent, path.name)
    return True


def _destroy_footage(config: Config, work: _Work) -> None:
    """Wipe every ring file, those of cameras that are no longer configured included, every hold, every staged byte."""
    with acting_as_owner(config.recorder_state_dir):
        for folder in config.ring_folders:
            _empty(folder, "*.ring*", config, work)
        for path in (config.recorder_state_dir / "rings.json", config.status_path):
            with work.go_on_after_errors(path):
                if os.path.lexists(path):
                    remove_entry(path.parent, path.name)
    with acting_as_owner(config.store_path.parent):
        for folder in (config.holds_dir, config.keeps_dir, config.staging_dir):
            _empty(folder, "*", config, work)


def _destroy_mirrors(config: Config, work: _Work) -> None:
    """Wipe the copies, last of all: a share that hangs must not keep the gateway from its new key and its recording."""
    if config.buffer.mirror_dir is None:
        return
    with acting_as_owner(config.recorder_state_dir):
        # Two turns: the recorder runs again, and may set a copy aside, under another name, during the first.
        turns = [_Work(), _Work()]
        for turn in turns:
            _empty(config.buffer.mirror_dir, "*.ring*", config, turn)
    work.destroyed.extend(dict.fromkeys(path for turn in turns for path in turn.destroyed))
    work.failed.update(turns[-1].failed)


def _empty(folder: Path, pattern: str, config: Config, work: _Work) -> None:
    """Destroy what a folder holds; a link in its place that a service could plant is itself destroyed."""
    if not os.path.lexists(folder):
        return
    # Root alone decides what lies in the state folder itself, and where other places are.
    is_ours = folder.parent == config.state_dir or not folder.is_relative_to(config.state_dir)
    if not is_ours and not stat.S_ISDIR(os.lstat(folder).st_mode):
        with work.go_on_after_errors(folder):
            remove_entry(folder.parent, folder.name)
            work.destroyed.append(_show(folder))
        return
    names: list[str] = []
    with work.go_on_after_errors(folder):
        names = sorted(fnmatch.filter(os.listdir(folder), pattern))
    for path in (folder / name for name in names):
        with work.go_on_after_errors(path):
            if pattern != "*" and stat.S_ISREG(os.lstat(path).st_mode):
                wipe_ring(path)
            else:
                remove_entry(folder, path.name)
            work.destroyed.append(_show(path))


def _show(path: Path) -> str:
    """Return a path as a terminal can take it: somebody else may have chosen the name."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def _write_key(state_dir: Path, key: PrivateKey, draft: Path | None, sealed: Path) -> None:
    private = locate_private(state_dir, "vault")
    if draft is not None:
        draft.rename(sealed)
        sync_folder(sealed.parent)
    else:
        with acting_as_owner(private.parent):
            for name in (private.name, f"{private.name}.new"):  # what was planted since, or lies in the draft's way
                if os.path.lexists(private.with_name(name)):
                    remove_entry(private.parent, name)
            write_small_file(private, encode_private(key), mode=0o600)
    write_small_file(public_path(state_dir, "vault"), encode_public(key.public_key()), mode=0o644)


def _enter(config: Config, work: _Work) -> None:
    """Enter the erasure in the ledger and forget the headers of all uploads; the releaser ends what was under way."""
    if not config.store_path.exists():
        return
    with Database(config.store_path) as store, store.transaction() as connection:
        for release in store.releases.list_all():
            store.releases.forget_header(connection, release.request_id)
        entries.append(connection, ErasedAllEntry(len(work.destroyed)), SystemClock().utc())

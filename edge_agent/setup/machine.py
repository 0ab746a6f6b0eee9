"""The parts that depend on this machine and not on the program: the modes of the configuration, drop-ins, sealed keys.

Called by ``edge-agent init`` on a gateway, and as ``python -m edge_agent.setup.machine`` by the package after an
upgrade. Doing it again changes nothing. Must never destroy a key that was not read back from its sealed copy.
"""

import ctypes
import grp
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_agent.custody.keys import KEY_HOLDER, custody_note_path, locate_private
from edge_agent.errors import CustodyError, EdgeAgentError
from edge_agent.host.atomic_file import sync_folder, write_small_file
from edge_agent.host.regular_file import overwrite_regular, read_regular
from edge_agent.host.service_user import acting_as_owner
from edge_agent.settings.gateway import load_config
from edge_agent.setup.dropins import encode_dropin
from edge_agent.setup.provision import GROUP

CONFIG_DIR = Path("/etc/edge-agent")
UNIT_DIR = Path("/etc/systemd/system")
CREDENTIAL_STORE = Path("/etc/credstore.encrypted")
SERVICES = ("recorder", "releaser")
_FOR_BOTH = ("edge-agent.yaml", "consent.yaml")
_FOR_ROOT = ("credentials.yaml", "notify.yaml")
_TSS = ("libtss2-esys.so.0", "libtss2-rc.so.0", "libtss2-mu.so.0", "libtss2-tcti-device.so.0")
"""The libraries that systemd loads as soon as it is asked for a TPM (its tpm2-util.c)."""
_TIMEOUT_S = 60.0
_MAX_PEM_BYTES = 16 << 10
_TRIAL = b"edge-agent: can this machine seal?"


def guard_configuration(folder: Path) -> None:
    """Let the two processes read the configuration, and root alone the secrets: addresses and the place are private."""
    group = grp.getgrnam(GROUP).gr_gid
    # The folder first: from then on no other user can put a link into it.
    os.chown(folder, 0, group, follow_symlinks=False)
    folder.chmod(0o750)
    for name in (*_FOR_BOTH, *_FOR_ROOT):
        path = folder / name
        if path.is_file() and not path.is_symlink():
            os.chown(path, 0, group if name in _FOR_BOTH else 0, follow_symlinks=False)
            path.chmod(0o640 if name in _FOR_BOTH else 0o600)


def write_dropins(config_path: Path, unit_dir: Path = UNIT_DIR) -> None:
    """Write the drop-ins of both services, and have systemd read them if it runs."""
    config, version = load_config(config_path), read_systemd_version()
    for service in SERVICES:
        path = unit_dir / f"edge-agent-{service}.service.d" / "machine.conf"
        text = encode_dropin(config, service, version)
        if text:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_small_file(path, text.encode(), mode=0o644)
        else:
            path.unlink(missing_ok=True)
    if is_systemd_running():
        _run("systemctl", "daemon-reload")


def is_systemd_running() -> bool:
    """Tell whether systemd is this machine's first process (``sd_booted(3)``)."""
    return Path("/run/systemd/system").is_dir()


def read_systemd_version() -> int:
    """Return systemd's version; 0 if it is not installed."""
    try:
        said = _run("systemctl", "--version").stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.match(r"systemd ([0-9]+)", said)
    return int(found[1]) if found else 0


def try_sealing() -> None:
    """Seal a few bytes to the TPM and open them again.

    ``systemd-creds has-tpm2`` asks the firmware as well, which on a board without UEFI knows of no TPM that works; a
    library that is missing it calls a missing TPM.

    Raises:
        CustodyError: It does not work here; the hint names the missing part.
    """
    try:
        sealed = _run("systemd-creds", "encrypt", "--with-key=tpm2", "--name=trial", "-", "-", content=_TRIAL).stdout
        opened = _run("systemd-creds", "decrypt", "--name=trial", "-", "-", content=sealed).stdout
    except FileNotFoundError as error:
        raise CustodyError("sealing needs systemd-creds", "systemd 250 or newer has it") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise CustodyError("this machine cannot seal keys; nothing was changed", _explain(error)) from error
    if opened != _TRIAL:
        raise CustodyError("the TPM gave back other bytes than it was given; nothing was changed")


def _explain(error: Exception) -> str:
    said = (getattr(error, "stderr", None) or b"").decode(errors="replace")
    if not _has_tpm():
        return "there is no TPM 2.0 (/dev/tpmrm0); on a Raspberry Pi its board needs an overlay"
    # Asked of the machine: systemd 252 says "TPM2 support not installed", 257 that the TPM cannot do AES-128-CFB.
    if missing := [each for each in _TSS if not _is_loadable(each)]:
        return f"install libtss2 ({missing[0]} is missing): apt-get install tpm2-tools, which brings all of it"
    last = said.strip().splitlines()[-1:] or [type(error).__name__]
    return f"systemd-creds says: {last[0][:200]}"


def _has_tpm() -> bool:
    return any(Path("/dev").glob("tpmrm*"))


def _is_loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def open_sealed(name: str, store: Path = CREDENTIAL_STORE) -> bytes:
    """Return a sealed key as PEM, as its service gets it; empty if this machine does not open it. As root."""
    try:
        return _run("systemd-creds", "decrypt", f"--name={name}", str(store / f"edge-agent.{name}"), "-").stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def seal_keys(state_dir: Path, store: Path = CREDENTIAL_STORE) -> tuple[str, ...]:
    """Bind the services' keys to this machine's TPM, read each one back, then destroy the files.

    Returns:
        The names that were sealed now; those of before are not touched.

    Raises:
        CustodyError: A key did not come back as it was; every file is still there.
    """
    names = [name for name in KEY_HOLDER if name != "owner" and locate_private(state_dir, name).is_file()]
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    drafts = [(name, _seal(name, locate_private(state_dir, name), store)) for name in names]
    for name, draft in drafts:
        # Only once all of them came back: a machine with some keys sealed and some not is no state
        # of its own.
        draft.rename(store / f"edge-agent.{name}")
    # In this order: the sealed copies durable, then the note that says where keys are, then the
    # files. A cut between two of them leaves a key twice and never nowhere.
    sync_folder(store)
    if names:
        write_small_file(custody_note_path(state_dir), b"tpm\n", mode=0o644)
    for name in names:
        _shred(locate_private(state_dir, name))
    return tuple(names)


def _seal(name: str, path: Path, store: Path) -> Path:
    draft = store / f"edge-agent.{name}.part"
    with acting_as_owner(path.parent):  # The folder is its holder's, and a link may lie there.
        pem = read_regular(path, _MAX_PEM_BYTES)
    try:
        _run("systemd-creds", "encrypt", "--with-key=tpm2", f"--name={name}", "-", str(draft), content=pem)
        # Read back from the draft before any file is destroyed: a TPM that seals and does not
        # unseal would cost the key.
        opened = _run("systemd-creds", "decrypt", f"--name={name}", str(draft), "-").stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise CustodyError(f"the TPM does not take {name}; nothing was destroyed", _explain(error)) from error
    if opened != pem:
        raise CustodyError(f"the TPM did not give back {name}; nothing was destroyed")
    return draft


def _shred(path: Path) -> None:
    with acting_as_owner(path.parent):
        # Its bytes first, and on the disk: a name alone is easily undone.
        overwrite_regular(path)
        path.unlink()
        sync_folder(path.parent)


def _run(*words: str, content: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(words, input=content, capture_output=True, check=True, timeout=_TIMEOUT_S)


def main(arguments: Sequence[str]) -> int:
    """Bring this machine's settings in step with the configuration; 78 where that is refused."""
    folder = Path(arguments[0]) if arguments else CONFIG_DIR
    try:
        write_dropins(folder / "edge-agent.yaml")
    except EdgeAgentError as error:
        print(f"edge-agent: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

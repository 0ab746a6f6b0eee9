"""``edge-agent init``: keys, state folder and a commented configuration for a new gateway."""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from edge_agent.commands import page
from edge_agent.commands.daemon import DEFAULT_CONFIG
from edge_agent.commands.owner_key import read_passphrase
from edge_agent.custody.keys import KeyStore, custody_note_path, locate_private
from edge_agent.custody.passphrase import MIN_CHARACTERS, check_strength
from edge_agent.errors import ConfigError, CustodyError, EdgeAgentError, UsageError
from edge_agent.host.atomic_file import write_new_file
from edge_agent.host.hardening import keep_memory_from_swap
from edge_agent.host.questions import agrees
from edge_agent.host.regular_file import read_regular
from edge_agent.host.terminal import ask_secret, print_text, working
from edge_agent.page.settings import settings_path
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Config, load_config, parse_config
from edge_agent.setup import machine, page_service
from edge_agent.setup.backup import CONFIGURATION, MAX_BYTES, Backup, open_backup, restore
from edge_agent.setup.provision import RECORDER_USER, RELEASER_USER, create_state, find_users, is_complete, write_csr
from edge_agent.setup.shipped import find_shipped, read_shipped

CONFIG_FILES = {
    "edge-agent.yaml": 0o644,
    "edge-agent.schema.json": 0o644,
    "consent.yaml": 0o644,
    "consent.schema.json": 0o644,
}
SECRET_FILES = {
    "credentials.yaml": "# User names and passwords of the cameras, for the recorder alone:\n"
    "# door: {username: viewer, password: 'any characters'}\n",
    "notify.yaml": "# Services that tell the owner, for the releaser alone; the names go into `notify.services`:\n"
    "# phone: ntfys://ntfy.example.net/topic\n",
}
CSR_FILE = "gateway.csr"
ATTEMPTS = 5
"""So often a weak or mistyped passphrase is asked again."""

_DESCRIPTION = """\
Make a gateway's keys and folders, and write a commented configuration.

Asks for the owner's passphrase, twice. It is the owner's and not the installer's: nothing can leave this house, and no
refusal can be undone, without it. It cannot be recovered.

May be run again at any time: what is there already is kept, keys above all.
"""
_EPILOG = """\
examples:
  sudo edge-agent init                              /etc/edge-agent and /var/lib/edge-agent
  sudo edge-agent init --seal                       the same, and bind the keys to this machine's TPM 2.0
  edge-agent init --config trial --state trial/state    a trial without root
  edge-agent init --passphrase-file /dev/fd/3 3<<< "$PASSPHRASE"    in a script
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/edge-agent"),
        metavar="PATH",
        help="configuration goes into this folder, or is this edge-agent.yaml [%(default)s]",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="keys, rings and ledger go here [as the configuration says, /var/lib/edge-agent in a new one]",
    )
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="read the owner's passphrase from here (- for standard input)",
    )
    parser.add_argument(
        "--seal", action="store_true", help="bind the services' keys to this machine's TPM 2.0 (gateway only)"
    )
    parser.add_argument(
        "--from-backup",
        type=Path,
        metavar="FILE",
        help="the owner, configuration and ledger archive of a backup",
    )
    parser.add_argument(
        "--page",
        nargs="*",
        metavar="ADDRESS",
        help="turn the page for the browsers of your home on as well, at these addresses [those of this machine]",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the missing parts and name the next step; 0, or the exit code of the error."""
    folder = _find_folder(args.config)
    state_dir: Path | None = args.state.absolute() if args.state is not None else None
    if args.seal:  # before anything is made: a refusal leaves nothing behind
        if folder != machine.CONFIG_DIR:
            raise UsageError("--seal is for a gateway that systemd runs, not for a trial")
        machine.try_sealing()
    restored = None if args.from_backup is None else _restore(args, folder, state_dir)
    planned = _plan_state(folder, state_dir)
    for each in (folder, planned):
        _demand_writable(each)
    passphrase = restored
    if passphrase is None and not is_complete(planned):  # asked before anything is made: a refusal leaves nothing
        passphrase = _ask_passphrase(args.passphrase_file, planned)
    written = _write_config(folder, state_dir)
    config = load_config(folder / "edge-agent.yaml")
    users = find_users()
    with working("making keys"):
        made = create_state(config.state_dir, passphrase, users)
    if write_csr(config.state_dir, folder / CSR_FILE):
        written.append(CSR_FILE)
    with contextlib.suppress(OSError):  # /run/edge-agent is systemd's to make
        config.gateway.run_dir.mkdir(mode=0o755, exist_ok=True)
    if users is not None and folder == machine.CONFIG_DIR:
        machine.guard_configuration(folder)
        if args.seal:
            machine.seal_keys(config.state_dir)
        machine.write_dropins(folder / "edge-agent.yaml")
    _report(folder, config.state_dir, written, made, users is not None)
    if args.page is not None or (args.passphrase_file is None and _wants_page(config)):
        _turn_page_on(config, args.page or [])
    return 0


def _find_folder(path: Path) -> Path:
    """Return the folder of the configuration, of which ``path`` may name the file, as for every other command."""
    if path.suffix != ".yaml" or path.is_dir():
        return path.absolute()
    if path.name != DEFAULT_CONFIG.name:
        raise UsageError(f"{path}: init writes {DEFAULT_CONFIG.name}", "name its folder; rename the file afterwards")
    return path.parent.absolute()


def _wants_page(config: Config) -> bool:
    """Ask whether the page should be on, if somebody is there to answer and it is off; no answer is a no."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or settings_path(page_service.page_dir(config)).exists():
        return False
    return agrees("A page for the phones of your home: to see, to stop, and to say yes?")


def _turn_page_on(config: Config, addresses: list[str]) -> None:
    """Turn it on; a missing part costs the page and nothing else."""
    try:
        page_service.demand_packages()
        page.turn_on(config, page_service.choose_settings(config, addresses, [], None))
    except EdgeAgentError as error:
        print_text(f"the page is off: {error}. {error.hint}")


def _restore(args: argparse.Namespace, folder: Path, state_dir: Path | None) -> str:
    """Lay a backup down; return the owner's passphrase."""
    passphrase = read_passphrase(args.passphrase_file).decode()
    try:
        content = read_regular(args.from_backup, MAX_BYTES, follow=True)
    except OSError as error:
        raise UsageError(f"{args.from_backup}: cannot be read: {error.strerror}") from error
    backup = open_backup(content, passphrase)
    written = restore(backup, folder, _plan_restored(folder, state_dir, backup))
    for path in written:
        print_text(f"restored: {path}")
    for name in CONFIGURATION:
        if name in backup.files and (folder / name).exists() and str(folder / name) not in written:
            print_text(f"kept: {folder / name} was there already")
    print_text(f"the ledger's {backup.entries} entries are an archive; a new ledger begins with its last signed head")
    return passphrase


def _plan_restored(folder: Path, wanted: Path | None, backup: Backup) -> Path:
    """Return where the state goes by the configuration that will count: the one that is there, else the backup's."""
    if (folder / "edge-agent.yaml").exists():
        return _plan_state(folder, wanted)
    text = backup.files["edge-agent.yaml"].decode(errors="replace")
    configured = parse_config(text, "edge-agent.yaml of the backup", folder).state_dir
    if wanted not in (None, configured):
        raise UsageError(f"the backup's edge-agent.yaml says state_dir: {configured}", "leave out --state")
    return configured


def _write_config(folder: Path, state_dir: Path | None) -> list[str]:
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, mode in CONFIG_FILES.items():
            optional = name.endswith(".json") and find_shipped(f"config/{name}") is None
            if optional or (folder / name).exists():
                continue
            text = read_shipped(f"config/{name}")
            if name == "edge-agent.yaml" and state_dir is not None:
                text = _move_state(text, state_dir)
            write_new_file(folder / name, text.encode(), mode)
            written.append(name)
        for name, text in SECRET_FILES.items():
            if not (folder / name).exists():
                write_new_file(folder / name, text.encode(), 0o600)
                written.append(name)
    except OSError as error:
        hint = "run it as root, or with --config and --state in a folder of yours"
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}", hint) from error
    return written


def _move_state(text: str, state_dir: Path) -> str:
    """Put another state folder into the shipped text; a trial keeps its sockets there as well."""
    # In the text, not by a YAML writer: that would lose the comments that explain every key.
    run_dir = state_dir / "run"
    text = text.replace("\n  state_dir: /var/lib/edge-agent\n", f"\n  state_dir: {json.dumps(str(state_dir))}\n", 1)
    return text.replace("\n  run_dir: /run/edge-agent\n", f"\n  run_dir: {json.dumps(str(run_dir))}\n", 1)


def _plan_state(folder: Path, wanted: Path | None) -> Path:
    """Return where the state goes; UsageError if a configuration is there that says otherwise."""
    path = folder / "edge-agent.yaml"
    if not path.exists():
        return wanted or Path("/var/lib/edge-agent")
    configured = load_config(path).state_dir
    if wanted is not None and wanted != configured:
        raise UsageError(
            f"{path} is there already and says state_dir: {configured}", "leave out --state, or change the file"
        )
    return configured


def _demand_writable(folder: Path) -> None:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        # By trying: the mode does not tell of a read-only file system or of an ACL.
        os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError as error:
        hint = "run it as root, or with --config and --state in a folder of yours"
        raise ConfigError(f"{there}: cannot be written, nothing was made: {error.strerror}", hint) from error


def _ask_passphrase(path: Path | None, state_dir: Path) -> str:
    """Return the owner's passphrase: that of an owner's key that is there, else a new one, strong and typed twice."""
    # From a file it is neither asked for again nor typed twice: a script cannot answer.
    if path is not None:
        passphrase = read_passphrase(path).decode()
        _check_passphrase(passphrase, state_dir)
        return passphrase
    if not sys.stdin.isatty():
        raise UsageError("the owner's passphrase is asked for at a terminal", "in a script: --passphrase-file FILE")
    keep_memory_from_swap()
    if not locate_private(state_dir, "owner").exists():
        rule = f"The owner chooses a passphrase of at least {MIN_CHARACTERS} characters. It cannot be recovered."
        print(rule, file=sys.stderr)
    for _ in range(ATTEMPTS):
        passphrase = ask_secret("owner's passphrase: ")
        try:
            _check_passphrase(passphrase, state_dir)
        except CustodyError as error:
            print(f"{error}. Once more, please.", file=sys.stderr)
            continue
        if locate_private(state_dir, "owner").exists() or ask_secret("the same once more: ") == passphrase:
            return passphrase
        print("The two differ. Once more, please, from the beginning.", file=sys.stderr)
    raise CustodyError(f"no passphrase after {ATTEMPTS} attempts; nothing was made", "give the command again")


def _check_passphrase(passphrase: str, state_dir: Path) -> None:
    if locate_private(state_dir, "owner").exists():
        # The passphrase of the key that is there: the owner must not end up with two.
        KeyStore(state_dir, "owner").load_private("owner", passphrase.encode())
    else:
        check_strength(passphrase)


def _report(folder: Path, state_dir: Path, written: list[str], made: tuple[str, ...], is_handed_over: bool) -> None:
    print_text(f"configuration: {folder}" + (f" (new: {', '.join(written)})" if written else " (nothing new)"))
    print_text(
        f"state:         {state_dir}" + (f" (new keys: {', '.join(made)})" if made else " (all keys were there)")
    )
    public = KeyStore(state_dir, "owner")
    print_text(f"owner's key:   {thumbprint(public.load_public('owner'))}")
    print_text(f"gateway's key: {thumbprint(public.load_public('gateway'))}")
    if custody_note_path(state_dir).exists():
        print_text("custody:       sealed to this machine's TPM")
    if not is_handed_over:
        print_text(
            f"note: the users {RECORDER_USER} and {RELEASER_USER} were not given their folders: this is a trial in "
            "which one user runs both processes. The package sets up a gateway."
        )
    print_text(_next_steps(folder, state_dir))


def _next_steps(folder: Path, state_dir: Path) -> str:
    is_default = str(folder) == "/etc/edge-agent"
    option = "" if is_default else f" --config {folder}/edge-agent.yaml"
    start = "systemctl enable --now edge-agent.target" if is_default else f"edge-agent run{option}"
    return "\n".join(
        (
            "",
            "Next:",
            f"  1. Keep copies of owner.pem and owner.age in {state_dir}/keys outside this machine: your signature, "
            "and what opens every clip that was sent. Both are encrypted under your passphrase.",
            f"  2. Describe the cameras and the place in {folder}/edge-agent.yaml, and passwords in "
            "credentials.yaml beside it. `edge-agent discover` finds ONVIF cameras and prints the lines for it.",
            f"  3. edge-agent check{option}",
            f"  4. {start}",
            "     It records from here on; your own export and the ledger work, and nobody can ask for anything yet.",
            f"  5. Send {folder}/{CSR_FILE} to your RTCC; install its answer: edge-agent enrol FILE{option}",
            "     What runs goes on by itself with it.",
            f"  6. The owner decides in {folder}/consent.yaml. As shipped it lets nothing out.",
            f"  7. The owner signs: edge-agent consent sign{option}",
        )
    )

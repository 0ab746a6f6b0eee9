"""``edge-agent backup``: one encrypted file with all that cannot be made again."""

import argparse
import sys
from pathlib import Path

from edge_agent.commands.daemon import add_config
from edge_agent.commands.owner_key import add_passphrase, read_passphrase
from edge_agent.errors import EdgeAgentError
from edge_agent.host.control_socket import call
from edge_agent.host.terminal import print_text, working
from edge_agent.host.unnamed_file import NewFile
from edge_agent.settings.gateway import load_config
from edge_agent.setup.backup import make_backup, open_backup

_DESCRIPTION = """\
Write one file, encrypted under your passphrase: your two keys, both configuration files, the passwords of cameras and
services, and your ledger. Keep it outside of this house. It holds no footage and nothing that opens footage.

  sudo edge-agent backup --out backup.age
  age -d backup.age | tar -tv                     what is in it, without this program
  sudo edge-agent init --from-backup backup.age   on a new gateway: the same owner (docs/recovery.md)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file")
    add_passphrase(parser)
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the backup, after it was opened again."""
    config = load_config(args.config)
    passphrase = read_passphrase(args.passphrase_file).decode()
    try:
        call(config.control_path("releaser"), "ledger-checkpoint", timeout_s=30)
    # It goes on without: all entries are in the backup, and its archive says up to which head they
    # are signed.
    except EdgeAgentError as error:
        print(f"note: the ledger's newest entries are not under a signed head: {error}", file=sys.stderr)
    with working("encrypting, and opening it again"):
        content = make_backup(config, args.config.parent, passphrase)
        # Before the file has its name: a backup that does not open is noticed now, and not after
        # the loss.
        found = open_backup(content, passphrase)
    with NewFile(args.out) as new:
        new.file.write(content)
        new.keep()
    print_text(f"{args.out}: {len(content)} bytes, {found.entries} entries of the ledger")
    return 0

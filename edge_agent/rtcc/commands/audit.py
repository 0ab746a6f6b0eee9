"""``rtcc audit``: sign what happened here, and look whether it is still what was signed."""

import argparse
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import CustodyError, EvidenceError, UsageError
from edge_agent.protocol.checkpoint import find_note, verify_growth
from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import generate_signing_key, kid_of, load_signing_key, replace, write_private_key
from edge_agent.rtcc.state.audit_tree import AuditTree, origin_of

_EPILOG = """\
examples:
  rtcc audit sign --out /media/witness/audit-2026-05-04.note     daily, from cron or a timer
  rtcc audit check                                               is everything as it was signed?
  rtcc audit check --remembered /media/witness/audit-2026-05-04.note

Every enrolment, revocation, request, answer and conflict is an event. sign puts the new ones into a Merkle tree and
signs its head; the first time it makes the key, audit.key.pem. Keep each note where nobody can change it: whoever owns
database and key could write another audit, and the notes show it. Ends with 65 if something was changed. With a
database server, connect as the owner of the tables.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    sign = actions.add_parser("sign", help="sign the head of the audit")
    add_home(sign)
    sign.add_argument("--out", type=Path, metavar="FILE", help="write the signed note here [stdout]")
    sign.set_defaults(run=run_sign)
    check = actions.add_parser("check", help="look at all of it")
    add_home(check)
    check.add_argument("--remembered", type=Path, metavar="FILE", help="a note that you kept")
    check.set_defaults(run=run_check)


def run_sign(args: argparse.Namespace) -> int:
    """Sign."""
    home = open_home(args)
    note = _tree(home).sign(_load_key(home, make=True), read_now())
    if args.out is None:
        print(note, end="")
        return 0
    replace(args.out, note.encode())
    print(f"signed: file={args.out} leaves={note.splitlines()[1]}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Check."""
    home = open_home(args)
    key = _load_key(home).public_key()
    tree = _tree(home)
    findings = tree.check(key)
    print(f"nothing was changed: leaves={findings.leaves} checkpoints={findings.checkpoints}")
    print(f"not signed yet: events={findings.waiting}")
    if args.remembered is not None:
        remembered = _read_note(args.remembered)
        # A checkpoint's second line (C2SP tlog-checkpoint); its signature is verified below.
        size = remembered.split("\n")[1]
        if not size.isdecimal():
            raise EvidenceError(f"not a checkpoint: {args.remembered}")
        old, new = verify_growth(tree.prove_growth(int(size)), remembered, origin_of(home.settings.iss), key)
        print(f"the audit goes on: from_size={old.size} size={new.size}; nothing of it was rewritten")
    return 0


def _tree(home: RtccHome) -> AuditTree:
    return AuditTree(home.state.database, origin_of(home.settings.iss))


def _read_note(path: Path) -> str:
    try:
        return find_note(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {path}: {error}") from error


def _load_key(home: RtccHome, *, make: bool = False) -> Ed25519PrivateKey:
    path = home.path / "audit.key.pem"
    if make and not path.exists():
        key = generate_signing_key()
        write_private_key(path, key, home.passphrase)
        print(f"made the audit's key: thumbprint={kid_of(key)}", file=sys.stderr)
    loaded = load_signing_key(path, home.passphrase)
    if not isinstance(loaded, Ed25519PrivateKey):
        raise CustodyError(f"key is of the wrong kind: {path}")
    return loaded

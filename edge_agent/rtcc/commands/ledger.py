"""``rtcc ledger``: does a gateway's ledger still begin with the entries of a checkpoint that we kept?"""

import argparse
from pathlib import Path

from edge_agent.errors import EvidenceError, UsageError
from edge_agent.protocol import jws
from edge_agent.protocol.checkpoint import find_note, ledger_origin, read_origin, verify_growth
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.office.enrol import gateway_key

_EPILOG = """\
example:
  rtcc ledger growth.json --remembered opened/UPLOAD/evidence/ledger.json

The owner makes the proof: `edge-agent ledger prove-growth FILE`, with the checkpoint that you kept and sent. Works
offline, with the key that the gateway was enrolled with. Ends with 65 where the proof fails: keep both checkpoints
then; together, their signatures show that the ledger was rewritten.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    parser.add_argument("proof", type=Path, metavar="PROOF", help="what `edge-agent ledger prove-growth` printed")
    parser.add_argument(
        "--remembered",
        type=Path,
        required=True,
        metavar="FILE",
        help="the checkpoint that you kept, or a proof",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify the proof; print its meaning."""
    home = open_home(args)
    try:
        remembered, raw = find_note(args.remembered.read_text(encoding="utf-8")), args.proof.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}") from error
    origin = read_origin(remembered)
    gateway = origin.rpartition("/")[2]
    if not home.has_gateway(gateway) or ledger_origin(gateway) != origin:
        raise EvidenceError(f"checkpoint is of no gateway that was enrolled here: {origin[:80]!r}")
    value = jws.parse_strict_json(raw, 1 << 20)
    old, new = verify_growth(value, remembered, origin, gateway_key(home, gateway))
    print(f"the ledger goes on: gateway={gateway} from_size={old.size} size={new.size}; nothing of it was rewritten")
    return 0

"""``edge-agent ring``: their content, whether they are as they were written, and their bytes for a developer."""

import argparse
import json
import os

from edge_agent.buffer.disk import FileDisk
from edge_agent.buffer.read.check import dump_ring
from edge_agent.commands.daemon import add_config
from edge_agent.commands.ring_check import check_rings
from edge_agent.commands.ring_files import find_rings, load_config_if_any
from edge_agent.commands.ring_ls import list_rings
from edge_agent.host.control_socket import call
from edge_agent.host.terminal import print_json, print_text
from edge_agent.settings.gateway import load_config

_DESCRIPTION = """\
A ring is the encrypted file of one camera. Nothing here opens footage; only `accept` changes anything.

  edge-agent ring ls                  footage and gaps of every camera, days by hours
  edge-agent ring ls door --json      the same for a script
  edge-agent ring check               every byte of every ring: checksums, signatures, chain
  edge-agent ring check copy.ring     a copied file; needs no key
  edge-agent ring dump door           header pages and record headers as JSON lines
  edge-agent ring accept door         take the ring that is there, or a new one: after a change of disk
"""
_MOST_DAYS = 14
_ANSWER_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in {
        "ls": "a timeline of footage, gaps and their reasons",
        "check": "check every byte; exit code 74 if something is wrong",
        "dump": "print header pages and record headers as JSON lines; needs no key",
        "accept": "if the recorder misses a ring or finds another one at its path: take what is there, or make one",
    }.items():
        each = verbs.add_parser(verb, help=text, description=text)
        each.add_argument(
            "rings", nargs="*", metavar="RING", help="a camera (door, door.sub) or a ring file; all if none is named"
        )
        if verb == "ls":
            each.add_argument("--days", type=int, default=_MOST_DAYS, help="how many days at most [%(default)s]")
        add_config(each)
        each.add_argument("--json", action="store_true", help="print JSON")
        each.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out one verb; only ``accept`` changes anything."""
    verbs = {"ls": list_rings, "check": check_rings, "dump": _dump, "accept": _accept}
    return verbs[args.verb](args)


def _accept(args: argparse.Namespace) -> int:
    config = load_config(args.config)
    storage: dict[str, str] = {}
    for name in [ring for ring, _ in find_rings(args, config)]:
        storage |= call(config.control_path("recorder"), "accept-ring", timeout_s=_ANSWER_S, ring=name)["storage"]
    if args.json:
        print_json(storage)
    else:
        for name, state in sorted(storage.items()):
            print_text(f"{name}: {state}")
        print_text(
            "A consent is for the rings that it names: after a change the owner signs again (edge-agent consent sign)"
        )
    return 0 if all(state == "ok" for state in storage.values()) else os.EX_IOERR


def _dump(args: argparse.Namespace) -> int:
    for _, path in find_rings(args, load_config_if_any(args)):
        with FileDisk.open(path) as disk:
            for line in dump_ring(disk):
                print(json.dumps(line))
    return 0

"""``edge-agent ledger``: everything that was asked, decided and released, and whether the list was rewritten."""

import argparse
import json
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import add_config
from edge_agent.errors import UsageError
from edge_agent.host.control_socket import call, stream
from edge_agent.host.terminal import print_json, print_table, working
from edge_agent.local_time import encode_local
from edge_agent.protocol.checkpoint import find_note
from edge_agent.settings.gateway import load_config
from edge_agent.units import parse_rfc3339

_DESCRIPTION = """\
The ledger holds every request, decision, release, refusal, pause and change of policy. Nothing in it can be changed
quietly: each entry is a leaf of a tree whose head your gateway signs.

  edge-agent ledger show               the last entries, newest last
  edge-agent ledger show --all --json  all of them, for a script
  edge-agent ledger verify             recompute the whole tree and compare
  edge-agent ledger prove 17           the proof that entry 17 stands in the ledger, for somebody else
  edge-agent ledger checkpoint         the signed head of the whole ledger: keep it outside this machine
  edge-agent ledger prove-growth FILE  the proof that nothing was rewritten since a checkpoint, for who kept it
  edge-agent ledger report             counts per month, agency, category and outcome
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="print entries as a table")
    show.add_argument("--last", type=int, default=40, metavar="N", help="how many [%(default)s]")
    show.add_argument("--all", action="store_true", help="all of them")
    show.add_argument("--kind", action="append", default=[], help="only this kind; may be given again")
    verify = verbs.add_parser("verify", help="recompute the tree, check every signature")
    verify.add_argument(
        "--remembered", action="append", default=[], metavar="FILE", help="a checkpoint that somebody kept, or a proof"
    )
    prove = verbs.add_parser("prove", help="print the inclusion proof of one entry")
    prove.add_argument("entry", type=int, metavar="ENTRY", help="its number in `ledger show`")
    checkpoint = verbs.add_parser("checkpoint", help="print the signed head of the whole ledger, to be kept")
    growth = verbs.add_parser("prove-growth", help="print the proof that the ledger goes on from a checkpoint")
    growth.add_argument("remembered", metavar="FILE", help="the checkpoint that somebody kept, or a proof")
    dump = verbs.add_parser("dump", help="print every entry as a line of JSON")
    report = verbs.add_parser("report", help="counts per month, agency, category and outcome")
    for verb in (show, verify, prove, checkpoint, growth, dump, report):
        add_config(verb)
        verb.add_argument("--json", action="store_true", help="print JSON")
        verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out one verb through the releaser's control socket."""
    path = load_config(args.config).control_path("releaser")
    if args.verb == "show":
        _show(args, list(_entries(path, args)))
    elif args.verb == "dump":
        _dump(_entries(path, args))
    elif args.verb == "verify":
        notes = [_read(name) for name in args.remembered]
        with working("verifying every entry"):
            found = call(path, "ledger-verify", timeout_s=600, remembered=notes)
        if args.json:
            print_json(found)
        else:
            print(
                f"the ledger is whole: entries={found['size']} signed_checkpoints={found['checkpoints']} "
                f"remembered={found['remembered']}\nroot {found['root']}"
            )
    elif args.verb == "prove":
        print_json(call(path, "ledger-prove", index=args.entry)["proof"])
    elif args.verb == "checkpoint":
        print(call(path, "ledger-checkpoint")["checkpoint"], end="")
    elif args.verb == "prove-growth":
        print_json(call(path, "ledger-growth", remembered=_read(args.remembered))["proof"])
    else:
        lines = call(path, "ledger-report", timeout_s=60)["lines"]
        if args.json:
            print_json(lines)
        else:
            print_table(("MONTH", "KIND", "AGENCY", "CATEGORY", "OUTCOME", "COUNT"), lines)
    return 0


def _entries(path: Any, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    # 0 asks for all of them.
    last = 0 if args.verb == "dump" or args.all else args.last
    for answer in stream(path, "ledger", kinds=getattr(args, "kind", []), last=last):
        yield from answer.get("entries", ())


def _show(args: argparse.Namespace, entries: list[dict[str, Any]]) -> None:
    if args.json:
        print_json(entries)
        return
    if not entries:
        print("nothing is entered so far" + (" of this kind" if args.kind else ""))
        return
    zone = ZoneInfo(load_config(args.config).gateway.time_zone)
    rows: list[tuple[object, ...]] = []
    after = entries[0]["index"]
    for entry in entries:
        if entry["index"] > after and not args.kind:  # the releaser leaves padding out
            rows.append(("", "", "padding", "", f"{entry['index'] - after} × against counting"))
        at = encode_local(parse_rfc3339(entry["at"]), zone)
        rows.append((entry["index"], at, entry["kind"], entry.get("request") or "", _summary(entry["entry"])))
        after = entry["index"] + 1
    print_table(("ENTRY", "AT", "KIND", "REQUEST", "WHAT"), rows)


def _dump(entries: Iterator[dict[str, Any]]) -> None:
    for entry in entries:
        print(json.dumps(entry, sort_keys=True))


def _summary(entry: dict[str, Any]) -> str:
    """Say an entry in one line: its outcome, its reasons, and the rest that is short."""
    words = [str(entry[name]) for name in ("outcome", "what", "camera", "incident", "category") if entry.get(name)]
    words = ["all cameras" if word == "*" else word for word in words]
    for reason in entry.get("reasons", ()):
        words.append(reason["code"] + (f" ({reason['camera']})" if reason.get("camera") else ""))
    if "count" in entry:
        words.append(f"{entry['count']} × {entry.get('reason', '')}")
    return ", ".join(words)


def _read(name: str) -> str:
    try:
        with open(name, encoding="utf-8") as file:
            # A checkpoint has a few lines; of a wrong file 1 MiB is enough to see that it is none.
            return find_note(file.read(1 << 20))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: checkpoint cannot be read: {error}") from error

"""``rtcc open``: list what can be opened; decrypt, verify, and say in words what is proved."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.rtcc.commands.folder import add_home, open_home

if TYPE_CHECKING:
    from edge_agent.rtcc.deliveries import Delivery
    from edge_agent.rtcc.findings import Findings
    from edge_agent.rtcc.home import RtccHome

_EPILOG = """\
examples:
  rtcc open                               list what can be opened
  rtcc open UPLOAD                        into the home's opened/UPLOAD/
  rtcc open JTI                           every bundle of one request
  rtcc open UPLOAD --out case-4711        clips, evidence, findings.json, certificate.txt
  rtcc open UPLOAD --age bundle.age       only join key and upload: a stock age file, opens with `age --decrypt`
  rtcc open --file bundle.age --gateway ID

Works offline. Ends with 0 where nothing failed, 65 where something is not as it must be.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "open",
        help="decrypt and verify delivered bundles",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", metavar="UPLOAD|JTI", help="left out: list what there is")
    add_home(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to unpack [opened/UPLOAD in the home]")
    parser.add_argument("--received", type=Path, metavar="DIR", help="where uploads are [received/ in the home]")
    parser.add_argument("--age", type=Path, metavar="FILE", help="write a stock age file and open nothing")
    parser.add_argument("--file", type=Path, metavar="FILE", help="a whole age file from elsewhere")
    parser.add_argument("--gateway", metavar="ID", help="whose bundle --file is")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open what the words name."""
    from edge_agent.errors import UsageError

    home = open_home(args)
    if args.file is not None:
        return _open_file(args, home)
    if args.what is None:
        return _list(args, home)
    found = _find(home, args.what)
    if len(found) > 1 and (args.out or args.age):
        raise UsageError("several bundles do not go into one place", "open each by its upload's name")
    if args.age is not None:
        from edge_agent.rtcc.deliveries import assemble

        print(f"written: {assemble(home, found[0], args.age, args.received)}")
        return 0
    return max([_open(args, home, delivery) for delivery in found])


def _find(home: "RtccHome", what: str) -> "list[Delivery]":
    from edge_agent.errors import EvidenceError
    from edge_agent.rtcc.deliveries import deliveries

    found = [delivery for delivery in deliveries(home) if what in (delivery.jti, delivery.file.upload)]
    if not found:
        raise EvidenceError(f"no key was handed over for this: {what[:64]!r}", "`rtcc watch` fetches the answers")
    return found


def _open(args: argparse.Namespace, home: "RtccHome", delivery: "Delivery") -> int:
    from edge_agent.rtcc.deliveries import open_delivery

    out_dir = args.out or home.opened_dir / delivery.file.upload
    return _report(args, open_delivery(home, delivery, out_dir, args.received))


def _open_file(args: argparse.Namespace, home: "RtccHome") -> int:
    from edge_agent.errors import UsageError
    from edge_agent.rtcc.deliveries import load_known_keys
    from edge_agent.rtcc.open import open_bundle

    if args.gateway is None or not args.file.is_file():
        raise UsageError("--file needs a file that is there, and --gateway", "rtcc open --file bundle.age --gateway ID")
    out_dir = args.out or home.opened_dir / args.file.stem
    known = load_known_keys(home, args.gateway)
    return _report(args, open_bundle(args.file, b"", home.load_identity(), known, out_dir))


def _report(args: argparse.Namespace, findings: "Findings") -> int:
    from edge_agent.terminal import print_json

    if args.json:
        print_json(findings.as_json())
    else:
        print(findings.as_text(), end="")
    return os.EX_OK if findings.ok else os.EX_DATAERR


def _list(args: argparse.Namespace, home: "RtccHome") -> int:
    from edge_agent.rtcc.deliveries import deliveries, find_upload
    from edge_agent.terminal import print_json, print_table
    from edge_agent.units import encode_size

    rows: list[dict[str, Any]] = [
        {
            "upload": delivery.file.upload,
            "camera": delivery.file.camera,
            "gateway": delivery.gateway,
            "jti": delivery.jti,
            "size": delivery.file.size,
            "received": find_upload(home, delivery.file.upload, args.received) is not None,
        }
        for delivery in deliveries(home)
    ]
    if args.json:
        print_json(rows)
    elif rows:
        print_table(
            ("UPLOAD", "CAMERA", "GATEWAY", "REQUEST", "SIZE", "HERE"),
            [
                (row["upload"], row["camera"], row["gateway"], row["jti"], encode_size(row["size"]),
                 "yes" if row["received"] else "no")
                for row in rows
            ],
        )  # fmt: skip
    else:
        print("nothing was delivered yet")
    return 0

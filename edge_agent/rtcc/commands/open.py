"""``rtcc open``: list what can be opened; decrypt, verify, and say in words what is proved."""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from edge_agent.errors import UsageError
from edge_agent.host.terminal import ask_secret, print_json, print_table, working
from edge_agent.protocol.answer import Delivery
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.commands.received import add_received, fetch_payloads, find_received
from edge_agent.rtcc.deliveries import (
    assemble,
    deliveries,
    delivery_page,
    load_delivery,
    load_known_keys,
    open_delivery,
)
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import read_passphrase
from edge_agent.units import encode_size
from edge_agent.verifier.findings import Findings
from edge_agent.verifier.open import is_zip, open_bundle, read_identity
from edge_agent.verifier.opened_bundle import KnownKeys, Pins

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_EPILOG = """\
examples:
  rtcc open                               list what can be opened
  rtcc open UPLOAD                        into the home's opened/UPLOAD/
  rtcc open JTI                           every bundle of one request
  rtcc open UPLOAD --out case-4711        clips, evidence, findings.json, certificate.txt
  rtcc open UPLOAD --age bundle.age       only join key and upload: a stock age file, opens with `age --decrypt`
  rtcc open --file bundle.age --gateway ID
  rtcc open UPLOAD --received s3://city   out of the object store of city/uploads

a bundle that an owner exported and handed to you: no home is needed, and nothing of a crime center's
  age-keygen -o key.txt                   your key; give the owner the public half, age1...
  rtcc open --file case.age --identity key.txt
  rtcc open --file case.age --identity key.txt --pin=THUMBPRINT --pin=THUMBPRINT --pin=THUMBPRINT

Such a bundle brings the keys that it is verified with, and cannot vouch for them. What rests on a key whose thumbprint
you name by --pin is proved; of the rest it is said that the keys in the bundle alone attest it. Ask the owner for the
thumbprints over another way than the bundle came; with --gateway, those that were pinned at enrolment count.

Works offline. Ends with 0 where nothing failed, 65 where something is not as it must be.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    parser.add_argument("what", nargs="?", metavar="UPLOAD|JTI", help="left out: list what there is")
    add_home(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to unpack [opened/UPLOAD in the home]")
    add_received(parser)
    parser.add_argument("--age", type=Path, metavar="FILE", help="write a stock age file and open nothing")
    parser.add_argument("--file", type=Path, metavar="FILE", help="a whole age file from elsewhere, or its ZIP")
    parser.add_argument("--gateway", metavar="ID", help="whose bundle --file is: an enrolled gateway's")
    parser.add_argument("--identity", type=Path, metavar="FILE", help="age identity that opens --file [the home's]")
    parser.add_argument(
        "--pin", action="append", default=[], metavar="THUMBPRINT",
        help="of a key of the house, told by another way",
    )  # fmt: skip
    parser.add_argument("--after", default="", metavar="UPLOAD", help="of the list: what follows it")
    parser.add_argument("--limit", type=int, default=500, metavar="N", help="of the list: how many [%(default)s]")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open what the words name."""
    if args.file is not None:
        return _open_file(args)
    if args.gateway or args.identity or args.pin:
        raise UsageError("--gateway, --identity and --pin go with --file")
    home = open_home(args)
    if args.what is None:
        return _list(args, home)
    found = _find(home, args.what)
    if len(found) > 1 and (args.out or args.age):
        raise UsageError("several bundles do not go into one place", "open each by its upload's name")
    with fetch_payloads(args.received, home, found) as received_dir:
        if args.age is not None:
            print(f"written: {assemble(home, found[0], args.age, received_dir)}")
            return 0
        return max([_open(args, home, delivery, received_dir) for delivery in found])


def _find(home: RtccHome, what: str) -> list[Delivery]:
    return list(deliveries(home, what)) or [load_delivery(home, what)]


def _open(args: argparse.Namespace, home: RtccHome, delivery: Delivery, received_dir: Path | None) -> int:
    out_dir = args.out or home.opened_dir / delivery.file.upload
    with working("decrypting and verifying"):
        opened = open_delivery(home, delivery, out_dir, received_dir)
    return _report(args, opened)


def _open_file(args: argparse.Namespace) -> int:
    if not args.file.is_file():
        raise UsageError(f"{args.file}: there is no such file")
    if args.pin and args.gateway:
        raise UsageError("--gateway has its pins from the home", "--pin is for a house that is not enrolled there")
    if wrong := next((each for each in args.pin if not _THUMBPRINT.fullmatch(each)), None):
        raise UsageError(f"not a thumbprint: {wrong[:48]!r}", "43 letters, digits, - and _")
    is_plain = is_zip(args.file)
    needs_home = args.gateway is not None or not (is_plain or args.identity)
    home = open_home(args) if needs_home else None
    known: KnownKeys | Pins = Pins(frozenset(args.pin))
    if home is not None and args.gateway is not None:
        known = load_known_keys(home, args.gateway)
    identity = ""
    if not is_plain:
        identity = home.load_identity() if home is not None and args.identity is None else _read_identity(args)
    folder = Path(f"{args.file.stem}-opened") if home is None else home.opened_dir / args.file.stem
    with working("decrypting and verifying"):
        opened = open_bundle(args.file, b"", identity, known, args.out or folder)
    return _report(args, opened)


def _read_identity(args: argparse.Namespace) -> str:
    def ask() -> bytes:
        return read_passphrase(args.passphrase_file) or ask_secret(f"passphrase of {args.identity}: ").encode()

    return read_identity(args.identity, ask)


def _report(args: argparse.Namespace, findings: Findings) -> int:
    if args.json:
        print_json(findings.as_json())
    else:
        print(findings.as_text(), end="")
    return os.EX_OK if findings.ok else os.EX_DATAERR


def _list(args: argparse.Namespace, home: RtccHome) -> int:
    known = delivery_page(home, args.after, args.limit)
    rows: list[dict[str, Any]] = [
        {
            "upload": delivery.file.upload,
            "camera": delivery.file.camera,
            "gateway": delivery.gateway,
            "jti": delivery.jti,
            "size": delivery.file.size,
            "received": is_received,
        }
        for delivery, is_received in zip(known, find_received(args.received, home, known), strict=True)
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
        if len(rows) == args.limit:
            print(f"next: rtcc open --after {rows[-1]['upload']}")
    else:
        print("nothing was delivered yet" if not args.after else "nothing more was delivered")
    return 0

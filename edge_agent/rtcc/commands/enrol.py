"""``rtcc enrol``: a gateway's application becomes an enrolment file; servers get certificates."""

import argparse
import sys
from pathlib import Path

from edge_agent.errors import EvidenceError, UsageError
from edge_agent.protocol.application import MAX_CSR_BYTES
from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.office.enrol import enrol, enrol_server
from edge_agent.rtcc.office.keys import replace

_EPILOG = """\
examples:
  rtcc enrol gateway.csr --out enrolment.json --note "case 12"   `edge-agent enrol FILE` installs it
  rtcc enrol gateway.csr --out enrolment.json --renew            a new certificate for the same gateway
  rtcc enrol --server broker.example --server 192.0.2.7          certificate and key, filed under the first name

A gateway gets a random id. Neither its certificate nor its topics say whose it is or where.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    parser.add_argument("csr", type=Path, nargs="?", metavar="gateway.csr", help="written by `edge-agent init`")
    add_home(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the enrolment file here [stdout]")
    parser.add_argument("--renew", action="store_true", help="a further certificate for an enrolled gateway")
    parser.add_argument("--note", default="", help="kept in our own books only")
    parser.add_argument(
        "--server", action="append", default=[], metavar="NAME", help="host name or address of a server of ours"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Enrol a gateway or a server."""
    if bool(args.csr) == bool(args.server):
        raise UsageError("either a gateway.csr, or --server NAME")
    return _enrol_server(args) if args.server else _enrol_gateway(args)


def _enrol_gateway(args: argparse.Namespace) -> int:
    try:
        with args.csr.open("rb") as file:
            csr = file.read(MAX_CSR_BYTES + 1)
    except OSError as error:
        raise EvidenceError(f"file cannot be read: {args.csr}: {error.strerror}") from error
    enrolment = enrol(open_home(args), csr, read_now(), renew=args.renew, note=args.note)
    if args.out is None:
        sys.stdout.write(enrolment.content.decode())
        return 0
    replace(args.out, enrolment.content)
    print(f"enrolled: gateway={enrolment.gateway} file={args.out}")
    print("tell the owner the thumbprints of our roots over another way: rtcc keys show")
    return 0


def _enrol_server(args: argparse.Namespace) -> int:
    home = open_home(args)
    certificate, key = enrol_server(home, tuple(args.server), read_now())
    print(f"certificate: {certificate}\nkey:         {key}\nauthority:   {home.ca_path}")
    return 0

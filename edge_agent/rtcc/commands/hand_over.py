"""``rtcc hand-over``: a folder and a ZIP for a prosecutor, a court or an evidence system."""

import argparse
import os
from pathlib import Path

from edge_agent.errors import EvidenceError
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.commands.received import add_received, fetch_payloads
from edge_agent.rtcc.deliveries import load_delivery, load_known_keys, open_delivery
from edge_agent.rtcc.hand_over import hand_over

_EPILOG = """\
examples:
  rtcc hand-over UPLOAD --to /media/case-4711

Opens and verifies the bundle anew, then writes INCIDENT_CAMERA_LOCALTIME/ and the same as a ZIP: each clip as an MP4
that any player plays, report.html with findings, pictures, gaps and clock, certificate.txt, the bundle itself, the
public keys that verify it, how, and SHA256SUMS. What is in it is not encrypted. Ends with 0 if nothing failed, 65 if
something did: the report then says so on top.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    parser.add_argument("upload", metavar="UPLOAD", help="as `rtcc open` lists it")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to write both")
    add_received(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open, verify, write."""
    home = open_home(args)
    delivery = load_delivery(home, args.upload)
    opened = home.opened_dir / delivery.file.upload
    with fetch_payloads(args.received, home, [delivery]) as received_dir:
        findings = open_delivery(home, delivery, opened, received_dir)
    try:
        written = hand_over(opened, findings, load_known_keys(home, delivery.gateway, delivery.jti), args.to)
    except OSError as error:
        raise EvidenceError(f"cannot be written: {args.to}: {error.strerror}") from error
    print(f"written: {written.folder}\nwritten: {written.archive}")
    if not findings.ok:
        print(f"FAILED: {', '.join(sorted(findings.failed_parts()))}; see report.html")
    return os.EX_OK if findings.ok else os.EX_DATAERR

"""The two options that every command shares: which home, and the passphrase of its keys."""

import argparse
import os
from pathlib import Path

from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import read_passphrase
from edge_agent.units import SECOND_NS, UtcNs


def add_home(parser: argparse.ArgumentParser) -> None:
    """Add ``--home`` and ``--passphrase-file``."""
    named = os.environ.get("RTCC_HOME")
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(named) if named else None,
        metavar="DIR",
        help="the RTCC's home [$RTCC_HOME]",
    )
    add_passphrase(parser)


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Add ``--passphrase-file``."""
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="its first line opens the private keys; mode 0600"
    )


def open_home(args: argparse.Namespace) -> RtccHome:
    """Open the home that the words name."""
    if args.home is None:
        raise UsageError("which home?", "--home DIR, or export RTCC_HOME=DIR")
    return RtccHome.load(args.home, read_passphrase(args.passphrase_file))


def read_now() -> UtcNs:
    """Read the wall clock, in whole seconds: documents for people read better so."""
    return UtcNs(SystemClock().utc() // SECOND_NS * SECOND_NS)

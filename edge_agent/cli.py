"""The command ``edge-agent``: finds the command's module, runs it, and turns errors into words and exit codes.

Imports a command's work only when that command runs, so that the recorder stays small.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from edge_agent import __version__
from edge_agent.errors import EdgeAgentError
from edge_agent.terminal import print_error

COMMANDS = (
    "init", "enrol", "discover", "check", "daemon", "status", "consent", "masks", "requests", "stops", "ring", "ledger",
    "export", "erase",
)  # fmt: skip
"""Modules of ``edge_agent.commands``, in the order of the help: first what an installation needs."""

_EPILOG = """\
first steps:
  edge-agent init                     make the keys, the vault and a commented configuration
  edge-agent discover eth0            find ONVIF cameras, and the lines that record them
  edge-agent check                    say what is wrong, and what was understood
  edge-agent run                      record and answer requests (with systemd: two services instead)
  edge-agent status                   see how every camera does

stop it, without a passphrase:
  edge-agent pause                    nothing is released until you resume
  edge-agent revoke                   withdraw your consent for good
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Records your cameras into an encrypted ring at home. A clip leaves only for a signed request, "
        "a reported incident near you, and within the terms you signed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"edge_agent.commands.{name}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (``sysexits.h`` for errors)."""
    args = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=os.environ.get("EDGE_AGENT_LOG", "INFO").upper(),
        format="%(levelname)s %(name)s %(message)s" if "JOURNAL_STREAM" in os.environ else
        "%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )  # fmt: skip
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    try:
        return int(args.run(args))
    except EdgeAgentError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK

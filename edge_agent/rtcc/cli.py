"""The command ``rtcc``: finds the command's module, runs it, and turns errors into words and exit codes."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from edge_agent import __version__
from edge_agent.errors import EdgeAgentError

COMMANDS = ("keys", "trust", "enrol", "request", "watch", "receive", "open")
"""Modules of ``edge_agent.rtcc.commands``, in the order in which an RTCC needs them."""

_EPILOG = """\
from nothing to a clip:
  rtcc keys init rtcc-home                       make every key that an RTCC has
  export RTCC_HOME=rtcc-home
  rtcc enrol --server broker.example             certificates for the broker and the receiver
  rtcc trust sign && rtcc trust publish          tell the gateways whose signatures count
  rtcc enrol gateway.csr --out enrolment.json    admit a gateway
  rtcc receive                                   take uploads in
  rtcc request --help                            ask for a clip, signed by two persons
  rtcc watch                                     follow the signed answers
  rtcc open                                      decrypt, verify, and say what is proved

The whole way, step by step, is in docs/rtcc.md.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="rtcc",
        description="The other end of edge-agent: a reference client for a real-time crime centre. It asks gateways "
        "for clips with the signatures of two persons, takes what residents consented to, and verifies it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rtcc {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"edge_agent.rtcc.commands.{name}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (``sysexits.h`` for errors)."""
    args = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=os.environ.get("EDGE_AGENT_LOG", "WARNING").upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        return int(args.run(args))
    except EdgeAgentError as error:
        print(f"rtcc: error: {error}", file=sys.stderr)
        if error.hint:
            print(f"rtcc: hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK

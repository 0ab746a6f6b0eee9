"""The command ``rtcc``: its commands, and what its help says first."""

import argparse
from collections.abc import Sequence

from edge_agent import command_line

COMMANDS = ("keys", "trust", "enrol", "request", "watch", "receive", "open", "ledger")
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
  rtcc ledger --help                             check that a ledger was not rewritten

The whole way, step by step, is in docs/rtcc.md.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    return command_line.build_parser(
        "rtcc",
        "edge_agent.rtcc.commands",
        COMMANDS,
        description="The other end of edge-agent: a reference client for a real-time crime centre. It asks gateways "
        "for clips with the signatures of two persons, takes what residents consented to, and verifies it.",
        epilog=_EPILOG,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    return command_line.run(build_parser(), arguments, log_level="WARNING")

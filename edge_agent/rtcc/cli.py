"""The command ``rtcc``: its commands, and the first words of its help."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from edge_agent.errors import ConfigError
from edge_agent.host import command_line
from edge_agent.host.command_line import Command

COMMANDS: Mapping[str, Command] = {
    "keys": Command("make and show the RTCC's keys"),
    "trust": Command("sign and publish whose signatures count"),
    "broker": Command("prove a broker before it is trusted"),
    "enrol": Command("admit a gateway; make a server's certificate"),
    "authority": Command("roll over to another certificate authority"),
    "revoke": Command("shut a gateway out"),
    "request": Command("ask for a clip, signed by two persons"),
    "countersign": Command("read a draft in words, and sign it with one's own key"),
    "watch": Command("follow the signed answers"),
    "intake": Command("read a broker into the state, for a city of several machines"),
    "work": Command("judge what was read; any number at once"),
    "state": Command("move the state to a database server"),
    "receive": Command("take uploads in"),
    "open": Command("decrypt and verify delivered bundles"),
    "hand-over": Command("write a folder and a ZIP for a prosecutor or a court", "hand_over"),
    "audit": Command("sign what happened here, daily; look whether it was changed"),
    "ledger": Command("check that a gateway's ledger was not rewritten"),
}
"""In the order in which an RTCC needs them. Their modules are in ``edge_agent.rtcc.commands``."""

_EXTRA = ("sqlalchemy", "psycopg")
"""Packages that the gateway has not, and the RTCC's side has."""
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


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command that was typed; of all if nothing is given."""
    return command_line.build_parser(
        "rtcc",
        "edge_agent.rtcc.commands",
        COMMANDS,
        words,
        description="The other end of edge-agent: a reference client for a real-time crime center. It asks gateways "
        "for clips with the signatures of two persons, takes what residents consented to, and verifies it.",
        epilog=_EPILOG,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = sys.argv[1:] if words is None else words
    try:
        parser = build_parser(words)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        hint = "in a checkout: pip install '.[rtcc]'"
        command_line.print_error("rtcc", ConfigError(f"a package of the RTCC's side is missing: {error.name}", hint))
        return ConfigError.exit_code
    return command_line.run(parser, words, log_level="WARNING")

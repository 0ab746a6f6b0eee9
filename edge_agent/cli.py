"""The command ``edge-agent``: its commands, and what its help says first."""

import argparse
from collections.abc import Sequence

from edge_agent import command_line

COMMANDS = (
    "init", "enrol", "discover", "check", "daemon", "status", "consent", "masks", "requests", "stops", "ring", "ledger",
    "export", "erase", "clock",
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
    return command_line.build_parser(
        "edge-agent",
        "edge_agent.commands",
        COMMANDS,
        description="Records your cameras into an encrypted ring at home. A clip leaves only for a signed request, "
        "a reported incident near you, and within the terms you signed.",
        epilog=_EPILOG,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    return command_line.run(build_parser(), arguments, log_level="INFO")

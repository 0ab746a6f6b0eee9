"""``edge-agent adopt``: root puts terms or an enrolment that the owner signed at the desk into its file."""

import argparse

from edge_agent.commands.daemon import add_config
from edge_agent.host.clock import SystemClock
from edge_agent.host.service_user import acting_as_owner
from edge_agent.host.terminal import print_text
from edge_agent.settings.gateway import load_config
from edge_agent.uplink.owner import adoption

_DESCRIPTION = """\
Put the terms or the enrolment that the owner has just signed at the desk into its file. A systemd unit starts it;
nobody needs to type it. It takes one text, with the owner's order for that text, good for five minutes, and nothing
else.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take, verify, write."""
    config = load_config(args.config)
    # With the releaser's rights: the folder is its own, and a link there must lead root nowhere.
    with acting_as_owner(adoption.adoption_path(config).parent):
        order, text = adoption.take(config)
    path = adoption.put(config, order, text, SystemClock().utc())
    print_text(f"adopted, as the owner signed it at the desk: {path}")
    return 0

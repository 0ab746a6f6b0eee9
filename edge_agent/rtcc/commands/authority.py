"""``rtcc authority``: one certificate authority follows another, and no gateway is lost in between."""

import argparse

from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.office.roll_over import add_authority, drop_authority, switch_authority

_EPILOG = """\
the whole way:
  rtcc authority add         makes a second one; restart broker and receiver: both are believed from now on
                             enrolment files name both from now on: each older gateway gets one (rtcc enrol --renew)
  rtcc authority switch      the new one issues from now on: certificates that gateways renew, and `rtcc enrol --server`
  rtcc enrol --server NAME   once every gateway has a file that names both; restart broker and receiver
  rtcc authority drop        once every gateway has renewed its certificate; restart broker and receiver
"""
_STEPS = {"add": add_authority, "switch": switch_authority, "drop": drop_authority}
_NEXT = {
    "add": "both authorities are believed; restart broker and receiver",
    "switch": "the other authority issues from now on",
    "drop": "one authority is believed; restart broker and receiver",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    parser.add_argument("step", choices=tuple(_STEPS), help="in this order")
    add_home(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take one step."""
    _STEPS[args.step](open_home(args), read_now())
    print(_NEXT[args.step])
    return 0

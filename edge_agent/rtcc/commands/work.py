"""``rtcc work``: judge what readers have inserted into the state."""

import argparse

from edge_agent.rtcc.answer_worker import AnswerWorker
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.commands.intake import stop_at_signal

_EPILOG = """\
examples:
  rtcc work        until a signal; as many as there are cores, on as many machines as you like

Needs no key: a home with rtcc.json alone, which names the database. Answers are verified with the key that their
gateway was enrolled with, in the order of each request and gateway, and kept; `rtcc watch` shows them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Work until a signal."""
    home = open_home(args)
    waiting, stuck = home.state.inbound.count()
    print(f"working: waiting={waiting} for-a-person={stuck}", flush=True)
    AnswerWorker(home).run(stop_at_signal())
    return 0

"""``rtcc work``: judge what readers have inserted into the state."""

import argparse

from edge_agent.rtcc.answer_worker import AnswerWorker
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.commands.intake import stop_at_signal

_EPILOG = """\
examples:
  rtcc work           until a signal; as many as there are cores, on as many machines as you like
  rtcc work --retry   first give those that failed all their attempts again, once the cause is mended

Needs no key: a home with rtcc.json alone, which names the database. Answers are verified with the key that their
gateway was enrolled with, in the order of each request and gateway, and kept; `rtcc watch` shows them. A message that
fails eight times, over restarts too, waits for a person, and with it what its gateway says to that request after it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    parser.add_argument("--retry", action="store_true", help="try again what waits for a person")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Work until a signal."""
    home = open_home(args)
    if args.retry:
        print(f"tried again: {home.state.inbound.retry()}", flush=True)
    waiting, stuck = home.state.inbound.count()
    print(f"working: waiting={waiting} for-a-person={stuck}", flush=True)
    AnswerWorker(home).run(stop_at_signal())
    return 0

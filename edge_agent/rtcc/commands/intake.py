"""``rtcc intake``: read a broker into the state."""

import argparse
import signal
import threading
from dataclasses import replace

from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.commands.keys import parse_broker
from edge_agent.rtcc.intake import IntakeReader
from edge_agent.rtcc.session import broker_settings

_EPILOG = """\
examples:
  rtcc intake                            the broker of rtcc.json, until a signal
  rtcc intake --broker b.example:8884    another broker of ours, at the RTCC's own listener

Inserts each answer into the state, and acknowledges it after that: run `rtcc work` beside it. Start a second one on
another machine: it stands by, and takes the broker over ten seconds after the first has gone. Needs a database server
(`database` in rtcc.json) for more than one machine; on one machine `rtcc watch` does both by itself.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    parser.add_argument("--broker", metavar="HOST:PORT", help="which broker [that of rtcc.json]")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read until a signal."""
    home = open_home(args)
    settings = broker_settings(home, watch=True)
    if args.broker is not None:
        host, port = parse_broker(args.broker)
        settings = replace(settings, host=host, port=port)
    state = home.state
    IntakeReader(settings, state.inbound.put, state.readers, SystemClock(), _say).run(stop_at_signal())
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def stop_at_signal() -> threading.Event:
    """Return what is set by SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop

"""What the two command lines share: a parser made of command modules, and the way from an error to words and a code.

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


def build_parser(
    prog: str, package: str, commands: Sequence[str], *, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Return the parser of a whole command line.

    Args:
        prog: The command's name.
        package: Where its commands' modules are.
        commands: Their names, in the order of the help. Each has ``add_parser``, which sets ``run``.
        description: What the command is for.
        epilog: What to type first.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands:
        importlib.import_module(f"{package}.{name}").add_parser(subparsers)
    return parser


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, *, log_level: str) -> int:
    """Run one command; return its exit code (``sysexits.h`` for errors)."""
    args = parser.parse_args(arguments)
    # The journal writes the time itself.
    time = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=os.environ.get("EDGE_AGENT_LOG", log_level).upper(),
        format=f"{time}%(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    try:
        return int(args.run(args))
    except EdgeAgentError as error:
        print_error(parser.prog, error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK

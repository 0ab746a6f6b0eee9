"""How a command makes the broker read its files again: by a command line of the RTCC's, or by a person."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable

from edge_agent.errors import UnavailableError, UsageError

_TIMEOUT_S = 60.0


def add_reload(parser: argparse.ArgumentParser) -> None:
    """Add ``--reload``."""
    parser.add_argument(
        "--reload",
        metavar="COMMAND",
        help="makes the broker read tls/crl.pem again, such as 'systemctl reload mosquitto' [asks you to]",
    )


def make_reload(args: argparse.Namespace) -> Callable[[], None]:
    """Return what to call once the list of revoked certificates was signed anew."""
    if args.reload is not None:
        return lambda: _run(args.reload)
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to reload the broker", "--reload COMMAND")
    return _ask


def _ask() -> None:
    input("have the broker read tls/crl.pem again (systemctl reload mosquitto), then press Enter: ")


def _run(command: str) -> None:
    try:
        subprocess.run(shlex.split(command), check=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"broker was not reloaded: {error}") from error

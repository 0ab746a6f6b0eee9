"""``edge-agent serve-page`` and ``serve-desk``: two processes whose users may read nothing of the other commands."""

import argparse
from pathlib import Path

from edge_agent.errors import ConfigError

PAGE_DIR, DESK_DIR = Path("/var/lib/edge-agent/page"), Path("/var/lib/edge-agent/desk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "--folder", type=Path, default=PAGE_DIR, metavar="DIR", help="what `edge-agent page on` wrote [%(default)s]"
    )
    parser.set_defaults(run=run)


def add_desk_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the desk's command takes."""
    parser.add_argument(
        "--folder", type=Path, default=DESK_DIR, metavar="DIR", help="what `edge-agent page on` wrote [%(default)s]"
    )
    parser.set_defaults(run=run_desk)


def run_desk(args: argparse.Namespace) -> int:
    """Serve the desk until told to stop (SIGTERM, SIGINT)."""
    try:
        from edge_agent.desk import server
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return server.main(args.folder)


def run(args: argparse.Namespace) -> int:
    """Serve the page until told to stop (SIGTERM, SIGINT)."""
    try:
        from edge_agent.page import server
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return server.main(args.folder)


def _missing(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"the page needs a package that is missing: {error.name}", "in a checkout: pip install '.[page]'"
    )

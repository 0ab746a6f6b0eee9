"""``edge-agent serve-page``: the page's process. Imports nothing of the other commands: its user may read nothing."""

import argparse
from pathlib import Path

from edge_agent.errors import ConfigError

PAGE_DIR = Path("/var/lib/edge-agent/page")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "--folder", type=Path, default=PAGE_DIR, metavar="DIR", help="what `edge-agent page on` wrote [%(default)s]"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until told to stop (SIGTERM, SIGINT)."""
    try:
        from edge_agent.page import server
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the page needs a package that is missing: {error.name}", "in a checkout: pip install '.[page]'"
        ) from error
    return server.main(args.folder)

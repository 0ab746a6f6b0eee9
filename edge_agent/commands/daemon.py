"""``edge-agent run``, ``record`` and ``release``: the processes."""

import argparse
import signal
from pathlib import Path

DEFAULT_CONFIG = Path("/etc/edge-agent/edge-agent.yaml")


def find_config(text: str) -> Path:
    """Return the configuration's path; a folder stands for the ``edge-agent.yaml`` in it."""
    path = Path(text)
    return path / DEFAULT_CONFIG.name if path.is_dir() else path


def add_config(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--config``."""
    parser.add_argument(
        "--config",
        type=find_config,
        default=DEFAULT_CONFIG,
        metavar="PATH",
        help="edge-agent.yaml, or the folder that it is in [%(default)s]",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the three commands take."""
    add_config(parser)
    parser.set_defaults(run=run)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``run`` takes."""
    add_arguments(parser)
    parser.add_argument(
        "only", nargs="?", choices=("record", "release"), help="one process alone, as in a container of its own [both]"
    )


def run(args: argparse.Namespace) -> int:
    """Run one process until it is told to stop (SIGTERM, SIGINT)."""
    # Else a reload that is asked for before the handler stands would end the process; children inherit it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Imported here: a process loads the code of its own half alone.
    if args.command == "record":
        from edge_agent import recorder

        return recorder.main(args.config)
    if args.command == "release":
        from edge_agent import releaser

        return releaser.main(args.config)
    from edge_agent import supervisor

    return supervisor.main(args.config, args.only)

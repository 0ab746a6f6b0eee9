"""``edge-agent doctor``: a report to send to somebody who helps."""

import argparse
import json
from pathlib import Path
from typing import Any

from edge_agent.commands import check
from edge_agent.commands.daemon import add_config
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.control_socket import call
from edge_agent.host.terminal import working
from edge_agent.host.unnamed_file import NewFile
from edge_agent.settings.gateway import load_config
from edge_agent.setup.doctor import make_report

_DESCRIPTION = """\
Look the gateway over as `check` does, and at its services, journal, disk, clock, TPM and ports, and print a report.
It holds versions, numbers and words of fixed lists: no address, no camera's name, no place, no request, no log line.

  sudo edge-agent doctor                     print it
  sudo edge-agent doctor --out report.json   print it, ask, and write just that
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    add_config(parser)
    parser.add_argument("--offline", action="store_true", help="dial nobody")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, once you have seen it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; write what was printed, and nothing else, where that was asked for."""
    config = load_config(args.config)
    with working("looking the gateway over"):
        findings = check.inspect(config, is_offline=args.offline)
        status = {name: _ask(config.control_path(name)) for name in ("recorder", "releaser")}
    text = json.dumps(make_report(config, findings, status), indent=1) + "\n"
    print(text, end="")
    if args.out is not None:
        if not args.yes and not _agrees(args.out):
            raise UsageError("nothing was written", "with --yes it does not ask")
        with NewFile(args.out) as new:
            new.file.write(text.encode())
            new.keep()
    return 0


def _agrees(path: Path) -> bool:
    try:
        return input(f"Write this to {path}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _ask(path: Path) -> dict[str, Any]:
    try:
        return call(path, "status")
    except EdgeAgentError:
        return {"error": "no answer"}

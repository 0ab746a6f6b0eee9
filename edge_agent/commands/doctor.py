"""``edge-agent doctor``: a report to send to somebody who helps."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from edge_agent.commands import check
from edge_agent.commands.daemon import add_config
from edge_agent.errors import ConfigError, EdgeAgentError, UsageError
from edge_agent.host.control_socket import call
from edge_agent.host.questions import agrees
from edge_agent.host.terminal import Progress, print_json, print_table, print_text, working
from edge_agent.host.unnamed_file import NewFile
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup.doctor import make_report
from edge_agent.setup.inspection import fault

_DESCRIPTION = """\
Look the gateway over as `check` does, and at its services, journal, disk, clock, TPM and ports, and print a report.
It holds versions, numbers and words of fixed lists: no address, no camera's name, no place, no request, no log line.

  sudo edge-agent doctor                     print it
  sudo edge-agent doctor --out report.json   print it, ask, and write just that
  sudo edge-agent doctor --benchmark         how many cameras this machine records; takes a minute

The benchmark records a stream of its own with the recorder's parts, on the disk of your rings, and says how many
cameras of 4 Mbit/s fit and what would have to be faster for more. Beside a recorder that runs, it is how many more.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    add_config(parser)
    parser.add_argument("--offline", action="store_true", help="dial nobody")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, once you have seen it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--benchmark", action="store_true", help="measure how many cameras fit")
    parser.add_argument("--json", action="store_true", help="print the benchmark as JSON; the report always is")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; write the printed text, and nothing else, if that was asked for."""
    if args.benchmark:
        return _measure(load_config(args.config), is_json=args.json)
    text = json.dumps(_look_over(args), indent=1) + "\n"
    print(text, end="")
    if args.out is not None:
        if not args.yes and not agrees(f"Write this to {args.out}?"):
            raise UsageError("nothing was written", "with --yes it does not ask")
        with NewFile(args.out) as new:
            new.file.write(text.encode())
            new.keep()
    return 0


def _look_over(args: argparse.Namespace) -> dict[str, object]:
    """Return the report; a configuration that cannot be read is one of its findings, and its words go to stderr alone.

    They may quote the file, and the report holds nothing of it.
    """
    with working("looking the gateway over"):
        try:
            config = load_config(args.config)
        except ConfigError as error:
            print(f"edge-agent: error: {error}", file=sys.stderr)
            return make_report(None, [fault("configuration", error)], {})
        findings = check.inspect(config, is_offline=args.offline)
        status = {name: _ask(config.control_path(name)) for name in ("recorder", "releaser")}
        return make_report(config, findings, status)


def _measure(config: Config, *, is_json: bool) -> int:
    # Only here: it loads FFmpeg and NumPy, and the report needs neither.
    from edge_agent.setup.benchmark import run_benchmark

    logging.getLogger("edge_agent.buffer").setLevel(logging.WARNING)  # of a ring that nobody is to look for
    progress = Progress("measuring", 1000)
    try:
        found = run_benchmark(config, progress=progress.update)
    finally:
        progress.close()
    if is_json:
        limits = {each.part: {"cameras": each.cameras, "measured": each.measured} for each in found.limits}
        print_json({"cameras": found.cameras, "limit": found.tightest.part, "limits": limits})
        return 0
    print_text(f"{found.cameras} cameras of 4 Mbit/s fit on this machine. The {found.tightest.part} decides.")
    print_table(("PART", "CAMERAS", "MEASURED"), [(each.part, each.cameras, each.measured) for each in found.limits])
    return 0


def _ask(path: Path) -> dict[str, Any]:
    try:
        return call(path, "status")
    except EdgeAgentError:
        return {"error": "no answer"}

"""``edge-agent check``: is everything there that recording and releasing need, and how was it understood."""

import argparse
import os

from edge_agent.commands.check_compare import run_comparison
from edge_agent.commands.daemon import add_config
from edge_agent.errors import ConfigError
from edge_agent.host.clock import SystemClock
from edge_agent.host.terminal import print_json, print_text, working
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup import inspection, probe
from edge_agent.setup.inspection import Inspected, Level
from edge_agent.setup.page_inspection import inspect_page

_DESCRIPTION = """\
Check both configuration files, then the keys and how they are kept, the clock, the disk, the cameras, the broker and
the upload targets. Nothing is changed; nobody is asked for footage.
"""
_EPILOG = """\
examples:
  sudo edge-agent check               everything; root may read both processes' keys
  edge-agent check --offline          the files and this machine only
  edge-agent check --json             for scripts: a list of {level, topic, text, hint}
  sudo edge-agent check --compare door    30 s of that camera by both readers, side by side; nothing else is checked

exit code: 0 nothing is wrong (warnings may be there), or both readers agree; 1 something is, or they do not;
           78 edge-agent.yaml or consent.yaml is
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    add_config(parser)
    parser.add_argument("--offline", action="store_true", help="dial nobody")
    parser.add_argument(
        "--compare", metavar="CAMERA", help="read one camera (door, door.sub) with both readers for 30 s instead"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look at everything and print the findings; the exit code is in the help."""
    try:
        config = load_config(args.config)
    except ConfigError as error:
        if not args.json:
            raise
        print_json([{"level": "fault", "topic": "configuration", "text": str(error), "hint": error.hint}])
        return os.EX_CONFIG
    if args.compare is not None:
        return run_comparison(config, args.compare, is_json=args.json)
    with working("looking at the configuration" if args.offline else "looking at the gateway and asking the cameras"):
        findings = inspect(config, is_offline=args.offline)
    if args.json:
        keys = ("topic", "text", "hint")
        print_json([{"level": f.level.value} | {key: getattr(f, key) for key in keys} for f in findings])
    else:
        _print(findings)
    faults = [finding for finding in findings if finding.level is Level.FAULT]
    if any(finding.topic == "consent" for finding in faults):
        return os.EX_CONFIG
    return 1 if faults else 0


def inspect(config: Config, *, is_offline: bool) -> list[Inspected]:
    """Return everything that was found, in the order of the help."""
    secrets, logins = inspection.inspect_secrets(config)
    enrolled, enrolment = inspection.inspect_enrolment(config)
    findings = [*inspection.describe_cameras(config), *inspection.inspect_consent(config, enrolment)]
    findings += [*inspection.inspect_place(config), *secrets, *inspection.inspect_keys(config), *enrolled]
    findings += [*inspection.inspect_clock(config), *inspection.inspect_disk(config)]
    findings += inspect_page(config, SystemClock().utc())
    if is_offline:
        return findings
    findings += probe.probe_cameras(config, logins)
    if enrolment is not None:
        findings += probe.probe_rtcc(config, enrolment)
    return findings


def _print(findings: list[Inspected]) -> None:
    marks = {Level.OK: ("ok      ", "green"), Level.WARNING: ("WARNING ", "yellow"), Level.FAULT: ("FAULT   ", "red")}
    for finding in findings:
        mark, style = marks[finding.level]
        print_text(f"{mark}{finding.topic}: {finding.text}", style="" if finding.level is Level.OK else style, hang=8)
        if finding.hint:
            print_text(f"        {finding.hint}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    print_text(f"\nfaults: {counts[Level.FAULT]}, warnings: {counts[Level.WARNING]}, in order: {counts[Level.OK]}")

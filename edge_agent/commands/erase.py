"""``edge-agent erase``: destroy own footage, for a camera, a span, or everything; no passphrase is needed."""

import argparse
import os
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import DEFAULT_CONFIG, add_config
from edge_agent.errors import UnavailableError, UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call
from edge_agent.host.questions import writes
from edge_agent.host.terminal import print_json, print_text, working
from edge_agent.host.time_arguments import END_HELP, TIME_HELP, read_window, tell_window
from edge_agent.local_time import encode_local
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup.renewal import renew_vault
from edge_agent.units import UtcNs, encode_rfc3339, parse_rfc3339

_DESCRIPTION = """\
Destroy footage permanently, at once, without a passphrase: in the rings, in the excerpts that are held for requests,
and in running uploads. Recording goes on. A release under way that holds any of it is withdrawn; the ledger tells that
you erased, and not the pictures.

  edge-agent erase door                                  all footage of one camera
  edge-agent erase door --from 20:00 --to 20:05          the last time it was that late here
  edge-agent erase door --from 'yesterday 8pm' --to +5m
  edge-agent erase '*'                                   all footage of all cameras
  sudo edge-agent erase --everything                     and the key that opens it, and the ring files

A ring is erased in whole blocks of up to ten minutes: more than the span may go, and what went is printed.
--everything stops both services, destroys the vault's key and every ring, makes a new key, and starts the services
again. The rings are new ones then: the owner's consent is for the old ones and must be signed again.
"""
_TIMEOUT_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    parser.add_argument("camera", nargs="?", metavar="CAMERA", help="a camera's id, or '*' for all")
    parser.add_argument("--from", dest="start", metavar="TIME", help=f"{TIME_HELP} [the oldest]")
    parser.add_argument("--to", dest="end", metavar="TIME", help=f"{END_HELP} [now]")
    parser.add_argument("--everything", action="store_true", help="all of it, and the vault's key; as root")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Erase the named footage; 74 if some of it could not be erased."""
    config = load_config(args.config)
    if args.everything == (args.camera is not None) or (args.everything and (args.start or args.end)):
        raise UsageError("give a camera, '*' for all of them, or --everything")
    if args.everything:
        return _erase_everything(args, config)
    if args.camera != "*":
        config.demand_camera(args.camera)
    return _erase_footage(args, config)


def _erase_footage(args: argparse.Namespace, config: Config) -> int:
    window = _parse_window(args, ZoneInfo(config.gateway.time_zone))
    whose = "all cameras" if args.camera == "*" else args.camera
    _ask(args, f"This destroys {'all footage' if window is None else 'the footage of that time'} of {whose}.")
    # The rings first: a copy or bundle that is made from now on can no longer contain any of it.
    span = {} if window is None else window
    with working("destroying the keys of the blocks"):
        told = call(config.control_path("recorder"), "erase", timeout_s=_TIMEOUT_S, camera=args.camera, **span)
    blocks = [block for each in told["erased"].values() for block in each]
    # Whole blocks went: the releaser must drop all that they held, not the named span alone.
    windows = None if window is None else [window, *(each["window"] for each in blocks if each["window"])]
    answer: dict[str, Any] = {"erased": told["erased"], "failed": dict(told["failed"]), "holds": 0, "stopped": []}
    try:
        released = call(
            config.control_path("releaser"), "erase", timeout_s=_TIMEOUT_S, camera=args.camera, windows=windows
        )
        answer |= {"holds": released["holds"], "stopped": released["stopped"]}
    except UnavailableError as error:
        hint = f"{error}; start the releaser and give the command again"
        if config.uplink.enrolment.exists():  # else nobody ever asked for anything, and nothing is held or staged
            answer["failed"]["holds and uploads"] = hint
        if _may_hold_any(config.keeps_dir):
            answer["failed"]["kept moments"] = hint
    if args.json:
        print_json(answer)
    else:
        _print(answer, ZoneInfo(config.gateway.time_zone))
    return os.EX_IOERR if answer["failed"] else 0


def _may_hold_any(folder: Path) -> bool:
    """Tell whether a folder of the releaser's holds anything; one that may not be looked into counts as if it did."""
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _parse_window(args: argparse.Namespace, zone: ZoneInfo) -> dict[str, str] | None:
    if args.start is None and args.end is None:
        return None
    start = args.start or encode_rfc3339(UtcNs(0))
    window = read_window(start, args.end or "now", SystemClock().utc(), zone)
    tell_window(window, zone)
    return {"start": encode_rfc3339(window.start), "end": encode_rfc3339(window.end)}


def _print(answer: dict[str, Any], zone: ZoneInfo) -> None:
    for name, blocks in sorted(answer["erased"].items()):
        print_text(f"{name}: {len(blocks)} blocks erased")
        for block in blocks:
            print_text(f"  block {block['block']}: {_say_span(block['window'], zone)}")
    print_text(f"holds let go: {answer['holds']}")
    for number in answer["stopped"]:
        print_text(f"release withdrawn: request {number}")
    for name, text in sorted(answer["failed"].items()):
        print_text(f"NOT ERASED {name}: {text}")


def _say_span(span: dict[str, str] | None, zone: ZoneInfo) -> str:
    if span is None:
        return "no known time"
    return f"{encode_local(parse_rfc3339(span['start']), zone)} to {encode_local(parse_rfc3339(span['end']), zone)}"


def _ask(args: argparse.Namespace, text: str) -> None:
    if args.yes:
        return
    print_text(f"{text} It cannot be undone.")
    try:
        if writes("erase", "to go on"):
            return
    except EOFError:
        print()
    raise UsageError("nothing was changed", "with --yes it does not ask")


def _erase_everything(args: argparse.Namespace, config: Config) -> int:
    _ask(args, "This destroys all footage of all cameras and the key that opens it.")
    with working("destroying every ring and the vault's key"):
        report = renew_vault(config, has_services=args.config == DEFAULT_CONFIG)
    if args.json:
        print_json(
            {
                "destroyed": list(report.destroyed),
                "failed": report.failed,
                "vault": report.vault,
                "restarted": report.restarted,
            }
        )
        return os.EX_IOERR if report.failed else 0
    for path in report.destroyed:
        print_text(f"destroyed: {path}")
    for path, text in sorted(report.failed.items()):
        print_text(f"NOT ERASED {path}: {text}; nothing opens it any more")
    print_text(f"new vault key: {report.vault}")
    if not report.restarted:
        print_text("Nothing is recorded now: start the gateway again (edge-agent run).")
    print_text("The rings are new ones. Once they are there, the owner signs again: edge-agent consent sign")
    return os.EX_IOERR if report.failed else 0

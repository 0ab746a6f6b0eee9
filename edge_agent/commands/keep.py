"""``edge-agent keep``: keep a moment of own footage beyond the ring's time."""

import argparse
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import add_config
from edge_agent.commands.owner_key import add_passphrase, sign_owner_order
from edge_agent.consent.owner_order import LONGEST_KEEP_NS, window_members
from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call
from edge_agent.host.terminal import print_json, print_table, print_text, working
from edge_agent.host.time_arguments import END_HELP, TIME_HELP, read_window, tell_window
from edge_agent.local_time import encode_local, say_moment
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import UtcNs, encode_duration, encode_rfc3339, encode_size, parse_duration, parse_rfc3339

_DESCRIPTION = """\
Keep a moment longer than the ring does, for yourself: a copy of its encrypted blocks, on this gateway. It can be
exported like anything else, and is never read for a request. It takes room on the disk (buffer.keeps_size), and is gone
at its end. Whole blocks are copied: a few minutes more than you name may be kept. It asks for your passphrase.

  edge-agent keep door 19:12 +5m --for 90d           for ninety days from now
  edge-agent keep                                    list what is kept
  edge-agent keep --drop ID                          let it go; no passphrase
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    parser.add_argument("camera", nargs="?", metavar="CAMERA", help="a camera's id")
    parser.add_argument("start", nargs="?", metavar="FROM", help=TIME_HELP)
    parser.add_argument("end", nargs="?", metavar="TO", help=END_HELP)
    parser.add_argument("--for", dest="for_", metavar="DURATION", default="90d", help="such as 30d [%(default)s]")
    parser.add_argument("--quality", choices=("main", "sub"), default="main", help="which stream [%(default)s]")
    parser.add_argument("--drop", metavar="ID", help="let one go")
    add_passphrase(parser)
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Keep, list, or let go."""
    config = load_config(args.config)
    path, zone = config.control_path("releaser"), ZoneInfo(config.gateway.time_zone)
    if args.drop is not None:
        if args.camera is not None:
            raise UsageError("--drop takes no camera", "edge-agent keep lists what is kept, with its ids")
        answer = call(path, "drop-keep", id=args.drop)["dropped"]
        _print([answer], zone, args, "let go")
        return 0
    if args.camera is None:
        _print(call(path, "keeps")["keeps"], zone, args, "")
        return 0
    if args.start is None or args.end is None:
        raise UsageError("say from when to when: edge-agent keep CAMERA FROM TO")
    _print([_keep(args, config, zone)], zone, args, "kept")
    return 0


def _keep(args: argparse.Namespace, config: Config, zone: ZoneInfo) -> dict[str, Any]:
    config.demand_camera(args.camera)
    now = SystemClock().utc()
    window = read_window(args.start, args.end, now, zone, ("FROM", "TO"))
    try:
        until = UtcNs(now + parse_duration(args.for_))
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if until - now > LONGEST_KEEP_NS:
        raise UsageError(f"--for is {encode_duration(LONGEST_KEEP_NS)} at most", "export it, to have it for longer")
    # Before the passphrase is asked for: the owner sees which time was understood.
    tell_window(window, zone)
    members = {
        "camera": args.camera,
        "quality": args.quality,
        "window": window_members(window),
        "until": encode_rfc3339(until),
    }
    signed = sign_owner_order(config, "keep", members, args.passphrase_file)
    # The releaser answers after the copy, which a slow disk makes long.
    with working("copying its blocks"):
        kept: dict[str, Any] = call(config.control_path("releaser"), "keep", timeout_s=300, jws=signed)["kept"]
    return kept


def _print(kept: list[dict[str, Any]], zone: ZoneInfo, args: argparse.Namespace, what: str) -> None:
    if args.json:
        print_json(kept)
        return
    if what:
        for each in kept:
            until = say_moment(parse_rfc3339(each["until"]), zone)
            print_text(f"{what}: {each['id']}, {each['camera']}, {_span(each, zone)}, {encode_size(each['bytes'])}")
            if what == "kept":
                print_text(f"It is gone on {until}. To let it go before: edge-agent keep --drop {each['id']}")
        return
    if not kept:
        print_text("nothing is kept beyond the rings' time")
        return
    rows = [
        (each["id"], each["camera"], _span(each, zone), encode_local(parse_rfc3339(each["until"]), zone))
        for each in kept
    ]
    print_table(("ID", "CAMERA", "TIME", "GONE ON"), rows)


def _span(each: Mapping[str, Any], zone: ZoneInfo) -> str:
    start, end = (parse_rfc3339(each["window"][name]) for name in ("start", "end"))
    return f"{encode_local(start, zone)} to {encode_local(end, zone)}"

"""``edge-agent masks``: see what a mask covers, and choose its points."""

import argparse
from pathlib import Path
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import add_config
from edge_agent.commands.look import fetch_pictures, write_picture
from edge_agent.commands.owner_key import add_passphrase, sign_owner_order
from edge_agent.consent.owner_order import window_members
from edge_agent.consent.policy import parse_policy
from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.time_arguments import TIME_HELP, read_time, tell_moment
from edge_agent.local_time import encode_local
from edge_agent.settings.gateway import Config, load_config, read_text
from edge_agent.units import MINUTE_NS, UtcNs, Window, parse_rfc3339

_DESCRIPTION = """\
Write a picture of a camera with the zones that `masks` in consent.yaml blacks out, and a grid to choose points by. Asks
for your passphrase, and is entered in the ledger: it opens footage.

  edge-agent masks show door --out door.png

The picture is the newest one of the minute before --at. The grid counts thousandths of width and height, as
consent.yaml does: a point [350, 1000] is 35 % from the left, at the bottom. Zones are those of the file, signed or not.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="a picture with the zones and a grid")
    show.add_argument("camera", metavar="CAMERA")
    show.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture; must not exist")
    show.add_argument("--at", metavar="TIME", help=f"{TIME_HELP} [now]")
    show.add_argument("--quality", choices=("main", "sub"), default="main", help="[%(default)s]")
    add_passphrase(show)
    add_config(show)
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Sign an order for one minute, and write what the releaser makes of it."""
    config = load_config(args.config)
    config.demand_camera(args.camera)
    zone, now = ZoneInfo(config.gateway.time_zone), SystemClock().utc()
    end = now if args.at is None else read_time("--at", args.at, now, zone)
    if args.at is not None:
        tell_moment(end, zone)
    masks = _load_masks(config, args.camera)
    # Pictures are footage: an export order for one minute, which the ledger has before anything is read.
    window = window_members(Window(UtcNs(end - MINUTE_NS), end))
    members = {"camera": args.camera, "quality": args.quality, "window": window}
    signed = sign_owner_order(config, "export", members, args.passphrase_file)
    pictures = fetch_pictures(config, signed, masks=masks)
    if not pictures:
        raise UsageError("no footage in that minute", "name a moment at which the camera recorded: --at TIME")
    [(at, image)] = pictures
    write_picture(args.out, image)
    print(f"{args.out}: {args.camera} at {encode_local(parse_rfc3339(at), zone)}, {len(masks)} zones")
    return 0


def _load_masks(config: Config, camera: str) -> list[list[list[int]]]:
    terms = parse_policy(read_text(config.consent.file), str(config.consent.file)).cameras.get(camera)
    return [] if terms is None else [[[x, y] for x, y in mask.points] for mask in terms.masks]

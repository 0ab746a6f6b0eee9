"""``edge-agent requests`` and ``explain``: what the RTCC asked, and the owner's answers."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.clock import SystemClock
from edge_agent.commands.daemon import add_config
from edge_agent.commands.look import fetch_pictures, write_picture
from edge_agent.commands.owner_key import add_passphrase, load_signer, sign_owner_order
from edge_agent.config import Config, load_config
from edge_agent.consent.order import window_members
from edge_agent.control import call
from edge_agent.errors import EdgeAgentError, UnavailableError, UsageError
from edge_agent.terminal import print_json, print_table
from edge_agent.time_arguments import TIME_HELP, read_window, tell_window

_DESCRIPTION = """\
  edge-agent requests list                     what was asked, newest first
  edge-agent requests show ID                  one request in full
  edge-agent requests show ID --stills DIR     … and a few pictures of what is asked for (asks for your passphrase)
  edge-agent requests approve ID               say yes (asks for your passphrase)
  edge-agent requests approve ID --camera door --from 20:15 --to 20:20     … to less than was asked
  edge-agent requests deny ID                  say no, at once, no passphrase
  edge-agent requests cancel ID                stop a release that was granted; nothing sent so far can be opened

ID is the request's id or the first letters of it.
"""
_EXPLAIN = """\
Read a request from a file, as the RTCC signed it, and print all eleven checks and every rule of your consent, with
what each says and what would have to change. Nothing is released, remembered or answered.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="what was asked, newest first")
    listing.add_argument("--last", type=int, default=20, metavar="N", help="how many [%(default)s]")
    show = verbs.add_parser("show", help="one request in full, and what it is about")
    show.add_argument(
        "--stills", type=Path, metavar="DIR", help="write a few small pictures of the window here, for your eyes only"
    )
    add_passphrase(show)
    approve = verbs.add_parser("approve", help="say yes, to all of it or to less")
    approve.add_argument("--camera", action="append", metavar="CAMERA", help="only this one; may be given again")
    approve.add_argument("--from", dest="start", metavar="TIME", help=f"a later start, {TIME_HELP}")
    approve.add_argument("--to", dest="end", metavar="TIME", help="an earlier end")
    add_passphrase(approve)
    deny = verbs.add_parser("deny", help="say no")
    cancel = verbs.add_parser("cancel", help="stop a release that was granted")
    for verb in (listing, show, approve, deny, cancel):
        if verb is not listing:
            verb.add_argument("id", metavar="ID")
        add_config(verb)
        verb.add_argument("--json", action="store_true", help="print JSON")
        verb.set_defaults(run=run)


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``explain`` takes."""
    parser.description = _EXPLAIN
    parser.add_argument("file", metavar="REQUEST", help="the signed request, as `rtcc request --out` wrote it")
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_explain)


def run(args: argparse.Namespace) -> int:
    """Carry out one verb through the releaser's control socket."""
    config = load_config(args.config)
    path = config.control_path("releaser")
    if args.verb == "list":
        found = call(path, "requests", last=args.last)["requests"]
        print_json(found) if args.json else _print_list(found)
        return 0
    request = call(path, "request", id=args.id)["request"]
    if args.verb == "show":
        if args.stills is not None:
            request["stills"], request["no_stills"] = _write_stills(config, request, args)
        print_json(request)
        return 0
    answer = _approve(config, request, args) if args.verb == "approve" else call(path, args.verb, id=request["jti"])
    if args.json:
        print_json(answer)
    else:
        print(f"request {request['jti']}: {answer['state']}")
    return 0


def _approve(config: Config, request: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    if request["state"] != "asked":
        raise UsageError(f"request {request['jti']} does not wait for you: it is {request['state']}")
    window = request["window"]
    if args.start or args.end:
        zone = ZoneInfo(config.gateway.time_zone)
        now = SystemClock().utc()
        part = read_window(args.start or window["start"], args.end or window["end"], now, zone)
        tell_window(part, zone)
        window = window_members(part)
    members = {
        "jti": request["jti"],
        "request_sha256": request["sha256"],
        "cameras": args.camera or asked_cameras(config, request),
        "window": window,
    }
    signed = sign_owner_order(config, "approve", members, args.passphrase_file)
    return call(config.control_path("releaser"), "order", jws=signed)


STILLS = 6
"""Per camera."""


def _write_stills(
    config: Config, request: Mapping[str, Any], args: argparse.Namespace
) -> tuple[list[str], dict[str, str]]:
    """Write pictures of the request's window; return their paths, and why a camera has none."""
    sign = load_signer(config, args.passphrase_file)
    try:
        args.stills.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{args.stills}: {error.strerror}") from error
    paths, missing = [], {}
    for camera in asked_cameras(config, request):
        order = sign("export", {"camera": camera, "quality": request["quality"], "window": request["window"]})
        try:
            pictures = fetch_pictures(config, order, jti=request["jti"], stills=STILLS)
        except UnavailableError:
            raise
        except EdgeAgentError as error:  # this camera's trouble: its ring, its clip
            missing[camera] = str(error)
            continue
        for at, image in pictures:
            path = args.stills / f"{camera}-{at.replace(':', '')}.jpg"
            write_picture(path, image)
            paths.append(str(path))
        if not pictures:
            missing[camera] = "nothing was recorded in this window"
    return paths, missing


def asked_cameras(config: Config, request: Mapping[str, Any]) -> list[str]:
    """Return the cameras of this house that a request is about: all of them where it names ``*``."""
    wanted = request["cameras"]
    return [camera.id for camera in config.cameras if "*" in wanted or camera.id in wanted]


def _print_list(requests: list[dict[str, Any]]) -> None:
    rows = [
        (
            request["jti"][:8],
            request["arrived_at"],
            request["state"],
            request["incident"],
            ",".join(request["cameras"]),
            ", ".join(reason["code"] for reason in request["reasons"]),
        )
        for request in requests
    ]
    print_table(("ID", "ARRIVED", "STATE", "INCIDENT", "CAMERAS", "WHY"), rows)


def run_explain(args: argparse.Namespace) -> int:
    """Print every check and rule; 0 where the gate would grant or ask, 1 where it would refuse."""
    try:
        with open(args.file, encoding="utf-8") as file:
            raw = file.read(256 * 1024)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{args.file}: request cannot be read: {error}") from error
    found = call(load_config(args.config).control_path("releaser"), "explain", raw=raw)
    if args.json:
        print_json(found)
    else:
        rows = [(step["step"], step["verdict"], step["reason"], step["sentence"]) for step in found["steps"]]
        print_table(("STEP", "VERDICT", "REASON", ""), rows)
        print(f"\nverdict: {found['verdict']}")
    return 0 if found["verdict"] in ("grant", "ask") else 1

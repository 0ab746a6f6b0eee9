"""``edge-agent requests`` and ``explain``: the RTCC's requests, and the owner's answers."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.base64url import encode_b64url
from edge_agent.commands.daemon import add_config
from edge_agent.commands.look import fetch_pictures, write_picture
from edge_agent.commands.owner_key import (
    add_passphrase,
    build_owner_order,
    load_owner_key,
    load_signer,
)
from edge_agent.consent.offer import Offers, digest_offers, parse_offers
from edge_agent.consent.owner_order import read_approval, sign_built_order, window_members
from edge_agent.consent.shown_request import (
    list_leaving,
    list_request,
    meet_approval,
    say_cancel,
)
from edge_agent.errors import EdgeAgentError, UnavailableError, UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call
from edge_agent.host.questions import writes_yes
from edge_agent.host.terminal import print_json, print_table, print_text
from edge_agent.host.time_arguments import TIME_HELP, read_window, tell_window
from edge_agent.local_time import encode_local, say_moment
from edge_agent.printable_text import show_line
from edge_agent.protocol.request import Request
from edge_agent.protocol.request_jws import read_request
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import SECOND_NS, UtcNs, parse_rfc3339

_DESCRIPTION = """\
  edge-agent requests list                     what was asked, newest first
  edge-agent requests show 12                  one request in full
  edge-agent requests show 12 --stills DIR     … and a few pictures of what is asked for (asks for your passphrase)
  edge-agent requests approve 12               say yes (asks for your passphrase)
  edge-agent requests approve 12 --camera door --from 20:15 --to 20:20     … to less than was asked
  edge-agent requests deny 12                  say no, at once, no passphrase
  edge-agent requests cancel 12                stop a release that was granted; nothing sent so far can be opened
  edge-agent requests cancel                   without a number, and `deny` as well: stop everything that is open

The number is this gateway's own: what `requests list` and every message to you call the request.
"""
_EXPLAIN = """\
Print all eleven checks and every rule of your consent, with what each says of a request and what would have to change.
A number is a request that this gateway has: its rules are asked as they are now. A file is one that the RTCC signed, as
if it arrived now. Nothing is released, remembered or answered.

  edge-agent explain 12                        a request of `requests list`
  edge-agent explain request.jws               a file, as `rtcc request --out` wrote it (./12 if it is called so)
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
    approve.add_argument("--yes", action="store_true", help="do not ask for a yes; the passphrase is asked for")
    add_passphrase(approve)
    deny = verbs.add_parser("deny", help="say no; without a number, to everything that is open")
    cancel = verbs.add_parser(
        "cancel", help="stop a release that was granted; without a number, everything that is open"
    )
    for verb in (listing, show, approve, deny, cancel):
        if verb is not listing:
            verb.add_argument("number", type=_number, metavar="NUMBER", nargs="?" if verb in (deny, cancel) else None)
        add_config(verb)
        verb.add_argument("--json", action="store_true", help="print JSON")
        verb.set_defaults(run=run)


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``explain`` takes."""
    parser.description = _EXPLAIN
    parser.add_argument("request", type=_number_or_file, metavar="REQUEST", help="a number, or a file that is signed")
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_explain)


def run(args: argparse.Namespace) -> int:
    """Carry out one verb through the releaser's control socket."""
    config = load_config(args.config)
    path = config.control_path("releaser")
    if args.verb == "list":
        found = call(path, "requests", last=args.last)["requests"]
        print_json(found) if args.json else _print_list(found, ZoneInfo(config.gateway.time_zone))
        return 0
    if args.number is None:
        return _stop_all(call(path, args.verb, all=True), as_json=args.json)
    request = call(path, "request", number=args.number)["request"]
    if args.verb == "show":
        if args.stills is not None:
            request["stills"], request["no_stills"] = _write_stills(config, request, args)
        print_json(request) if args.json else _print_request(request, ZoneInfo(config.gateway.time_zone))
        return 0
    if args.verb == "approve":
        approved = _approve(config, request, args)
        if approved is None:
            print_text("not approved: the request waits on")
            return 1
        answer = approved
    else:
        answer = call(path, args.verb, number=args.number)
    if args.json:
        print_json(answer)
    else:
        print_text(f"request {args.number}: {answer['state']}")
        _tell_what_follows(config, args.number, answer["state"])
    return 0


def _number(text: str) -> int:
    """Read a request's number: digits of ASCII, so that it is the one that was shown and begins with no hyphen."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"a request has a number, such as 12: {text!r}")
    return int(text)


def _number_or_file(text: str) -> int | str:
    return _number(text) if text.isascii() and text.isdigit() else text


def _stop_all(answer: Mapping[str, Any], *, as_json: bool) -> int:
    """Name the requests that were stopped; 1 if a key may be out already."""
    if as_json:
        print_json(answer)
    elif not answer["stopped"] and not answer["too_late"]:
        print_text("nothing was open")
    for number in () if as_json else answer["stopped"]:
        print_text(f"request {number}: stopped; nothing of it can be opened by anybody")
    for number in () if as_json else answer["too_late"]:
        print_text(f"request {number}: too late: the crime center may have the key already; it is not sent again")
    return 1 if answer["too_late"] else 0


def _tell_what_follows(config: Config, number: int, state: str) -> None:
    """Say until when a grant can be stopped, or the meaning of a stop."""
    zone = ZoneInfo(config.gateway.time_zone)
    if state == "granted":
        now = call(config.control_path("releaser"), "request", number=number)["request"]
        if now["not_before"] is not None:
            not_before, release_by = parse_rfc3339(now["not_before"]), parse_rfc3339(now["release_by"])
            print_text("\n".join(say_cancel(not_before, release_by, number, zone)))
    elif state in ("denied", "cancelled"):
        print_text("Nothing of it can be opened by anybody. This cannot be undone; they may ask again.")


def _approve(config: Config, request: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any] | None:
    """Show what leaves, from the bytes that are signed; ask; sign those. None if the owner did not say yes."""
    if request["state"] != "asked":
        raise UsageError(f"request {args.number} does not wait for you: it is {request['state']}")
    window = request["window"]
    if args.start or args.end:
        zone = ZoneInfo(config.gateway.time_zone)
        now = SystemClock().utc()
        part = read_window(args.start or window["start"], args.end or window["end"], now, zone)
        tell_window(part, zone)
        window = window_members(part)
    # Not the digest that the socket names: the one of the bytes that are shown below.
    asked = read_request(str(request["raw"]).encode())
    if (request["number"], request["jti"]) != (args.number, asked.jti):
        raise UsageError(f"the releaser shows another request than {args.number}")
    offers = parse_offers(request["offer"])
    members = {
        "jti": asked.jti,
        "request_sha256": encode_b64url(asked.payload_sha256),
        "offer_sha256": encode_b64url(digest_offers(offers)),
        "cameras": args.camera or list(offers.names),
        "window": window,
    }
    if beyond := set(args.camera or ()) - set(offers.names):
        raise UsageError(
            f"nothing of what was asked can leave of: {', '.join(sorted(beyond))}", "compare `requests show`"
        )
    built = build_owner_order(config, "approve", members)
    approval = read_approval(built.payload, built.owner)
    leaving = meet_approval(approval, offers)
    if not leaving.cameras:
        raise UsageError("nothing of what was asked can leave with this answer", "compare `requests show`")
    _print_prompt(asked, request, leaving, approval.signed_at, ZoneInfo(config.gateway.time_zone))
    if not args.yes and not writes_yes("to let this leave"):
        return None
    signed = sign_built_order(built.payload, load_owner_key(config, args.passphrase_file)).decode()
    return call(config.control_path("releaser"), "order", jws=signed)


def _print_prompt(asked: Request, request: Mapping[str, Any], leaving: Offers, now: UtcNs, zone: ZoneInfo) -> None:
    lines = (f"  {line}" for line in list_request(asked, request["signers"], zone))
    print_text("\n".join([f"request {request['number']}", *lines]))
    print_text("\n".join(["what leaves with your yes:", *(f"  {line}" for line in list_leaving(leaving, zone))]))
    not_before = UtcNs(now + int(request["cooling_off_s"]) * SECOND_NS)
    print_text("\n".join(say_cancel(not_before, asked.release_by, request["number"], zone)))


def _print_request(request: Mapping[str, Any], zone: ZoneInfo) -> None:
    """Print one request in words: its words, its outcome, its next step."""
    asked = read_request(str(request["raw"]).encode())
    number = request["number"]
    print_text(f"request {number}: {request['state']}")
    print_text("\n".join(f"  {line}" for line in list_request(asked, request["signers"], zone)))
    print_text(f"  arrived: {say_moment(parse_rfc3339(request['arrived_at']), zone)}")
    print_text(f"  their id: {asked.jti}")
    for reason in request["reasons"]:
        camera = f" ({reason['camera']})" if reason.get("camera") else ""
        print_text(f"  because: {reason['sentence']}{camera}")
    for release in request["releases"]:
        why = f", {release['reason']}" if release["reason"] else ""
        print_text(f"  clip of {release['camera']}: {release['state']}{why}")
    for path in request.get("stills", ()):
        print_text(f"  picture: {path}")
    for camera, why in request.get("no_stills", {}).items():
        print_text(f"  no picture of {camera}: {why}")
    lines = list(list_leaving(parse_offers(request["offer"]), zone))
    if request["state"] == "asked":
        print_text("\n".join(["what can leave with your yes:", *(f"  {line}" for line in lines)]))
        print_text(f"answer until {say_moment(parse_rfc3339(request['due']), zone)}; silence is a no:")
        print(f"  edge-agent requests approve {number}", f"  edge-agent requests deny {number}", sep="\n")
    elif request["state"] in ("granted", "uploading") and request["not_before"] is not None:
        print_text("\n".join(["what leaves:", *(f"  {line}" for line in lines)]))
        not_before = parse_rfc3339(request["not_before"])
        print_text("\n".join(say_cancel(not_before, asked.release_by, request["number"], zone)))


_PASSES = ("grant", "ask", "granted", "uploading", "delivered")
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


def _print_list(requests: list[dict[str, Any]], zone: ZoneInfo) -> None:
    """Print a row for each request; one that waits for the owner or can be stopped has until when."""
    rows = []
    for request in requests:
        ends = {"asked": request["due"], "granted": request["release_by"], "uploading": request["release_by"]}
        until = ends.get(request["state"])
        cameras = "every camera" if "*" in request["cameras"] else ", ".join(request["cameras"])
        codes = ", ".join(dict.fromkeys(reason["code"] for reason in request["reasons"]))
        rows.append(
            (
                str(request["number"]),
                request["state"],
                encode_local(parse_rfc3339(until), zone) if until else "-",
                show_line(request["iss"], 24),
                f"{request['category']}: {cameras}" + (f" ({codes})" if codes else ""),
            )
        )
    if not rows:
        print_text("nothing was asked so far")
        return
    print_table(("NUMBER", "STATE", "UNTIL", "WHO", "WHAT"), rows)


def _read_signed(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(256 * 1024)
    except (OSError, UnicodeDecodeError) as error:
        hint = "name a file, or a number of `edge-agent requests list`"
        raise UsageError(f"{path}: request cannot be read: {error}", hint) from error


def run_explain(args: argparse.Namespace) -> int:
    """Print every check and rule; 0 if the gate would grant or ask, 1 if it would refuse."""
    named = args.request
    wanted = {"number": named} if isinstance(named, int) else {"raw": _read_signed(named)}
    found = call(load_config(args.config).control_path("releaser"), "explain", **wanted)
    if args.json:
        print_json(found)
    else:
        rows = [(step["step"], step["verdict"], step["reason"], step["sentence"]) for step in found["steps"]]
        print_table(("STEP", "VERDICT", "REASON", ""), rows)
        print_text(f"\nverdict: {found['verdict']}")
    return 0 if found["verdict"] in _PASSES else 1

"""``edge-agent pause``, ``resume`` and ``revoke``: the owner's brakes."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import add_config
from edge_agent.commands.owner_key import add_passphrase, sign_owner_order
from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call
from edge_agent.host.terminal import print_text
from edge_agent.local_time import say_moment
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_duration

_PAUSE = """\
Stop release or recording at once, for one camera or all, until a time or until you resume. No passphrase is needed,
uploads that are under way stop, and the part that was sent can never be opened.

  edge-agent pause                             nothing leaves until you resume
  edge-agent pause --camera door --for 8h      this camera only, for eight hours
  edge-agent pause recording --camera door     do not even record it

A pause of all cameras and those of single cameras stand apart: each ends by its own time, or by a resume of the same
words.
"""
_RESUME = """\
End a pause. Asks for your passphrase: only you can loosen what was tightened.

  edge-agent resume                            ends what `edge-agent pause` began
  edge-agent resume --camera door              ends what `edge-agent pause --camera door` began
  edge-agent resume recording                  ends what `edge-agent pause recording` began

It ends the pause of these words and no other: a camera that was paused on its own stays paused when the pause of all
cameras ends, and the other way round. What is still paused is printed.
"""
_REVOKE = """\
Withdraw your consent, for one camera or for all. No passphrase is needed. Requests are refused from now on, uploads
that are under way stop. To give it again, sign anew: edge-agent consent sign
"""


def add_pause_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``pause`` takes."""
    parser.description = _PAUSE
    _add_what(parser)
    parser.add_argument("--for", dest="for_", metavar="DURATION", help="such as 30m, 8h or 2d [until you resume]")
    _add_common(parser)


def add_resume_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``resume`` takes."""
    parser.description = _RESUME
    _add_what(parser)
    add_passphrase(parser)
    _add_common(parser)


def add_revoke_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``revoke`` takes."""
    parser.description = _REVOKE
    _add_common(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("release", "recording"), default="release")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--camera", default="*", metavar="CAMERA", help="only this one [all]")
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Send the command to its process: pauses of recording to the recorder, the rest to the releaser."""
    config = load_config(args.config)
    # First: a misspelt camera must end the command, or its owner would take it for paused.
    is_on = args.camera == "*" or config.demand_camera(args.camera).enabled
    if args.command == "revoke":
        _revoke(config, args.camera)
    elif args.command == "resume":
        _resume(config, args)
    else:
        _pause(config, args)
        if not is_on:
            print_text(f"{args.camera} is switched off in {args.config}; the pause counts when it is switched on")
    return 0


def _revoke(config: Config, camera: str) -> None:
    answer = call(config.control_path("releaser"), "revoke", camera=camera)
    print_text(f"consent revoked: {', '.join(answer['cameras']) or 'none was signed'}")
    _tell_stopped(answer)
    print_text("requests are refused from now on; to give it again: edge-agent consent sign")


def _resume(config: Config, args: argparse.Namespace) -> None:
    # Signed, unlike a pause: whoever may write to the socket may tighten, and only the owner may loosen.
    signed = sign_owner_order(config, "resume", {"what": args.what, "camera": args.camera}, args.passphrase_file)
    paused = call(_find_process(config, args.what), "order", jws=signed)["paused"]
    print_text(f"{args.what} resumed: {_say(args.camera)}")
    if paused:
        print_text(f"still paused: {', '.join(map(_say, paused))}")


def _pause(config: Config, args: argparse.Namespace) -> None:
    until, said = None, "until you resume it"
    if args.for_:
        try:
            moment = UtcNs((SystemClock().utc() + parse_duration(args.for_)) // SECOND_NS * SECOND_NS)
            until, said = encode_rfc3339(moment), f"until {say_moment(moment, ZoneInfo(config.gateway.time_zone))}"
        except ValueError as error:
            raise UsageError(f"--for: {error}") from error
    answer = call(_find_process(config, args.what), "pause", camera=args.camera, until=until)
    print_text(f"{args.what} paused: {_say(args.camera)}, {said}")
    _tell_stopped(answer)
    only = "" if args.camera == "*" else f" --camera {args.camera}"
    recording = " recording" if args.what == "recording" else ""
    print_text(f"to end it, with your passphrase: edge-agent resume{recording}{only}")


def _find_process(config: Config, what: str) -> Path:
    return config.control_path("recorder" if what == "recording" else "releaser")


def _tell_stopped(answer: Mapping[str, Any]) -> None:
    """Say which requests a stop has ended or cut."""
    if answer.get("stopped"):
        print_text(f"stopped, and nothing sent of it can be opened: request {', '.join(map(str, answer['stopped']))}")


def _say(camera: str) -> str:
    return "all cameras" if camera == "*" else camera

"""``edge-agent discover``: which ONVIF cameras there are, and the YAML that records them."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_agent.capture.onvif.discovery import FoundCamera, describe_all, discover, list_interfaces
from edge_agent.capture.onvif.query import OnvifDevice
from edge_agent.commands.daemon import add_config
from edge_agent.custody.credentials import find_login, load_logins
from edge_agent.errors import UsageError
from edge_agent.host.terminal import print_json, print_table, print_text
from edge_agent.settings.fields import CertificatePin, OnvifAddress
from edge_agent.settings.gateway import load_config

_DESCRIPTION = """\
Search one network for ONVIF cameras (WS-Discovery, IPv4) and print what they have, with the lines for edge-agent.yaml.

No password is sent to a camera that was only found: anybody on the network can call itself one. Name the addresses that
are yours with --try, and the login from credentials.yaml with --credentials.
"""
_EPILOG = """\
examples:
  edge-agent discover                              the private networks of this machine
  edge-agent discover eth0                         the cameras on one of them
  sudo edge-agent discover eth0 --try 192.168.1.40 --credentials door
  sudo edge-agent discover --try 192.168.1.40:8000 --credentials door     that camera alone, no search
  sudo edge-agent discover --try https://192.168.1.40 --credentials door --pin sha256:0123…
                                                   over HTTPS; without --pin it is said which certificate it shows

exit code: 0 a camera was found, 1 none was, 64 no such interface
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    add_config(parser)
    parser.add_argument("interface", nargs="?", metavar="INTERFACE", help="the network to search, such as eth0")
    parser.add_argument(
        "--try",
        dest="tried",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="HOST[:PORT] or https://HOST[:PORT] of a camera that is yours: ask it with the login; may be given again",
    )
    parser.add_argument("--credentials", metavar="NAME", help="the login for --try, by its name in credentials.yaml")
    parser.add_argument("--pin", metavar="SHA256", help="for --try https://…: the certificate that is the camera's own")
    parser.add_argument("--wait", type=float, default=4.0, metavar="SECONDS", help="wait so long [%(default)g]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search, ask and print; the exit code is in the help."""
    tried = _read_tried(args)
    interfaces = list_interfaces()
    if args.interface is not None and args.interface not in interfaces:
        raise UsageError(
            f"no such interface with an IPv4 address: {args.interface}", f"there are {', '.join(sorted(interfaces))}"
        )
    if args.interface is None and tried:
        cameras = describe_all({}, tried)
    else:
        cameras = _search(choose_networks(interfaces, args.interface), tried, max(0.5, min(args.wait, 60.0)))
    _print(cameras, args)
    return 0 if any(camera.description is not None or not camera.was_tried for camera in cameras) else 1


def choose_networks(interfaces: Mapping[str, IPv4Interface], named: str | None) -> dict[str, IPv4Interface]:
    """Return the network that was named, or the private ones of this machine without its loopback."""
    if named is not None:
        return {named: interfaces[named]}
    # A public network is searched only if it is named: most that answers there is not the owner's.
    found = {name: each for name, each in sorted(interfaces.items()) if each.is_private and not each.is_loopback}
    if not found:
        listed = ", ".join(f"{name} ({each})" for name, each in sorted(interfaces.items()))
        raise UsageError(
            "this machine is in no private network", f"say which one to search: {listed or 'none has an IPv4 address'}"
        )
    return found


def _search(networks: Mapping[str, IPv4Interface], tried: Sequence[OnvifDevice], wait_s: float) -> list[FoundCamera]:
    """Search one network after the other, and say so; a camera that answers in two of them is listed once."""
    cameras: dict[str, FoundCamera] = {}
    for name, interface in networks.items():
        # Not to standard output: with --json that is one JSON value.
        print(f"searching {interface.network} on {name}, about {wait_s:g} s …", file=sys.stderr, flush=True)
        for camera in discover(interface, tried, wait_s):
            cameras.setdefault(camera.address, camera)
    return list(cameras.values())


def _read_tried(args: argparse.Namespace) -> list[OnvifDevice]:
    if bool(args.tried) != bool(args.credentials):
        raise UsageError("--try and --credentials belong together", "a password goes only to an address that you name")
    if args.pin and not args.tried:
        raise UsageError("--pin belongs to --try", "a camera that was only found is sent nothing that is worth a pin")
    if not args.tried:
        return []
    # Read only now: a search that sends no password needs no right to the file.
    login = find_login(load_logins(load_config(args.config).credentials_file), args.credentials)
    assert login is not None
    try:
        addresses = [TypeAdapter(OnvifAddress).validate_python(address) for address in args.tried]
    except ValidationError:
        words = "--try wants HOST or HOST:PORT of a camera, such as 192.168.1.40:8000, or https:// before it"
        raise UsageError(words) from None
    try:
        pin = TypeAdapter(CertificatePin).validate_python(args.pin) if args.pin else ""
    except ValidationError:
        raise UsageError("--pin wants sha256: and 64 hexadecimal digits") from None
    return [OnvifDevice(address, login.username, login.password, pin=pin) for address in addresses]


def _print(cameras: list[FoundCamera], args: argparse.Namespace) -> None:
    if args.json:
        print_json([_as_json(camera) for camera in cameras])
        return
    if not cameras:
        print_text("no ONVIF camera answers there: is ONVIF switched on in the camera, and is it on this network?")
        return
    rows = []
    for camera in cameras:
        profiles = camera.description.profiles if camera.description is not None else ()
        first = (camera.name or "-", camera.model or "-", camera.address)
        lines = [str(profile) for profile in profiles] or ["-"]
        rows.append((*first, lines[0], _login_words(camera)))
        rows += [("", "", "", line, "") for line in lines[1:]]
    print_table(("NAME", "MODEL", "ADDRESS", "PROFILES", "LOGIN"), rows)
    print_text("\n# for edge-agent.yaml:\ncameras:")
    taken: set[str] = set()
    for camera in cameras:
        print_text("\n".join(_yaml_lines(camera, args.credentials, taken)))
    if any(camera.problem == "unauthorized" and not camera.was_tried for camera in cameras):
        print("\nedge-agent: hint: to see what a camera has: --try ADDRESS --credentials NAME", file=sys.stderr)


def _login_words(camera: FoundCamera) -> str:
    if camera.description is not None:
        return {"none": "needs none", "digest": "fits", "text": "fits, sent as text"}[camera.description.token]
    if camera.problem == "unauthorized":
        return "does not fit" if camera.was_tried else "needs one"
    return camera.words


def _yaml_lines(camera: FoundCamera, credentials: str | None, taken: set[str]) -> list[str]:
    """Return the camera's entry; the owner gives it a better id."""
    # Names come from the network: nothing but letters, digits and hyphens of them reaches the YAML.
    slug = re.sub(r"[^a-z0-9]+", "-", (camera.name or camera.model).lower()).strip("-")[:24].strip("-") or "camera"
    name = next(n for n in (slug, *(f"{slug}-{number}" for number in range(2, 1000))) if n not in taken)
    taken.add(name)
    lines = [f"  - id: {name}", f'    onvif: "{camera.address}"']
    if camera.was_tried:
        lines.append(f"    credentials: {credentials}")
    elif camera.description is None:
        lines.append("    credentials: NAME  # as in credentials.yaml")
    if camera.pin:
        lines.append(f'    tls: {{pin: "{camera.pin}"}}  # compare it with the one in the camera\'s own pages')
    profiles = camera.description.profiles if camera.description is not None else ()
    if len(profiles) > 1:
        lines.append("    # sub: {profile: sub}  # the small stream as well, in a ring of its own")
    return lines


def _as_json(camera: FoundCamera) -> dict[str, Any]:
    told = camera.description
    profiles = [
        {"token": p.token, "name": p.name, "codec": p.codec, "width": p.width, "height": p.height, "fps": p.fps}
        for p in (told.profiles if told is not None else ())
    ]
    return {
        "address": camera.address,
        "name": camera.name,
        "model": camera.model,
        "profiles": profiles,
        "clock_offset_s": told.clock_offset_s if told is not None else None,
        "login": _login_words(camera),
        "problem": camera.problem,
        "pin": camera.pin or None,
    }

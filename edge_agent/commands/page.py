"""``edge-agent page``: the resident's page, on and off; pair a device, list them, take one off."""

import argparse
import importlib
import os
import sys
from pathlib import Path

from edge_agent.commands.daemon import add_config
from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import call
from edge_agent.host.regular_file import read_regular
from edge_agent.page.pairing import FIRST_LIFE_S
from edge_agent.page.settings import PageSettings, ca_path, load_settings
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup import page_service
from edge_agent.setup.page_authority import show_thumbprint

_DESCRIPTION = """\
A page for the browsers of your home: how the cameras do, what was asked, what is recorded, your terms, the ledger; and
the brakes (say no, stop, pause, withdraw). It is off until you turn it on, and listens at home addresses only.

  sudo edge-agent page on                      make its certificate, start it, print its addresses
  sudo edge-agent page on --name gateway.lan   … and answer to this name as well
  sudo edge-agent page pair                    let a phone or a computer in: a picture to point it at, and a code
  sudo edge-agent page devices                 which devices are paired
  sudo edge-agent page forget DEVICE           take one off, at once
  sudo edge-agent page status                  its addresses, and the thumbprint of its certificate
  sudo edge-agent page off                     stop it

The page never takes your passphrase. Beside it is the desk, at a name of its own: there you say yes, end a pause and
look at recordings, with your passphrase and the code of a message to you (docs/page.md).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    on = verbs.add_parser("on", help="turn it on, or renew its certificate")
    on.add_argument(
        "--address", action="append", default=[], metavar="ADDRESS", help="listen here only; may be given again"
    )
    on.add_argument("--name", action="append", default=[], metavar="NAME", help="answer to this name as well")
    on.add_argument("--port", type=int, metavar="PORT", help="[8443]; the desk gets the next one")
    on.add_argument("--desk-name", metavar="NAME", help="the desk answers to this name alone [one ending in .local]")
    pair = verbs.add_parser("pair", help="let a device in, within ten minutes")
    devices = verbs.add_parser("devices", help="list the paired devices")
    forget = verbs.add_parser("forget", help="take a device off")
    forget.add_argument("device", metavar="DEVICE", help="its name or id")
    status = verbs.add_parser("status", help="where it is, and its certificate's thumbprint")
    off = verbs.add_parser("off", help="turn it off")
    for verb in (on, pair, devices, forget, status, off):
        add_config(verb)
        verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out one verb."""
    config = load_config(args.config)
    folder = page_service.page_dir(config)
    if args.verb == "on":
        settings = page_service.choose_settings(config, args.address, args.name, args.port, args.desk_name)
        turn_on(config, settings)
        return 0
    if args.verb == "off":
        page_service.turn_off(config)
        print("the page is off; its devices are kept for the next time: edge-agent page on")
        return 0
    settings = load_settings(folder)
    if args.verb == "status":
        _print_addresses(settings.urls)
        print(f"desk, by this name alone:\n  {settings.desk}")
        print(f"certificate authority, SHA-256:\n  {_read_thumbprint(folder)}")
    elif args.verb == "pair":
        answer = call(settings.own_socket, "pair")
        _print_code(settings.urls[0], str(answer["code"]), int(answer["life_s"]))
    elif args.verb == "devices":
        _print_devices(settings)
    else:
        print(f"taken off: {call(settings.own_socket, 'forget', device=args.device)['name']}")
    return 0


def turn_on(config: Config, args_settings: PageSettings) -> None:
    """Turn page and desk on, and say where they are and how the first device gets in."""
    made = page_service.turn_on(config, args_settings, SystemClock().utc())
    _tell_on(made, page_service.page_dir(config), page_service.desk_dir(config))


def _tell_on(made: page_service.TurnedOn, folder: Path, desk_folder: Path) -> None:
    print("the page is on" if made.is_started else "the page is ready; `edge-agent run` starts it, or by hand:")
    if not made.is_started:
        print(f"  edge-agent serve-page --folder {folder}", f"  edge-agent serve-desk --folder {desk_folder}", sep="\n")
    _print_addresses(made.settings.urls)
    print(f"desk, by this name alone:\n  {made.desk.urls[0]}")
    print(f"certificate authority, SHA-256:\n  {made.thumbprint}")
    if made.is_new_authority:
        print("it is new: a device that trusted the one before must trust this one")
    if made.code:
        _print_code(made.settings.urls[0], made.code, FIRST_LIFE_S)
    else:
        print("let another device in: edge-agent page pair")


def _print_devices(settings: PageSettings) -> None:
    found = call(settings.own_socket, "devices")["devices"]
    for each in found:
        print(f"{each['id']}  {each['name']}  paired {each['paired_at'][:10]}, last seen {each['seen_on']}")
    if not found:
        print("no device is paired: edge-agent page pair")


def _print_addresses(urls: list[str]) -> None:
    print("addresses:", *(f"  {each}" for each in urls), sep="\n")


def _read_thumbprint(folder: Path) -> str:

    try:
        return show_thumbprint(read_regular(ca_path(folder)))
    except (OSError, ValueError) as error:
        raise UsageError(f"{ca_path(folder)}: certificate cannot be read", "sudo edge-agent page on") from error


def _print_code(url: str, code: str, life_s: int) -> None:
    """Print the picture and the code; the picture holds both address and code, the code behind a ``#``."""
    link = f"{url}pair#{code}"
    # Here and not above: of all commands this one draws, and it is in an extra.
    segno = importlib.import_module("segno")
    if sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower() and os.environ.get("TERM") != "dumb":
        segno.make(link, error="m").terminal(compact=True)
    print(f"point the device's camera at the picture, or open {url}pair and type this code:\n\n  {code}\n")
    print(f"it is good once, for {life_s // 60} minutes: {link}")
    print("your browser warns of the certificate the first time: go on, it is this gateway's own")

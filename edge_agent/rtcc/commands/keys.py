"""``rtcc keys``: make a home with all keys, show what is in it, add a person."""

import argparse
import re
from pathlib import Path

from edge_agent.errors import UsageError
from edge_agent.host.terminal import print_json
from edge_agent.protocol.request import Role
from edge_agent.rtcc.commands.folder import add_home, add_passphrase, open_home, read_now
from edge_agent.rtcc.office.home import DEFAULT_PEOPLE, HomeSettings, RtccHome
from edge_agent.rtcc.office.keys import read_passphrase
from edge_agent.rtcc.office.show import PAGE, describe_home, print_home

_ROLES = ("operator", "supervisor", "dispatch")
_INIT = """\
examples:
  rtcc keys init rtcc-home
  rtcc keys init rtcc-home --iss rtcc.example-city --broker broker.example:8883 \\
      --upload evidence=https://uploads.example:8443/files/ \\
      --operator ada --operator alan --supervisor grace --passphrase-file passphrase

makes: three offline root keys of which two must sign, a key for each person, a certificate authority with our own
client certificate, and age identities for evidence and escrow. Move the files of roots/ to media that are kept offline.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="make a home with all keys", epilog=_INIT)
    init.add_argument("folder", type=Path, metavar="DIR", help="where; must not hold a home yet")
    init.add_argument("--iss", default="rtcc.example-city", help="our name in everything we sign [%(default)s]")
    init.add_argument(
        "--broker", default="localhost:8883", metavar="HOST:PORT", help="where gateways connect [%(default)s]"
    )
    init.add_argument(
        "--rtcc-port", type=int, metavar="PORT", help="our own listener at the broker [the gateways' port + 1]"
    )
    init.add_argument(
        "--upload",
        action="append",
        metavar="NAME=URL",
        help="an upload server [evidence=https://localhost:8443/files/]",
    )
    for role in _ROLES:
        init.add_argument(f"--{role}", action="append", metavar="PERSON", help=f"who is {role} [{role}-1]")
    add_passphrase(init)
    init.set_defaults(run=run_init)
    show = actions.add_parser("show", help="people, roots, recipients, trust, gateways")
    add_home(show)
    show.add_argument("--after", default="", metavar="GATEWAY", help="gateways after this id: the next page")
    show.add_argument("--limit", type=int, default=PAGE, metavar="N", help="gateways at once [%(default)s]")
    show.add_argument("--json", action="store_true", help="for scripts")
    show.set_defaults(run=run_show)
    add = actions.add_parser(
        "add",
        help="make a key for a person",
        epilog="example:\n  rtcc keys add --role supervisor --person margaret && rtcc trust sign && rtcc trust publish",
    )
    add_home(add)
    add.add_argument("--role", choices=_ROLES, required=True)
    add.add_argument("--person", required=True, help="small letters, digits, dots and hyphens")
    add.add_argument("--days", type=int, default=365, help="how long the key counts [%(default)s]")
    add.set_defaults(run=run_add)


def run_init(args: argparse.Namespace) -> int:
    """Make a home."""
    # Our own listener has the next port.
    host, port = parse_broker(args.broker, 65534)
    uploads = dict(_parse_upload(text) for text in args.upload or ["evidence=https://localhost:8443/files/"])
    settings = HomeSettings(args.iss, host, port, args.rtcc_port or port + 1, uploads)
    people = {name: Role(role) for role in _ROLES for name in getattr(args, role) or ()}
    passphrase = read_passphrase(args.passphrase_file)
    home = RtccHome.create(args.folder, settings, read_now(), passphrase=passphrase, people=people or DEFAULT_PEOPLE)
    print(f"made {home.path}: {settings.iss}")
    print(f"people: {', '.join(f'{person.name} ({person.role.value})' for person in home.people.present())}")
    print(f"take {home.path / 'roots'}/*.pem offline; two of the three sign each trust bundle")
    print(f"next: export RTCC_HOME={home.path.absolute()}; rtcc trust sign")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Show what is in a home."""
    if args.limit < 1:
        raise UsageError(f"not a number of gateways: {args.limit}")
    description = describe_home(open_home(args), read_now(), args.after, args.limit)
    if args.json:
        print_json(description)
    else:
        print_home(description)
        if len(description["gateways"]) == args.limit:
            print(f"next: rtcc keys show --after={description['gateways'][-1]['gateway']}")
    return 0


def run_add(args: argparse.Namespace) -> int:
    """Make a person's key."""
    if not 1 <= args.days <= 3650:
        raise UsageError(f"a key counts for 1 to 3650 days: days={args.days}")
    person = open_home(args).people.add(args.person, Role(args.role), read_now(), args.days)
    print(f"made {person.role.value} {person.name}: kid={person.kid}")
    print("counts from the next trust bundle: rtcc trust sign && rtcc trust publish")
    return 0


def parse_broker(text: str, highest: int = 65535) -> tuple[str, int]:
    """Return host and port of a broker; UsageError for anything but HOST:PORT, with a port from 1 to ``highest``."""
    match = re.fullmatch(r"([A-Za-z0-9._-]{1,253}):([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[2]) <= highest:
        raise UsageError(f"not a broker: {text[:80]!r}", "HOST:PORT, such as broker.example:8883")
    return match[1], int(match[2])


def _parse_upload(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([a-z0-9][a-z0-9-]{0,31})=(https://[^\x00-\x20@?#]{1,900})", text)
    if match is None:
        raise UsageError(f"not an upload server: {text[:80]!r}", "NAME=https://HOST:PORT/PATH/")
    return match[1], match[2]

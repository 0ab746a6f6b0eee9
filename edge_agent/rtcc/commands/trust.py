"""``rtcc trust``: sign the trust bundle by two of three roots, publish it, revoke a key, change the roots."""

import argparse
from pathlib import Path

from edge_agent.errors import ConfigError, CustodyError
from edge_agent.protocol import jws
from edge_agent.protocol.trust_bundle import TYP
from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.office.keys import replace
from edge_agent.rtcc.office.trust import TOPIC, is_handed_over, load_trust, sign_trust
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import encode_rfc3339

_EPILOG = """\
examples:
  rtcc trust sign                                 with root keys that are in the home
  rtcc trust sign --root-file /media/a/set-001-root-1.pem --root-file /media/b/set-001-root-2.pem
  rtcc trust publish                              retained at the broker: every gateway takes it
  rtcc trust revoke ada                           a person or a kid; then sign and publish
  rtcc trust new-roots                            then sign: that bundle hands over to the new set

A gateway denies everything once its bundle has expired: sign and publish a new one in time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    sign = actions.add_parser("sign", help="sign the next version of the trust bundle")
    add_home(sign)
    sign.add_argument("--root-file", type=Path, action="append", default=[], metavar="FILE", help="an offline root key")
    sign.add_argument("--days", type=int, default=30, help="how long it counts, at most 30 [%(default)s]")
    sign.add_argument("--out", type=Path, metavar="FILE", help="write a copy, for gateways that take it as a file")
    sign.set_defaults(run=run_sign)
    publish = actions.add_parser("publish", help="replace the retained bundle at the broker")
    add_home(publish)
    publish.add_argument("--file", type=Path, metavar="FILE", help="a bundle signed elsewhere [the newest in the home]")
    publish.set_defaults(run=run_publish)
    revoke = actions.add_parser("revoke", help="let a key never count again")
    add_home(revoke)
    revoke.add_argument("key", metavar="PERSON|KID")
    revoke.set_defaults(run=run_revoke)
    roots = actions.add_parser("new-roots", help="make a new set of root keys")
    add_home(roots)
    roots.set_defaults(run=run_new_roots)


def run_sign(args: argparse.Namespace) -> int:
    """Sign a bundle."""
    home, now = open_home(args), read_now()
    raw = sign_trust(home, now, days=args.days, root_files=args.root_file)
    if args.out:
        replace(args.out, raw)
    bundle = load_trust(home, now)
    print(f"signed version {bundle.version}, until {encode_rfc3339(bundle.expires)}: {len(bundle.keys)} keys, "
          f"{len(bundle.revoked)} revoked")  # fmt: skip
    print("next: rtcc trust publish")
    return 0


def run_publish(args: argparse.Namespace) -> int:
    """Publish a bundle."""
    home = open_home(args)
    try:
        raw = args.file.read_bytes() if args.file else load_trust(home, read_now()).raw
    except OSError as error:
        raise ConfigError(f"file cannot be read: {args.file}: {error.strerror}") from error
    jws.parse(raw, TYP)
    with RtccSession(home) as session:
        session.publish_trust(raw)
    print(f"published, retained: topic={TOPIC} bytes={len(raw)}")
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    """Revoke a key."""
    kid = open_home(args).people.revoke(args.key)
    print(f"revoked: kid={kid}")
    print("counts from the next trust bundle: rtcc trust sign && rtcc trust publish")
    return 0


def run_new_roots(args: argparse.Namespace) -> int:
    """Make new roots."""
    home = open_home(args)
    # A set that no bundle has handed over to yet would be skipped, and its keys never known.
    if home.find_bundle() is not None and not is_handed_over(home):
        raise CustodyError("the last set of roots was never handed over to", "rtcc trust sign && rtcc trust publish")
    root_set = home.roots.add()
    print(f"made root set {root_set.number}; the next `rtcc trust sign` hands over to it, signed by both sets")
    print("publish that bundle and leave it there until every gateway has been online once")
    return 0

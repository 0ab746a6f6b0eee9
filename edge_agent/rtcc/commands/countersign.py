"""``rtcc countersign``: a person reads a draft at their own machine, and signs it with their own key."""

import argparse
import json
import sys
from datetime import tzinfo
from pathlib import Path

from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.questions import writes_yes
from edge_agent.host.time_arguments import find_machine_zone
from edge_agent.local_time import say_moment
from edge_agent.printable_text import show_line
from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.office.drafts import OpenedDraft, RequestDrafts, load_person_key
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.request import SignedRequest
from edge_agent.rtcc.office.words import say_request
from edge_agent.rtcc.session import RtccSession

_EPILOG = """\
examples:
  rtcc request --gateway ID --draft --operator ada ...               the operator drafts it: nobody has signed yet
  rtcc countersign                                                  what waits for a signature
  rtcc countersign DRAFT --person grace --key /media/grace/key.pem  the supervisor opens it, which sets its times
  rtcc countersign DRAFT --person ada --key /media/ada/key.pem      the operator signs the same, within 15 minutes

Drafts lie in the home's state, unsigned: in a folder on a share without anybody's key, or at a database server. Whoever
did not draft it opens it first: from then on its times stand, and both sign the very same bytes. The second signature
sends it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    parser.add_argument("draft", nargs="?", metavar="DRAFT", help="its id; without it all are listed")
    add_home(parser)
    parser.add_argument("--person", metavar="PERSON", help="who reads it and signs")
    parser.add_argument("--key", type=Path, metavar="FILE", help="that person's key [people/ in the home]")
    parser.add_argument("--yes", action="store_true", help="do not ask (for scripts)")
    parser.add_argument("--no-send", action="store_true", help="the second signature sends nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show, ask, sign; the last signature sends."""
    home = open_home(args)
    if args.draft is None:
        _list(home)
        return 0
    if args.person is None:
        raise UsageError("who signs?", "--person PERSON")
    drafts, now = RequestDrafts(home), read_now()
    opened = drafts.open(args.draft, args.person, now)
    _show(opened, find_machine_zone())
    if not args.yes and not _is_confirmed():
        print("nothing was signed", file=sys.stderr)
        return 1
    signed = drafts.sign(opened, args.person, load_person_key(home, args.person, args.key), read_now())
    if signed is None:
        print(f"signed by {args.person}; the other person has until {_clock(opened)} to sign as well")
    elif not args.no_send:
        _send(home, signed)
    else:
        print(f"signed by both: jti={signed.jti}")
    return 0


def _list(home: RtccHome) -> None:
    drafts = RequestDrafts(home)
    for draft_id in drafts.ids():
        try:
            draft = drafts.load(draft_id)
        except ConfigError as error:  # one that somebody spoilt hides no other
            print(f"{draft_id[:64]!r}  cannot be read: {show_line(str(error))}", file=sys.stderr)
            continue
        incident = draft.members["incident"]
        print(f"{draft_id}  {incident['number']}  {incident['category']}  drafted by {show_line(draft.drafted_by)}")


def _show(opened: OpenedDraft, zone: tzinfo) -> None:
    signed_by = ", ".join(show_line(each) for each in opened.signed_by)
    print(f"drafted by {show_line(opened.draft.drafted_by)}; signed by {signed_by or 'nobody yet'}")
    for line in say_request(json.loads(opened.payload), zone):
        print(line)


def _clock(opened: OpenedDraft) -> str:
    return say_moment(opened.sign_until, find_machine_zone())


def _is_confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to read it", "in a script: --yes")
    return writes_yes("to sign this")


def _send(home: RtccHome, signed: SignedRequest) -> None:
    with RtccSession(home) as session:
        session.send(signed)
    print(f"signed by both, and sent: jti={signed.jti}")
    print(f"next: rtcc watch --request {signed.jti}")

"""``rtcc watch``: follow the signed answers of gateways."""

import argparse
import json
import os
from typing import Any

from edge_agent.errors import DenialError, UsageError
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.answers import Inbox
from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.words import describe_answer, say_answer, say_deadline, say_time
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import SECOND_NS, parse_duration

_EPILOG = """\
examples:
  rtcc watch                              all answers, until Ctrl-C
  rtcc watch --request JTI                one request, until its final answer
  rtcc watch --request JTI --stored       what is in the home already; no network
  rtcc watch --json | jq .status

Every answer is verified with the key that its gateway was enrolled with, and kept in the home. `delivered` brings the
key of a bundle: from then on `rtcc open` opens the upload. A gateway that refuses an area's request says nothing.
With SQLite only one `rtcc watch` may run for a home; the broker keeps the answers while none does.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    parser.add_argument("--request", metavar="JTI", help="only answers to this request")
    parser.add_argument("--conflicts", action="store_true", help="show messages that contradict earlier ones, and end")
    parser.add_argument("--stored", action="store_true", help="show what was answered so far, and end")
    parser.add_argument("--timeout", default="365d", metavar="DURATION", help="end after so long")
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON object a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Follow answers; 75 if the time ran out before the final one."""
    home = open_home(args)
    if args.request is not None and not home.has_request(args.request):
        raise UsageError(f"no such request was sent from here: {args.request[:64]!r}")
    if args.conflicts:
        return _show_conflicts(home)
    if args.stored:
        return _show_stored(args)
    with RtccSession(home, watch=True) as session:
        return follow(session, args.request, args.timeout, as_json=args.json)


def follow(session: RtccSession, jti: str | None, timeout: str, *, as_json: bool) -> int:
    """Print answers as they come; return 0 after a final one, 75 (try again) if the time ran out first."""
    try:
        timeout_s = parse_duration(timeout) / SECOND_NS
    except ValueError as error:
        raise UsageError(str(error)) from error
    is_final = False
    for answer in session.answers(jti, timeout_s):
        _print_answer(answer, as_json=as_json)
        is_final = answer.status.is_final
    return os.EX_OK if is_final or jti is None else os.EX_TEMPFAIL


def _show_stored(args: argparse.Namespace) -> int:
    home = open_home(args)
    inbox = Inbox(home)
    for jti in [args.request] if args.request is not None else home.request_ids():
        is_answered = is_final = False
        for answer in inbox.answers(jti):
            is_answered, is_final = True, is_final or answer.status.is_final
            _print_answer(answer, as_json=args.json)
        if not args.json and not is_final:
            _print_deadline(home, jti, is_answered=is_answered)
    return 0


def _show_conflicts(home: RtccHome) -> int:
    for gateway, jti, raw in home.state.exchanges.conflicts():
        print(f"{gateway}  {jti}  {raw.decode(errors='replace')}")
    return 0


def _print_deadline(home: RtccHome, jti: str, *, is_answered: bool) -> None:
    try:
        payload: Any = jws.parse(home.find_request(jti) or b"", TYP).payload
        said = say_deadline(payload, read_now(), is_answered=is_answered)
    except (DenialError, LookupError, TypeError, ValueError):  # of one request; the list goes on
        said = f"this request's row is damaged: table=requests jti={jti}"
    print(f"{'':<20}  {'':<22}  {jti}  {'waiting':<10}  {said}")


def _print_answer(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(describe_answer(answer), sort_keys=True), flush=True)
        return
    # One line each, in columns: gateway and request have fixed lengths.
    print(
        f"{say_time(answer.at)}  {answer.gateway}  {answer.jti}  {answer.status.value:<10}  {say_answer(answer)}",
        flush=True,
    )

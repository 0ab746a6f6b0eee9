"""``rtcc request``: write a request, have two persons sign it, send it."""

import argparse
import json
from pathlib import Path

from edge_agent.errors import UsageError
from edge_agent.host.time_arguments import find_machine_zone, read_time, tell_moment, tell_window
from edge_agent.protocol.jws import MAX_MESSAGE_BYTES
from edge_agent.protocol.request import Category, Incident, Quality
from edge_agent.rtcc.commands.folder import add_home, open_home, read_now
from edge_agent.rtcc.commands.watch import follow
from edge_agent.rtcc.office.cad import MAX_CAD_BYTES, read_cad
from edge_agent.rtcc.office.drafts import RequestDrafts
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import replace
from edge_agent.rtcc.office.request import (
    RequestDraft,
    SignedRequest,
    countersign_request,
    draft_request,
    sign_request,
    to_area,
    to_gateway,
)
from edge_agent.rtcc.office.words import parse_metres, parse_place, parse_window, say_time
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import UtcNs, parse_duration

_CATEGORIES = (
    "homicide", "shooting", "robbery", "assault", "sexual-assault", "kidnapping", "burglary", "vehicle-theft", "theft",
    "arson", "hit-and-run", "missing-person", "vandalism",
)  # fmt: skip
_EPILOG = """\
examples:
  one gateway, both signers at this machine, then follow the answers:
    rtcc request --gateway ID --operator ada --supervisor grace \\
        --incident 2026-004711 --category robbery --place 40.7128,-74.006 --reported-at 20m-ago \\
        --incident-window 60m-ago/5m-ago --clip 50m-ago/+3m --purpose "robbery at the corner" --contact "desk 4" --watch

  an area: every gateway whose cell the circle touches hears it, and judges its own distance at home:
    rtcc request --area 400m ...

  two persons at two machines:
    rtcc request --gateway ID --operator ada ... --draft                unsigned, in the home's state
    rtcc countersign --help                                             each signs it with their own key

  the incident from a dispatch system's JSON:
    rtcc request --gateway ID --from-cad incident.json --mapping cad-mapping.json --operator ada --draft

times are 21:10, 'yesterday 9:10pm', '2026-05-04 21:10', 10m-ago or 2026-05-04T21:10:00Z, local ones of this machine's
zone (TZ=… for another); a window is START/END, and END may be +3m. Gateways remember the facts of an incident number as
first seen: a second request about it must give the same, so write its times in full.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    to = parser.add_mutually_exclusive_group()
    to.add_argument("--gateway", metavar="ID", help="one enrolled gateway")
    to.add_argument("--area", metavar="RADIUS", help="every gateway in a circle around the incident, such as 400m")
    to.add_argument("--countersign", type=Path, metavar="FILE", help="a draft that an operator signed")
    who = parser.add_argument_group("who signs")
    who.add_argument("--operator", metavar="PERSON")
    who.add_argument("--supervisor", metavar="PERSON", help="left out: --out writes a draft to countersign")
    who.add_argument("--dispatch", metavar="PERSON", help="a third signature that some owners ask for")
    incident = parser.add_argument_group("the incident: as reported, and the same in every request about it")
    incident.add_argument("--from-cad", type=Path, metavar="FILE", help="take what is not given here from JSON")
    incident.add_argument("--mapping", type=Path, metavar="FILE", help="where each word stands in that JSON")
    incident.add_argument("--incident", metavar="NUMBER")
    incident.add_argument("--category", metavar="CATEGORY", help=", ".join(_CATEGORIES))
    incident.add_argument("--place", metavar="LAT,LON")
    incident.add_argument("--reported-at", metavar="TIME")
    incident.add_argument("--incident-window", metavar="START/END")
    clip = parser.add_argument_group("the clip")
    clip.add_argument("--clip", metavar="START/END", help="inside the incident's window [the whole of it]")
    clip.add_argument("--camera", action="append", metavar="ID", help="[every camera that consents]")
    clip.add_argument("--quality", choices=("main", "sub"), default="main", help="[%(default)s]")
    clip.add_argument("--audio", action="store_true", help="only where the owner consents to audio as well")
    clip.add_argument("--purpose", help="shown to the owner")
    clip.add_argument("--contact", help="whom the owner can ask back; shown to the owner")
    clip.add_argument("--deliver", default="evidence", metavar="NAME", help="upload server, by name [%(default)s]")
    clip.add_argument("--release-within", default="24h", metavar="DURATION", help="at most 24h [%(default)s]")
    out = parser.add_argument_group("what happens with it")
    out.add_argument("--draft", action="store_true", help="keep it unsigned for `rtcc countersign`")
    out.add_argument("--out", type=Path, metavar="FILE", help="write it, send nothing")
    out.add_argument("--watch", action="store_true", help="send it and follow the answers until the final one")
    out.add_argument("--timeout", default="30m", metavar="DURATION", help="how long to --watch [%(default)s]")
    out.add_argument("--json", action="store_true", help="for scripts: one JSON object a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write, sign and send a request."""
    home, now = open_home(args), read_now()
    _fill_from_cad(args)
    if args.draft:
        return _keep_draft(args, home, now)
    if args.out is not None and args.supervisor is None and args.countersign is None:
        return _write_draft(args, home, now)
    signed = _sign(args, home, now)
    if args.out is not None:
        replace(args.out, signed.raw)
        _say(args, {"jti": signed.jti, "file": str(args.out)}, f"signed: jti={signed.jti} file={args.out}")
        return 0
    return _send(args, home, signed)


def _sign(args: argparse.Namespace, home: RtccHome, now: UtcNs) -> SignedRequest:
    if args.supervisor is None:
        raise UsageError("a supervisor has to sign", "--supervisor PERSON, or --out FILE for a draft")
    if args.countersign is not None:
        return countersign_request(
            home, _read_file(args.countersign, MAX_MESSAGE_BYTES), now, supervisor=args.supervisor
        )
    draft = _build_draft(args, now)
    signed = sign_request(
        home, draft, now, operator=args.operator, supervisor=args.supervisor, dispatch=args.dispatch
    )  # fmt: skip
    _tell_times(draft)
    return signed


def _tell_times(draft: RequestDraft) -> None:
    zone = find_machine_zone()
    tell_moment(draft.incident.reported_at, zone, "reported")
    tell_window(draft.incident.window, zone, "incident")
    tell_window(draft.window, zone, "clip")


def _fill_from_cad(args: argparse.Namespace) -> None:
    """Take what was not typed from the dispatch system's incident."""
    if (args.from_cad is None) != (args.mapping is None):
        raise UsageError("--from-cad and --mapping belong together")
    if args.from_cad is None:
        return
    words = read_cad(_read_file(args.from_cad, MAX_CAD_BYTES), _read_file(args.mapping, MAX_CAD_BYTES))
    # A typed word counts before the dispatch system's.
    for word, text in words.items():
        name = "incident" if word == "number" else word
        if getattr(args, name) is None:
            setattr(args, name, text)


def _keep_draft(args: argparse.Namespace, home: RtccHome, now: UtcNs) -> int:
    draft = _build_draft(args, now)
    stored = RequestDrafts(home).add(draft, args.operator, now)
    _tell_times(draft)
    _say(args, {"draft": stored.id}, f"drafted, signed by nobody: draft={stored.id}")
    _say(args, None, f"next: the second person runs rtcc countersign {stored.id} --person PERSON; then {args.operator}")
    return 0


def _write_draft(args: argparse.Namespace, home: RtccHome, now: UtcNs) -> int:
    draft = _build_draft(args, now)
    replace(args.out, draft_request(home, draft, now, operator=args.operator))
    _tell_times(draft)
    _say(args, {"file": str(args.out)}, f"signed once: file={args.out}")
    _say(args, None, f"next: rtcc request --countersign {args.out} --supervisor PERSON")
    return 0


def _send(args: argparse.Namespace, home: RtccHome, signed: SignedRequest) -> int:
    with RtccSession(home, watch=args.watch) as session:
        session.send(signed)
        _say(args, {"jti": signed.jti, "topics": list(signed.topics)}, f"sent: jti={signed.jti}")
        if args.watch:
            return follow(session, signed.jti, args.timeout, as_json=args.json)
    _say(args, None, f"no gateway takes it in after {say_time(signed.expires)}")
    _say(args, None, f"next: rtcc watch --request {signed.jti}")
    return 0


def _build_draft(args: argparse.Namespace, now: UtcNs) -> RequestDraft:
    _check_words(args)
    zone = find_machine_zone()
    reported_at = read_time("--reported-at", args.reported_at, now, zone)
    reported = parse_window(args.incident_window, now, zone, "--incident-window")
    window = parse_window(args.clip, now, zone, "--clip") if args.clip else reported
    incident = Incident(
        number=args.incident,
        category=_parse_category(args.category),
        reported_at=reported_at,
        place=parse_place(args.place),
        window=reported,
    )
    return RequestDraft(
        audience=to_gateway(args.gateway) if args.gateway else to_area(incident, parse_metres(args.area)),
        incident=incident,
        window=window,
        purpose=args.purpose,
        contact=args.contact,
        cameras=tuple(args.camera or ("*",)),
        audio=args.audio,
        quality=Quality(args.quality),
        deliver=args.deliver,
        release_within_ns=_parse_duration(args.release_within),
    )


def _check_words(args: argparse.Namespace) -> None:
    needed = ("operator", "incident", "category", "place", "reported_at", "incident_window", "purpose", "contact")
    missing = [f"--{name.replace('_', '-')}" for name in needed if getattr(args, name) is None]
    if not args.gateway and not args.area:
        missing.insert(0, "--gateway or --area")
    if missing:
        raise UsageError(f"a request needs {', '.join(missing)}", "`rtcc request --help` shows whole examples")


def _parse_category(text: str) -> Category:
    if text not in _CATEGORIES:
        raise UsageError(f"not a category: {text[:40]!r}", ", ".join(_CATEGORIES))
    return Category(text)


def _parse_duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _read_file(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than is allowed: the parser refuses it, and a large file fills no memory.
            return file.read(most_bytes + 1)
    except OSError as error:
        raise UsageError(f"file cannot be read: {path}: {error.strerror}") from error


def _say(args: argparse.Namespace, value: dict[str, object] | None, words: str) -> None:
    if not args.json:
        print(words, flush=True)
    elif value is not None:
        print(json.dumps(value, sort_keys=True), flush=True)

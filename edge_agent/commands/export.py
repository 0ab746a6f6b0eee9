"""``edge-agent export``: a copy of the owner's own footage, for the owner; or a bundle for whom the owner names."""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.commands.daemon import add_config
from edge_agent.commands.owner_key import add_passphrase, load_signer
from edge_agent.consent.owner_order import LONGEST_BUNDLE_NS, MAX_RECIPIENTS, window_members
from edge_agent.custody.keys import KeyStore
from edge_agent.custody.owner_identity import identity_path, parse_recipients
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.host.control_socket import stream
from edge_agent.host.terminal import Progress, print_json, print_text
from edge_agent.host.time_arguments import END_HELP, TIME_HELP, read_window, tell_window
from edge_agent.host.unnamed_file import NewFile, explain
from edge_agent.local_time import encode_local
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import SECOND_NS, UtcNs, Window, parse_rfc3339

_DESCRIPTION = """\
Copy your own footage. Asks for your passphrase, and is entered in the ledger. Nothing leaves the house by it: the
files are yours, and you decide about them.

As MP4, to look at: one file for each unbroken recording, not encrypted. Keep them well.

  edge-agent export door --from 'yesterday 8pm' --to +10m --out door.mp4

As a bundle, to hand to a court, a lawyer or the police: one file of the program `age`, encrypted to you and to whom
you name, with the clips as they were recorded and everything that proves them. Ask them for their age key (age1…).

  edge-agent export door --from … --to … --out case.age --bundle --recipient age1…
  edge-agent export door yard --from … --to … --out case.age --bundle --recipients-file court.txt
"""
_EPILOG = """\
If the recording has gaps, a second MP4 is called door-2.mp4, and so on; of several cameras each one's name is in
its file's. A bundle lists its gaps; of more than four hours it is several, which overlap by a minute.
No zone is masked, and recorded sound is there: look at it before you hand it over.

A file is there when it is whole, and not before. If it is cut short, begin again.

You open your bundle with your passphrase:
  age -d -i /var/lib/edge-agent/keys/owner.age -o case.zip case.age
Whoever gets it checks it with `rtcc open --file case.age --identity KEY`, offline and without knowing you. So that they
can be sure that it is from your house, tell them the three thumbprints, which the export prints, by another way.
"""
_OVERLAP_S = 60
"""A clip begins with a keyframe: a bundle that goes on where another ends would lack the pictures before its first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("cameras", metavar="CAMERA", nargs="+")
    parser.add_argument("--from", dest="start", required=True, metavar="TIME", help=TIME_HELP)
    parser.add_argument("--to", dest="end", required=True, metavar="TIME", help=END_HELP)
    parser.add_argument("--quality", choices=("main", "sub"), default="main", help="[%(default)s]")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the (first) file; must not exist")
    parser.add_argument("--bundle", action="store_true", help="an encrypted file with its evidence, instead of MP4")
    parser.add_argument(
        "--recipient",
        action="append",
        default=[],
        metavar="AGE1…",
        help="who can open the bundle beside you; again for another",
    )
    parser.add_argument(
        "--recipients-file", action="append", default=[], type=Path, metavar="FILE", help="such keys, one a line"
    )
    add_passphrase(parser)
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One order: a camera, a window, and the name of its first file."""

    camera: str
    window: Window
    out: Path


def run(args: argparse.Namespace) -> int:
    """Sign an order for each piece, hand the releaser an open file, follow its progress."""
    config = load_config(args.config)
    recipients = _read_recipients(args)
    # All of them first: a camera that is not known, or a file that is there, is found out before
    # anything is signed.
    pieces = list(_plan(args, config))
    sign = load_signer(config, args.passphrase_file)
    found: dict[str, Any] = {"files": [], "gaps": []}
    nothing: EdgeAgentError | None = None
    for piece in pieces:
        try:
            _export(config, piece, args.quality, recipients, sign, found)
        except EdgeAgentError as error:
            # Without footage of one camera in one span, the files of the other pieces are whole all
            # the same.
            if error.exit_code != os.EX_NOINPUT:
                raise
            nothing = error
            found["gaps"].append({"camera": piece.camera, **window_members(piece.window), "reason": "no-footage"})
    if nothing is not None and not found["files"]:
        raise nothing
    if args.bundle:
        found["thumbprints"] = _load_thumbprints(config)
    if args.json:
        print_json(found)
    else:
        _report(config, args, found)
    return 0


def _read_recipients(args: argparse.Namespace) -> list[str] | None:
    found = parse_recipients("\n".join(args.recipient), "--recipient")
    for path in args.recipients_file:
        try:
            found += parse_recipients(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from error
    if found and not args.bundle:
        raise UsageError("MP4 files are not encrypted to anybody", "--bundle makes a file for those whom you name")
    if len(set(found)) > MAX_RECIPIENTS:
        raise UsageError(f"a bundle is for {MAX_RECIPIENTS} others at most")
    return list(dict.fromkeys(found)) if args.bundle else None


def _plan(args: argparse.Namespace, config: Config) -> Iterator[_Piece]:
    zone = ZoneInfo(config.gateway.time_zone)
    window = read_window(args.start, args.end, SystemClock().utc(), zone)
    tell_window(window, zone)
    for camera in dict.fromkeys(args.cameras):
        config.demand_camera(camera)
        stem = f"{args.out.stem}-{camera}" if len(set(args.cameras)) > 1 else args.out.stem
        windows = _split(window) if args.bundle else [window]
        for number, part in enumerate(windows, 1):
            out = _number(args.out.with_name(stem + args.out.suffix), number)
            if out.exists():
                raise UsageError(f"{out}: exists already; choose another --out")
            yield _Piece(camera, part, out)


def _number(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _split(window: Window) -> Iterator[Window]:
    start = window.start
    while window.end - start > LONGEST_BUNDLE_NS:
        yield Window(start, UtcNs(start + LONGEST_BUNDLE_NS))
        start = UtcNs(start + LONGEST_BUNDLE_NS - _OVERLAP_S * SECOND_NS)
    yield Window(start, window.end)


def _export(
    config: Config,
    piece: _Piece,
    quality: str,
    recipients: list[str] | None,
    sign: Callable[[str, Mapping[str, object]], str],
    found: dict[str, Any],
) -> None:
    """Carry out one piece, and add what it made to ``found``."""
    members: dict[str, object] = {
        "camera": piece.camera,
        "quality": quality,
        "window": window_members(piece.window),
    }
    if recipients is not None:
        members["recipients"] = recipients
    with NewFile(piece.out) as file:
        result = _follow(config, sign("export", members), file.file.fileno(), piece.out.name)
        if recipients is None:
            files = _take_apart(file, result["files"], piece.out)
        else:
            file.keep()
            files = [{name: result[name] for name in ("sha256", "size", "delivered")} | {"path": str(piece.out)}]
    found["files"] += [{"camera": piece.camera, **each} for each in files]
    found["gaps"] += [{"camera": piece.camera, **each} for each in result["gaps"]]


def _follow(config: Config, signed: str, descriptor: int, label: str) -> dict[str, Any]:
    progress = Progress(f"export {label}", 1000)
    result: dict[str, Any] = {}
    try:
        for answer in stream(config.control_path("releaser"), "export", timeout_s=120, fd=descriptor, jws=signed):
            if "permille" in answer:
                progress.update(answer["permille"])
            result = answer.get("result", result)
    finally:
        progress.close()
    return result


def _take_apart(whole: Any, files: list[dict[str, Any]], out: Path) -> list[dict[str, Any]]:
    """Give each MP4 a file of its own; if there is one alone, it is there already."""
    paths = [_number(out, number) for number in range(1, len(files) + 1)]
    if len(files) == 1:
        whole.keep()
    else:
        whole.file.seek(0)
        for path, part in zip(paths, files, strict=True):
            with NewFile(path) as target:
                try:
                    _copy(whole.file, target.file, part["size"])
                except OSError as error:
                    raise explain(error) from error
                target.keep()
    return [{**part, "path": str(path)} for path, part in zip(paths, files, strict=True)]


def _copy(source: Any, target: Any, size: int) -> None:
    while size:
        chunk = source.read(min(size, 1 << 20))
        if not chunk:
            raise OSError("the export is cut")
        target.write(chunk)
        size -= len(chunk)


def _load_thumbprints(config: Config) -> dict[str, str]:
    public = KeyStore(config.state_dir, "owner")
    return {
        "gateway": thumbprint(public.load_public("gateway")),
        "recorder": thumbprint(public.load_public("recorder")),
        "owner": thumbprint(public.load_public("owner")),
    }


def _report(config: Config, args: argparse.Namespace, found: dict[str, Any]) -> None:
    for file in found["files"]:
        spans = file["delivered"] if args.bundle else [file["window"]]
        size = f"{file['size'] / 1e6:.1f} MB"
        span = f"{_say(config, spans[0]['start'])} to {_say(config, spans[-1]['end'])}"
        print_text(f"{file['path']}: {file['camera']}, {span}, {size}")
        if args.bundle:
            print_text(f"  SHA-256 {file['sha256']}")
    for gap in found["gaps"]:
        span = f"{_say(config, gap['start'])} to {_say(config, gap['end'])}"
        print_text(f"no footage: {gap['camera']}, {span} ({gap['reason']})")
    if args.bundle:
        first = found["files"][0]["path"]
        print_text(f"you open it with: age -d -i {identity_path(config.state_dir)} -o bundle.zip {first}")
        print_text("whoever checks it should hear these thumbprints from you, by another way than the file:")
        for name, print_of in found["thumbprints"].items():
            print_text(f"  {name:<8} {print_of}")


def _say(config: Config, time: str) -> str:
    return encode_local(parse_rfc3339(time), ZoneInfo(config.gateway.time_zone))

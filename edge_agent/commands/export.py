"""``edge-agent export``: a copy of the owner's own footage, for the owner."""

import argparse
import os
from pathlib import Path
from typing import Any

from edge_agent.commands.daemon import add_config
from edge_agent.commands.owner_key import add_passphrase, sign_owner_order

_DESCRIPTION = """\
Copy your own footage of one camera into MP4 files: one for each unbroken recording. Asks for your passphrase, and is
entered in the ledger.

  edge-agent export door --from 2026-11-23T20:00:00Z --to 2026-11-23T20:10:00Z --out door.mp4

Where the recording has holes, the second file is door-2.mp4, and so on. The files are not encrypted: keep them well.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="a copy of your own footage",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("camera", metavar="CAMERA")
    parser.add_argument("--from", dest="start", required=True, metavar="TIME", help="RFC 3339, ending in Z")
    parser.add_argument("--to", dest="end", required=True, metavar="TIME")
    parser.add_argument("--quality", choices=("main", "sub"), default="main", help="[%(default)s]")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the first MP4 file; must not exist")
    add_passphrase(parser)
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Sign the order, hand the releaser an open file, follow its progress."""
    from edge_agent.config import load_config
    from edge_agent.consent.order import window_members
    from edge_agent.errors import UsageError
    from edge_agent.terminal import print_json
    from edge_agent.units import Window

    config = load_config(args.config)
    try:
        window = Window.parse(args.start, args.end)
    except ValueError as error:
        raise UsageError(f"--from, --to: {error}") from error
    config.demand_camera(args.camera)
    members = {"camera": args.camera, "quality": args.quality, "window": window_members(window)}
    signed = sign_owner_order(config, "export", members, args.passphrase_file)
    result = _receive(config.control_path("releaser"), signed, args.out)
    if args.json:
        print_json(result)
    else:
        for file in result["files"]:
            print(f"{file['path']}: {file['window']['start']} to {file['window']['end']}")
        for gap in result["gaps"]:
            print(f"no footage: {gap['start']} to {gap['end']} ({gap['reason']})")
    return 0


def _receive(path: Path, signed: str, out: Path) -> dict[str, Any]:
    """Write what arrives into a spool beside the target, then cut it into its files, each renamed when whole."""
    from edge_agent.control import stream
    from edge_agent.errors import UsageError
    from edge_agent.terminal import Progress

    os.umask(0o077)  # footage in the clear: for the owner's eyes
    spool = out.with_name(f".{out.name}.part")
    try:
        file = spool.open("xb+")
    except OSError as error:
        raise UsageError(f"{spool}: {error.strerror}") from error
    try:
        with file:
            progress = Progress(f"export {out.name}", 1000)
            result: dict[str, Any] = {"files": [], "gaps": []}
            for answer in stream(path, "export", timeout_s=120, fd=file.fileno(), jws=signed):
                if "permille" in answer:
                    progress.update(answer["permille"])
                if "result" in answer:
                    result = answer["result"]
            progress.close()
            return _split(file, result, out)
    finally:
        spool.unlink(missing_ok=True)


def _split(file: Any, result: dict[str, Any], out: Path) -> dict[str, Any]:
    from edge_agent.errors import UsageError

    file.seek(0)
    for number, part in enumerate(result["files"], 1):
        target = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        try:
            with target.open("xb") as copy:
                rest = part["size"]
                while rest:
                    chunk = file.read(min(rest, 1 << 20))
                    if not chunk:
                        raise UsageError(f"{target}: the export is cut")
                    copy.write(chunk)
                    rest -= len(chunk)
                os.fsync(copy.fileno())
        except FileExistsError:
            raise UsageError(f"{target}: exists already; choose another --out") from None
        part["path"] = str(target)
    return result

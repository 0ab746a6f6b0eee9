"""``edge-agent camera``: a tape of a camera's messages and packets, for the engineer who mends the reader."""

import argparse
import os
import sys
from pathlib import Path

from edge_agent.capture.reasons import CaptureError
from edge_agent.capture.rtsp.tape_recorder import MAX_TAPE_BYTES, record_tape
from edge_agent.commands.daemon import add_config
from edge_agent.errors import UsageError
from edge_agent.host.atomic_file import write_new_file
from edge_agent.host.clock import SystemClock
from edge_agent.host.terminal import print_text, working
from edge_agent.settings.gateway import load_config
from edge_agent.setup.camera_stream import find_endpoint
from edge_agent.units import SECOND_NS, parse_duration

_LONGEST_NS = 60 * SECOND_NS
_DESCRIPTION = f"""\
Write down how one camera speaks: its answers, and its packets without their pictures. If our own reader makes no
footage of a camera of yours, this file is what a developer needs; you may send it.

Nothing is in it that we do not name: addresses, paths, logins, session ids, tokens and names are replaced, every coded
picture is overwritten but for its first twelve bytes, and no sound is asked for. It has at most 60 s and
{MAX_TAPE_BYTES >> 20} MiB of the camera's.

The camera gets a second session beside the recorder's, which goes on. One that serves few viewers may refuse it.
"""
_EPILOG = """\
examples:
  sudo edge-agent camera record-tape door                    20 s into door.tape.gz, in this folder
  sudo edge-agent camera record-tape door.sub --for 60s      of its substream

exit code: 0 the tape is written, 1 there was no connection, 64 no such camera or a file is there already
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    each = verbs.add_parser(
        "record-tape",
        help="write down how a camera speaks, without its pictures",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=parser.formatter_class,
    )
    each.add_argument("camera", metavar="CAMERA", help="its id (door), or its substream (door.sub)")
    each.add_argument(
        "--for", dest="duration", default="20s", metavar="TIME", help="so long, at most 60s [%(default)s]"
    )
    each.add_argument("--output", type=Path, metavar="FILE", help="a new file [CAMERA.tape.gz]")
    add_config(each)
    each.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Record a tape and write it; the exit code is in the help."""
    path = args.output or Path(f"{args.camera}.tape.gz")
    # Before the camera is asked: a minute of it must not be lost at the last step.
    if path.exists():
        raise UsageError(f"{path} is there already", "name another file with --output")
    try:
        duration_ns = parse_duration(args.duration)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if not SECOND_NS <= duration_ns <= _LONGEST_NS:
        raise UsageError("--for: from 1s to 60s")
    config = load_config(args.config)
    print_text("The camera gets a second session now; the recorder goes on.")
    try:
        with find_endpoint(config, args.camera) as endpoint, working("recording"):
            tape = record_tape(endpoint, SystemClock(), duration_ns / SECOND_NS)
    except CaptureError as error:
        print(f"edge-agent: error: {error}", file=sys.stderr)
        return 1
    content = tape.encode()
    write_new_file(path, content, 0o600)
    print_text(f"{path}: {len(content)} bytes, of {tape.packets} packets; the end: {tape.ended or 'the time was over'}")
    return os.EX_OK

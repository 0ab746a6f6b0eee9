"""``python -m edge_agent.demo``: what ``scripts/demo`` runs."""

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Never

from edge_agent.demo.interrupts import SIGNALS
from edge_agent.demo.scenario import RECORD_S, run
from edge_agent.errors import EdgeAgentError, UnavailableError
from edge_agent.host.command_line import print_error
from edge_agent.rtcc.receiver import KEEP_FREE_BYTES

_DESCRIPTION = """\
Shows the whole path on this machine, on loopback alone and without root: two simulated cameras are recorded into
encrypted rings; a valid request is decided, cut, uploaded and opened by the RTCC's side; six others are refused.
Ends with 0 only if every step had the outcome named. Ctrl-C leaves nothing running.
"""
_MIN_RECORD_S = 15
_MAX_FOLDER_BYTES = 107 - len("/home/run/recorder/sock")
"""Unix sockets lie in the folder, and the kernel takes no longer paths for them."""
_NEEDED_BYTES = KEEP_FREE_BYTES + (300 << 20)
"""Two rings of 64 MiB, the clip and its copies, and the room that the RTCC's receiver insists on leaving free."""


def main() -> int:
    """Parse the words and run."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="keep everything here; must not exist [a new one in $TMPDIR or /tmp]"
    )
    parser.add_argument(
        "--seconds",
        type=int,
        default=RECORD_S,
        help=f"how long to record first, at least {_MIN_RECORD_S} [%(default)s]",
    )
    args = parser.parse_args()
    if args.seconds < _MIN_RECORD_S:
        parser.error(f"--seconds: at least {_MIN_RECORD_S}, or there is too little to cut a clip from")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and `&` leave it
            signal.signal(number, _interrupt)
    # Progress goes to stderr: the two stay in order in a file as well.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        folder = _make_folder(args.folder)
    except EdgeAgentError as error:
        print_error(parser.prog, error)
        return error.exit_code
    try:
        return run(folder, args.seconds)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"\nstopped; nothing is left running, and {folder} is deleted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # Nobody reads any more, as behind `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _interrupt(_number: int, _frame: FrameType | None) -> Never:
    """End in order, once: a second Ctrl-C while that goes on would leave processes behind."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _make_folder(wanted: Path | None) -> Path:
    """Make the folder that keeps everything: the one that is wanted, else a new one where there is room for it.

    Raises:
        UnavailableError: It is there already, cannot be made, or is too deep or too small for its content.
    """
    hint = "choose another one with --folder"
    try:
        if wanted:
            folder = wanted.absolute()
            folder.mkdir(mode=0o700, parents=True)
        else:
            # A /tmp in memory may be small.
            bases = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108 - mkdtemp makes it ours
            base = next((base for base in bases if not _what_is_wrong(base + "/edge-agent-demo-########")), bases[0])
            folder = Path(tempfile.mkdtemp(prefix="edge-agent-demo-", dir=base))
        if wrong := _what_is_wrong(str(folder)):
            folder.rmdir()
            raise UnavailableError(f"{folder}: {wrong}", hint)
    except OSError as error:
        raise UnavailableError(f"the folder cannot be made: {error}", hint) from error
    return folder


def _what_is_wrong(folder: str) -> str:
    if len(os.fsencode(folder)) > _MAX_FOLDER_BYTES:
        return f"its path is too long for Unix sockets: at most {_MAX_FOLDER_BYTES} bytes"
    free = shutil.disk_usage(os.path.dirname(folder)).free
    return f"only {free >> 20} MiB are free, {_NEEDED_BYTES >> 20} are needed" if free < _NEEDED_BYTES else ""


if __name__ == "__main__":
    sys.exit(main())

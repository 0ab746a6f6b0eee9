"""``python -m edge_agent.demo``: the program behind ``scripts/demo``."""

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
from edge_agent.errors import ConfigError, EdgeAgentError, UnavailableError
from edge_agent.host.command_line import print_error
from edge_agent.rtcc.receiver import KEEP_FREE_BYTES

_DESCRIPTION = """\
Shows the whole path on this machine, on loopback alone and without root: two simulated cameras are recorded into
encrypted rings; a valid request is decided, cut, uploaded and opened by the RTCC's side; six others are refused.
Ends with 0 only if every step had the outcome named. Ctrl-C leaves nothing running.

With --city: a city of 200 gateways, whose state is in PostgreSQL and whose uploads go to an object store. Two area
requests; meanwhile a worker is killed, the reader is killed, and the broker is ended and started again. Ends with 0
only if the set of (gateway, jti, camera) that the gateways granted is the set that was opened whole.
Needs two processors, 5 minutes, 4 GiB of memory and 2 GiB of disk, and PostgreSQL 15 and mosquitto of the distribution,
which are installed as root or with sudo if they are missing; Go and SeaweedFS are installed into .venv.
"""
_MIN_RECORD_S = 15
_GATEWAYS, _FEWEST_GATEWAYS = 200, 12
_MAX_SOCKET_BYTES = 107
"""The kernel takes no longer paths for Unix sockets."""
_SOCKET, _SOCKET_OF_CITY = "/home/run/recorder/sock", "/houses/9999/run/releaser/sock"
"""The deepest socket in the folder of each demonstration."""
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
    parser.add_argument("--seconds", type=int, help=f"how long to record first, at least {_MIN_RECORD_S} [{RECORD_S}]")
    parser.add_argument("--city", action="store_true", help="a city of many gateways, while parts of it are killed")
    parser.add_argument(
        "--gateways", type=int, metavar="N", help=f"how many, with --city: at least {_FEWEST_GATEWAYS} [{_GATEWAYS}]"
    )
    args = parser.parse_args()
    if args.gateways is not None and not (args.city and args.gateways >= _FEWEST_GATEWAYS):
        parser.error(f"--gateways: at least {_FEWEST_GATEWAYS}, and with --city")
    if args.seconds is not None and (args.city or args.seconds < _MIN_RECORD_S):
        parser.error(f"--seconds: at least {_MIN_RECORD_S}, or there is too little to cut a clip from; not with --city")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    interrupts = _Interrupts()
    # Progress goes to stderr: the two stay in order in a file as well.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        folder = _make_folder(args.folder, _SOCKET_OF_CITY if args.city else _SOCKET)
    except EdgeAgentError as error:
        print_error(parser.prog, error)
        return error.exit_code
    code = 1
    try:
        code = _run_city(folder, args) if args.city else run(folder, args.seconds or RECORD_S)
    except KeyboardInterrupt:
        return _tell_stopped(folder)
    except BrokenPipeError:  # Nobody reads any more, as behind `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        if not interrupts.have_come:
            raise
    # The driver of a database makes an error of its own of an interrupt.
    return _tell_stopped(folder) if interrupts.have_come else code


def _run_city(folder: Path, args: argparse.Namespace) -> int:
    # Its packages are more than the other demonstration needs.
    try:
        from edge_agent.demo.large_city import scenario
    except ImportError as error:
        print_error("scripts/demo", ConfigError(f"a package is missing: {error}", "scripts/demo --city installs it"))
        return ConfigError.exit_code
    code = scenario.run(folder, args.gateways or _GATEWAYS)
    if code == 0 and args.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return code


class _Interrupts:
    """Signals that end the program in order, once: a second Ctrl-C while that goes on would leave processes behind."""

    def __init__(self) -> None:
        self.have_come = False
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and `&` leave it
                signal.signal(number, self._end)

    def _end(self, _number: int, _frame: FrameType | None) -> Never:
        self.have_come = True
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt


def _tell_stopped(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    print(f"\nstopped; nothing is left running, and {folder} is deleted", file=sys.stderr)
    return 130


def _make_folder(wanted: Path | None, socket: str) -> Path:
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
            base = next(
                (base for base in bases if not _what_is_wrong(f"{base}/edge-agent-demo-########", socket)), bases[0]
            )
            folder = Path(tempfile.mkdtemp(prefix="edge-agent-demo-", dir=base))
        if wrong := _what_is_wrong(str(folder), socket):
            folder.rmdir()
            raise UnavailableError(f"{folder}: {wrong}", hint)
    except OSError as error:
        raise UnavailableError(f"the folder cannot be made: {error}", hint) from error
    return folder


def _what_is_wrong(folder: str, socket: str) -> str:
    most = _MAX_SOCKET_BYTES - len(socket)
    if len(os.fsencode(folder)) > most:
        return f"its path is too long for Unix sockets: at most {most} bytes"
    free = shutil.disk_usage(os.path.dirname(folder)).free
    return f"only {free >> 20} MiB are free, {_NEEDED_BYTES >> 20} are needed" if free < _NEEDED_BYTES else ""


if __name__ == "__main__":
    sys.exit(main())

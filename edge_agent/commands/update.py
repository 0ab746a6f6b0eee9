"""``edge-agent update``: look for a newer release, install it, go back if it does not start."""

import argparse
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from edge_agent.commands.daemon import add_config
from edge_agent.errors import UpdateError, UsageError
from edge_agent.host.regular_file import open_regular, read_regular
from edge_agent.host.terminal import print_json, print_text
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup.shipped import find_shipped
from edge_agent.update.journal import Journal
from edge_agent.update.machine import DebianMachine
from edge_agent.update.procedure import Outcome, Procedure
from edge_agent.update.release_list import UpdateStep
from edge_agent.update.repository import Repository
from edge_agent.uplink.inbound.gateway_clock import open_gateway_clock
from edge_agent.uplink.owner.update_notes import FOLDER, write_note

OFFERED = 10
"""Exit code of ``--check`` if there is a newer release."""
_DESCRIPTION = """\
Look for a newer release of this program and install it. Its package is taken only if two of the three keys of the
release say so, and the list of releases is of these days. Recording stops for the seconds of a restart; a release that
does not start is taken back. The outcome is entered in your ledger.

  sudo edge-agent update              look, and install
  sudo edge-agent update --check      look only; the timer does that once a day and tells you

exit code: 0 nothing newer, or installed; 10 with --check: there is one; else nothing was changed, or it was taken back
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = _DESCRIPTION
    add_config(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="look only")
    how.add_argument("--resume", action="store_true", help="end an update that a power cut stopped; systemd does that")
    parser.add_argument("--without-way-back", action="store_true", help="also if the list lacks what runs now")
    parser.add_argument("--url", metavar="URL", help="another web folder with the same releases, such as a mirror")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, or look and install; the exit code is in the help."""
    if os.geteuid() != 0:
        raise UsageError("only root may install a release", "sudo edge-agent update")
    config = load_config(args.config)
    folder = config.state_dir / "update"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        procedure = make_procedure(config, folder, args.url)
        if args.check:
            return _say_step(procedure.look(), config, is_json=args.json)
        outcome = procedure.resume() if args.resume else procedure.carry_out(without_way_back=args.without_way_back)
    return _say_outcome(outcome, is_json=args.json)


def make_procedure(config: Config, folder: Path, url: str | None) -> Procedure:
    """Wire an update for this machine, with the root of trust that came with this program."""
    kind = find_shipped("package")
    return Procedure(
        lambda: _open_repository(folder, url),
        Journal(folder),
        DebianMachine(),
        open_gateway_clock(config),
        partial(note_outcome, config),
        "" if kind is None else read_regular(kind).decode().strip(),
    )


def note_outcome(config: Config, outcome: Outcome) -> None:
    """Leave a note for the ledger; an offer is noted once."""
    # An offer's name has no time in it: the same offer is the same file.
    name = f"offered-{outcome.after}" if outcome.what == "offered" else f"{time.time_ns() // 10**9}-{outcome.after}"
    members = {"what": outcome.what, "from": outcome.before, "to": outcome.after, "why": outcome.why}
    write_note(config.state_dir / FOLDER, name, members)


def _open_repository(folder: Path, url: str | None) -> Repository:
    root, shipped_url = find_shipped("update/root.json"), find_shipped("update/url")
    if root is None or shipped_url is None:
        hint = "take a package that scripts/release made; a checkout is updated by git and scripts/install"
        raise UpdateError("this program came without a root of trust for updates", hint)
    return Repository(folder, url or read_regular(shipped_url).decode().strip(), read_regular(root))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with os.fdopen(open_regular(folder / "lock", os.O_WRONLY | os.O_CREAT), "w") as file:
        try:
            # The kernel lets go of it with the process, of one that was killed as well.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UpdateError("another update is under way") from None
        yield


def _say_step(step: UpdateStep | None, config: Config, *, is_json: bool) -> int:
    if step is not None:
        note_outcome(config, Outcome("offered", step.before, step.after))
    if is_json:
        print_json(None if step is None else {"from": step.before, "to": step.after, "notes": step.notes})
    elif step is None:
        print_text("nothing newer")
    else:
        print_text(f"{step.after} is there ({step.before} runs): sudo edge-agent update")
        print(step.notes, end="\n" if step.notes else "")
    return 0 if step is None else OFFERED


def _say_outcome(outcome: Outcome | None, *, is_json: bool) -> int:
    if outcome is None:
        print_json(None) if is_json else print_text("nothing newer")
        return 0
    if is_json:
        print_json({"what": outcome.what, "from": outcome.before, "to": outcome.after, "why": outcome.why})
    elif outcome.what == "installed":
        print_text(f"{outcome.after} is installed and runs")
    else:
        print_text(f"{outcome.after} was not kept ({outcome.what}): {outcome.why}")
    return 0 if outcome.what == "installed" else 1

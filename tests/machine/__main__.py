"""``python -m tests.machine FOLDER SUITE``: see ``scripts/test-machine``."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.machine import containers, foreign
from tests.machine.phone_day import tell_phone_day
from tests.machine.releases import ReleaseOffice
from tests.machine.sealed import tell_forgetful, tell_sealed
from tests.machine.story import Story
from tests.machine.town import WEB_PORT, open_town
from tests.machine.virtual import HERE, Machine, MachineError, Qemu, UserModeLinux, copy_disk

_OF_UML = frozenset({"cuts", "updates", "leaving"})
_PARTS = ("page", "cuts", "updates", "leaving", "forgetful", "clocks", "sealed")


def main() -> int:
    """Tell the story of one suite's machine; 1 if it went otherwise than it must."""
    parser = argparse.ArgumentParser(prog="scripts/test-machine")
    parser.add_argument("folder", type=Path)
    parser.add_argument("suite")
    parser.add_argument("--cuts", type=int, default=5, metavar="N", help="power cuts while it records [5]")
    parser.add_argument("--harsh-cuts", type=int, default=2, metavar="N", help="on a disk that forgets, by QEMU [2]")
    parser.add_argument("--only", action="append", choices=_PARTS, help="after the installation; may be repeated [all]")
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):  # what was started is ended, however this ends
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    parts = frozenset(args.only or _PARTS)
    run = args.folder / "run" / args.suite
    subprocess.run(["rm", "-rf", run], check=True)
    run.mkdir(parents=True)
    try:
        elsewhere = args.suite in ("container", "arm64")
        figures = _tell_elsewhere(args, run) if elsewhere else _tell_machine(args, run, parts)
    except MachineError as error:
        print(f"test-machine: error: {error}", file=sys.stderr)
        return 1
    print(f"\n{args.suite}:")
    for name, value in figures.items():
        print(f"  {name}: {value}")
    return 0


def _tell_elsewhere(args: argparse.Namespace, run: Path) -> dict[str, Any]:
    with open_town(run / "town", run) as town:
        if args.suite == "container":
            return containers.tell(town)
        root = run / "root"
        subprocess.run(["cp", "-a", args.folder / "arm64", root], check=True, timeout=900)
        return foreign.tell(town, root, Path(os.environ["EDGE_AGENT_PACKAGE"]))


def _tell_machine(args: argparse.Namespace, run: Path, parts: frozenset[str]) -> dict[str, Any]:
    office = ReleaseOffice(run / "releases", args.suite)
    packages = _make_packages(office, with_later="updates" in parts)
    plain, figures = args.folder / f"{args.suite}.raw", {}
    with open_town(run / "town", office.web) as town:
        if "page" in parts:
            machine = UserModeLinux(args.folder, args.suite, run / "page.raw")
            copy_disk(plain, machine.disk)
            story = Story(machine, town, office, packages)
            with _powered(story, machine):
                tell_phone_day(story, run / "pictures")
            machine.disk.unlink()
            figures |= story.figures
        if parts != {"page"}:
            machine = UserModeLinux(args.folder, args.suite, run / "disk.raw")
            copy_disk(plain, machine.disk)
            sealed = Qemu(args.folder, args.suite, run / "sealed.raw", run / "tpm")
            story = Story(machine, town, office, packages)
            with _powered(story, machine, sealed):
                _tell_gateway(story, machine, sealed, args, parts)
            figures |= story.figures
    return figures


def _tell_gateway(
    story: Story, machine: UserModeLinux, sealed: Qemu, args: argparse.Namespace, parts: frozenset[str]
) -> None:
    """Tell the life of the gateway that README installs."""
    story.boot()
    story.install()
    story.admit()
    story.look_at_the_sandbox()
    story.reboot()
    machine.switch_off()
    copy_disk(machine.disk, sealed.disk)
    if parts & _OF_UML:
        machine.start()
        story.release("it releases after a reboot")
        _tell_life(story, args.cuts, parts)
        machine.switch_off()
    if "forgetful" in parts:
        tell_forgetful(story, sealed, args.harsh_cuts)
    if "sealed" in parts:
        assert sealed.tpm is not None
        tell_sealed(story, sealed, sealed.tpm, with_wrong_clocks="clocks" in parts)


@contextmanager
def _powered(story: Story, *machines: Machine) -> Iterator[None]:
    """Print what a gateway says of itself if its story goes wrong; the power is off behind it."""
    try:
        yield
    except Exception:
        told = "edge-agent status; edge-agent clock; journalctl -b --no-pager -n 60 -u 'edge-agent-*'"
        print(story.machine.ssh(told, check=False, timeout_s=120), file=sys.stderr)
        raise
    finally:
        for each in machines:
            each.cut_power()


def _tell_life(story: Story, cuts: int, parts: frozenset[str]) -> None:
    if "cuts" in parts:
        story.cut(cuts)
    if "updates" in parts:
        story.update()
    if "leaving" in parts:
        story.leave()
        story.restore()


def _make_packages(office: ReleaseOffice, *, with_later: bool) -> dict[str, Path]:
    """Give the package its root of trust, and make three later versions of it if they are wanted."""
    built = Path(os.environ["EDGE_AGENT_PACKAGE"])
    url = f"http://{HERE}:{WEB_PORT}"
    versions = ("0.1.0", "0.2.0", "0.3.0", "0.4.0") if with_later else ("0.1.0",)
    return {each: office.rework(built, each, url, is_broken=each == "0.3.0") for each in versions}


if __name__ == "__main__":
    sys.exit(main())

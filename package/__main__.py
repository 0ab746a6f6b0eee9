"""``python -m package WORK [--out DIR] SUITE ARCH``: build one package. See ``scripts/package``."""

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

from package.environment import collect_wheels, tell, unpack
from package.suites import MACHINES, SUITES, Target

TREE = Path(__file__).parents[1]
PREFIX = "/opt/edge-agent"
MAINTAINER_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
_FIELDS = """\
Package: edge-agent
Version: {version}
Architecture: {arch}
Maintainer: The edge agent's maintainers <maintainers@edge-agent.invalid>
Installed-Size: {size}
Depends: python3 (>= {python}), python3 (<< 3.{next}), tzdata, libc6, libgcc-s1, libstdc++6, zlib1g,
 systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles
Recommends: systemd-timesyncd | time-daemon
Suggests: age, {tpm}
Section: video
Priority: optional
Description: Keeps your cameras' footage encrypted at home
 Records RTSP and ONVIF cameras into an encrypted ring, and releases a clip only
 for a signed request, a reported incident and within the terms that you signed.
 After the installation: sudo edge-agent init
"""


def main() -> None:
    """Build one package and print its path."""
    parser = argparse.ArgumentParser(prog="scripts/package")
    parser.add_argument("work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("arch", choices=MACHINES)
    parser.add_argument("--out", type=Path, default=TREE / "dist", metavar="DIR", help="[dist]")
    parser.add_argument("--update-root", type=Path, metavar="FILE", help="root.json that updates are trusted by")
    parser.add_argument("--update-url", metavar="URL", help="the web folder that updates come from")
    parser.add_argument("--level", type=int, default=6, metavar="N", help="of compression; 0: none, for a trial [6]")
    args = parser.parse_args()
    if (args.update_root is None) != (args.update_url is None):
        parser.error("--update-root and --update-url go together")
    os.environ["SOURCE_DATE_EPOCH"] = str(read_epoch())
    os.environ["PYTHONHASHSEED"] = "0"
    target = Target(args.suite, args.arch)
    stage = args.work / "stage"
    prefix = stage / PREFIX.lstrip("/")
    wheels = collect_wheels(TREE, target, args.work)
    tell(f"laying {len(wheels)} packages down")
    unpack(wheels, target, prefix, PREFIX)
    if args.update_root is not None:
        place(args.update_root, prefix / "share/edge-agent/update/root.json")
        (prefix / "share/edge-agent/update/url").write_text(f"{args.update_url}\n")
    place_system_files(stage)
    (prefix / "share/edge-agent/package").write_text(f"{args.suite}/{args.arch}\n")
    version = f"{read_version()}~{args.suite}"
    write_control(stage, target, version)
    args.out.mkdir(parents=True, exist_ok=True)
    deb = args.out / f"edge-agent_{version}_{args.arch}.deb"
    tell("packing them; this takes longest")
    build(stage, deb, args.level)
    print(deb)


def read_epoch() -> int:
    """Return when the commit was made, in seconds; ``SOURCE_DATE_EPOCH`` where it is set."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    words = ["git", "-c", f"safe.directory={TREE}", "-C", str(TREE), "log", "-1", "--format=%ct"]
    return int(subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout)


def read_version() -> str:
    """Return the program's version."""
    found = re.search(r'^__version__ = "([0-9][0-9a-z.+]*)"$', (TREE / "edge_agent/__init__.py").read_text(), re.M)
    if found is None:
        raise SystemExit("package: error: edge_agent/__init__.py has no __version__")
    return found[1]


def place(source: Path, to: Path) -> None:
    """Copy one file; folders are made."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def place_system_files(stage: Path) -> None:
    """Lay down what belongs outside of /opt: units, users, folders, the command, the licence."""
    for path in (TREE / "systemd").iterdir():
        if path.suffix in (".path", ".service", ".target", ".timer"):
            place(path, stage / "usr/lib/systemd/system" / path.name)
    place(TREE / "systemd/edge-agent.sysusers", stage / "usr/lib/sysusers.d/edge-agent.conf")
    place(TREE / "systemd/edge-agent.tmpfiles", stage / "usr/lib/tmpfiles.d/edge-agent.conf")
    place(TREE / "LICENSE", stage / "usr/share/doc/edge-agent/copyright")
    (stage / "usr/bin").mkdir()
    (stage / "usr/bin/edge-agent").symlink_to(f"{PREFIX}/bin/edge-agent")


def write_control(stage: Path, target: Target, version: str) -> None:
    """Write DEBIAN/control and the maintainer scripts."""
    suite = SUITES[target.suite]
    size = sum(-(-path.lstat().st_size // 1024) for path in stage.rglob("*") if path.is_file())
    fields = _FIELDS.format(
        version=version, arch=target.arch, size=size, python=target.python, next=suite.python + 1, tpm=suite.tpm
    )
    (stage / "DEBIAN").mkdir()
    (stage / "DEBIAN/control").write_text(fields)
    for name in MAINTAINER_SCRIPTS:
        place(TREE / "package" / name, stage / "DEBIAN" / name)


def build(stage: Path, deb: Path, level: int) -> None:
    """Give every file the same mode, owner and time whoever builds, and pack them in the order of their names.

    The package has its name only once it is whole: what is cut off, or built twice at once, leaves no half of one.
    """
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in [stage, *sorted(stage.rglob("*"))]:
        if not path.is_symlink():
            runs = path.is_dir() or path.parent.name == "bin" or path.name in MAINTAINER_SCRIPTS
            os.chmod(path, 0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    # One thread: xz cuts its blocks by the number of threads.
    how = ["-Zxz", f"-z{level}", "--threads-max=1"] if level else ["-Znone"]
    part = deb.with_name(f".{deb.name}.{os.getpid()}.part")
    try:
        words = ["dpkg-deb", "--root-owner-group", *how, "--build", str(stage), str(part)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=1800)
        part.replace(deb)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

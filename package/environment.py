"""A ready Python environment for another machine: wheels unpacked, nothing run.

Every file comes from a wheel whose hash is in the lock, or from this tree. What a source distribution builds with
runs on this machine, and is locked as well; only wheels for any machine may come of it.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from package.suites import Target, choose

SOURCE_ONLY = ("onvif-zeep", "wsdiscovery")
"""Their authors publish no wheel."""
OWN_PARTS = ("edge_agent", "config", "systemd", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
# Which machine unpacked a wheel, and how it was asked to: neither is part of the program, and dpkg knows every file.
_NOTES_OF_PIP = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def tell(what: str) -> None:
    """Say what is being done, as some parts take minutes."""
    print(f"package: {what}", file=sys.stderr, flush=True)


def pip(*words: str | Path) -> None:
    """Run pip; CalledProcessError if it fails, after it said why."""
    subprocess.run([*_PIP, *map(str, words)], check=True, timeout=1800, stdin=subprocess.DEVNULL)


def tracked(tree: Path) -> list[Path]:
    """Return the files of the program that git knows; all but by-products where there is no git."""
    words = ["git", "-c", f"safe.directory={tree}", "-C", str(tree), "ls-files", "-z", *OWN_PARTS]
    if (tree / ".git").exists():
        listed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
        return [Path(name) for name in listed.split("\0") if name and (tree / name).is_file()]
    found: list[Path] = []
    for part in OWN_PARTS:
        found += (path for path in [tree / part, *(tree / part).rglob("*")] if path.is_file())
    return [path.relative_to(tree) for path in sorted(found) if "__pycache__" not in path.parts]


def collect_wheels(tree: Path, target: Target, work: Path) -> list[Path]:
    """Download, or build where there is only source, the wheel of every locked package and of this tree."""
    wheels, asked = work / "wheels", work / "requirements.txt"
    lines = choose((tree / "requirements" / "runtime.lock").read_text(), target)
    asked.write_text("\n".join(lines[name] for name in SOURCE_ONLY))
    tell(f"building {', '.join(SOURCE_ONLY)} and the program itself")
    pip(
        "wheel", "--require-hashes", "--no-deps", "--no-build-isolation", "--no-binary=:all:", "-w", wheels, "-r", asked
    )
    own = work / "source"
    for path in tracked(tree):
        (own / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / path, own / path)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", wheels, own)
    foreign = [path.name for path in wheels.iterdir() if not path.name.endswith("-none-any.whl")]
    if foreign:
        raise SystemExit(f"package: error: built for this machine, not for any: {', '.join(foreign)}")
    tell(f"fetching {len(lines) - len(SOURCE_ONLY)} locked packages for {target.suite} {target.arch}")
    asked.write_text("\n".join(line for name, line in lines.items() if name not in SOURCE_ONLY))
    pip("download", "--require-hashes", "--no-deps", "-d", wheels, *target.pip_options(), "-r", asked)
    return sorted(wheels.iterdir())


def unpack(wheels: Iterable[Path], target: Target, prefix: Path, at: str) -> None:
    """Lay an environment down in ``prefix`` that will work at the path ``at``."""
    site = prefix / "lib" / f"python{target.python}" / "site-packages"
    # `download` has asked for the target's Python; here pip would compare with the one that runs it.
    words = ("install", "--no-index", "--no-deps", "--no-compile", "--ignore-requires-python", "--target", site)
    pip(*words, *target.pip_options(), *wheels)
    shutil.move(site / "share", prefix / "share")
    shutil.rmtree(
        site / "bin", ignore_errors=True
    )  # programs of packages, with this machine's Python in their first line
    for folder in site.glob("*.dist-info"):
        for name in _NOTES_OF_PIP:
            (folder / name).unlink(missing_ok=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to(f"/usr/bin/python{target.python}")
    config = "home = /usr/bin\ninclude-system-site-packages = false\n"
    (prefix / "pyvenv.cfg").write_text(f"{config}version = {target.python}\n")
    start = prefix / "bin" / "edge-agent"
    # -I: no variable and no folder of whoever calls it changes what is run as root.
    start.write_text(f"#!{at}/bin/python -I\nimport sys\n\nfrom edge_agent.cli import main\n\nsys.exit(main())\n")
    start.chmod(0o755)

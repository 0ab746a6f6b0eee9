"""``scripts/package``: the same commit gives the same bytes, for every suite and architecture."""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from package.__main__ import write_control
from package.environment import OWN_PARTS, SOURCE_ONLY, tracked
from package.suites import MACHINES, SUITES, Target, choose

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements/runtime.lock").read_text()
TARGETS = [Target(suite, arch) for suite in SUITES for arch in MACHINES]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.suite}-{target.arch}")
def test_each_target_gets_each_package_once_with_hashes(target: Target) -> None:
    """Markers are those of the target and not of the machine that builds; nothing is taken without a hash."""
    chosen = choose(LOCK, target)
    assert "tzdata" not in chosen
    assert {"cryptography", "av", "tuf", *SOURCE_ONLY} <= chosen.keys()
    for line in chosen.values():
        assert re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64})+", line)
    newest = "numpy==2.4." if target.python == "3.11" else "numpy==2.5."
    assert chosen["numpy"].startswith(newest)


def test_wheels_are_asked_for_the_targets_machine_alone() -> None:
    """No option lets pip fall back to this machine's own tags, nor to a glibc that the suite does not have."""
    for target in TARGETS:
        platforms = [word for word in target.pip_options() if word.startswith("--platform=")]
        assert all(word.endswith(f"_{MACHINES[target.arch]}") for word in platforms)
        newest = max(int(re.search(r"manylinux_2_(\d+)_", word)[1]) for word in platforms if "manylinux_2_" in word)  # type: ignore[index]
        assert newest == SUITES[target.suite].glibc


def test_by_products_are_not_packed(tmp_path: Path) -> None:
    """What is not the program's stays out: compiled files, and with git all that it does not know."""
    for name in ("edge_agent/__pycache__/x.pyc", "edge_agent/a.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert tracked(tmp_path) == [Path("edge_agent/a.py")]
    assert all(str(path).startswith(OWN_PARTS) for path in tracked(ROOT))


def test_libraries_that_wheels_take_from_the_system_are_depended_on(tmp_path: Path) -> None:
    """A wheel brings its own libraries but for the oldest few: without libstdc++ no camera's stream is opened."""
    write_control(tmp_path, TARGETS[0], "0.1.0~bookworm")
    control = (tmp_path / "DEBIAN/control").read_text()
    (depends,) = re.findall(r"(?ms)^Depends: (.*?)^\S", control)
    names = {word.strip().split(" ")[0] for word in depends.split(",")}
    assert {"libc6", "libgcc-s1", "libstdc++6", "zlib1g", "python3", "tzdata"} <= names


def build(tree: Path, out: Path, *before: str, umask: int, home: Path) -> bytes:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TZ": "Asia/Tokyo" if umask else "UTC"}
    environment |= {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HTTP", "http", "SSL_"))
    }
    environment["PIP_CACHE_DIR"] = os.environ.get("PIP_CACHE_DIR", os.path.expanduser("~/.cache/pip"))
    command = [*before, str(tree / "scripts/package"), "--level", "0", "--out", str(out), "bookworm", "amd64"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, umask=umask)
    assert done.returncode == 0, done.stderr
    return hashlib.sha256(Path(done.stdout.strip()).read_bytes()).digest()


_COMPRESS = """
import sys
from pathlib import Path
from package.__main__ import build
build(Path(sys.argv[1]), Path(sys.argv[2]), 1)
"""


@pytest.mark.needs("dpkg-deb", "taskset")
def test_the_number_of_processors_does_not_show(tmp_path: Path) -> None:
    """A compressor of several threads cuts its blocks otherwise; the package of the next test is not compressed."""
    stage = tmp_path / "stage"
    (stage / "DEBIAN").mkdir(parents=True)
    (stage / "DEBIAN/control").write_text("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n")
    (stage / "large").write_bytes(random.Random(14).randbytes(7 << 20))
    found = set()
    for before in ((), ("taskset", "-c", str(min(os.sched_getaffinity(0))))):
        out = tmp_path / f"{len(before)}.deb"
        words = [*before, sys.executable, "-P", "-c", _COMPRESS, str(stage), str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": "1800000000"}
        subprocess.run(words, check=True, timeout=120, env=environment, stdout=subprocess.DEVNULL)
        found.add(hashlib.sha256(out.read_bytes()).digest())
    assert len(found) == 1


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.needs("dpkg-deb")
def test_the_same_commit_gives_the_same_bytes(tmp_path: Path) -> None:
    """Neither the path, the umask, the user's home, the time zone, the moment nor the number of processors shows."""
    if not (ROOT / ".git").exists():
        pytest.skip("the time of the commit is asked of git")
    plain, other = tmp_path / "plain", tmp_path / "another path" / "tree"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(plain)], check=True, timeout=60)
    for path in [*tracked(ROOT), *(each.relative_to(ROOT) for each in (ROOT / "package").glob("*") if each.is_file())]:
        (plain / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, plain / path)  # what is not committed yet counts as well
    subprocess.run(["git", "-C", str(plain), "add", "-A"], check=True, timeout=60)
    shutil.copytree(plain, other, symlinks=True)
    first = build(plain, tmp_path / "one", umask=0o022, home=tmp_path)
    second = build(other, tmp_path / "two", "taskset", "-c", "0", umask=0o077, home=tmp_path / "another path")
    assert first == second

"""Metadata and locks: what is installed is what was tried."""

import configparser
import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("build", "runtime", "test")


def read_lock(name: str) -> dict[str, list[str]]:
    """Return requirement (name, version, marker) → hashes."""
    locked: dict[str, list[str]] = {}
    current = ""
    for line in (ROOT / "requirements" / f"{name}.lock").read_text().splitlines():
        if line.startswith("    --hash="):
            locked[current].append(line.strip(" \\").removeprefix("--hash="))
        else:
            current = line.rstrip(" \\")
            locked[current] = []
    return locked


def name_of(requirement: str) -> str:
    return re.split(r"[ <>=\[;]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")


def dependencies(section: str, key: str) -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config[section][key].splitlines()
    return {name_of(line) for line in lines if line.strip() and not line.strip().startswith(("#", "edge-agent"))}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_hashes(name: str) -> None:
    """Nothing is taken on trust, and no lock says where to fetch from."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    assert "index" not in text
    for requirement, hashes in read_lock(name).items():
        assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z,-]+\])?==[0-9][^ ]*( ; .+)?", requirement), requirement
        assert hashes
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes)


def test_every_dependency_is_locked() -> None:
    """A new line in setup.cfg without `scripts/lock` is found here, without a network."""
    runtime = {name_of(requirement) for requirement in read_lock("runtime")}
    test = {name_of(requirement) for requirement in read_lock("test")}
    assert dependencies("options", "install_requires") <= runtime
    assert runtime <= test
    extras = dependencies("options.extras_require", "test") | dependencies("options.extras_require", "rtcc")
    assert extras <= test
    assert {"setuptools", "wheel"} <= {name_of(requirement) for requirement in read_lock("build")}


def test_extras_stand_in_the_locks() -> None:
    """Without its extra in the lock, pip looks for hashes of the newest release of what it names, and stops."""
    wanted = set()
    for requirement in read_lock("test"):
        for each in requires(name_of(requirement)):
            found = re.match(r"([A-Za-z0-9._-]+)\[([^]]+)\]", each)
            if found and "extra ==" not in each:
                wanted.add(f"{name_of(found[1])}[{found[2]}]==")
    assert wanted
    locked = read_lock("test").keys()
    assert [name for name in wanted if not any(line.startswith(name) for line in locked)] == []


def requires(package: str) -> list[str]:
    """Return what an installed package needs; nothing of one that another system would install."""
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []


def test_tests_run_with_the_gateways_versions() -> None:
    """One version of a package, in the product and in its tests."""
    assert read_lock("runtime").keys() <= read_lock("test").keys()


def test_only_the_server_build_of_opencv() -> None:
    """The desktop build does not import on a bare gateway, and the two overwrite each other."""
    names = {name_of(requirement) for name in LOCKS for requirement in read_lock(name)}
    assert {name for name in names if name.startswith("opencv")} == {"opencv-python-headless"}


def test_data_files_are_there_and_complete() -> None:
    """`config/` and `systemd/` travel in the wheel, all of them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = {line for value in config["options.data_files"].values() for line in value.split()}
    there = {str(path.relative_to(ROOT)) for folder in ("config", "systemd") for path in (ROOT / folder).iterdir()}
    assert named == there


def test_package_data_holds_every_file_that_is_no_module() -> None:
    """A template, a style, a catalogue that no pattern of setup.cfg names would be missing in the wheel alone."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named: set[Path] = set()
    for package, patterns in config["options.package_data"].items():
        for pattern in patterns.split():
            named |= set((ROOT / package.replace(".", "/")).glob(pattern))
    there = {path for path in (ROOT / "edge_agent").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in there if path.suffix != ".py"} == named
    assert len(named) > 10


def test_gateway_gets_the_pages_packages() -> None:
    """The page is off until somebody turns it on, and needs no network then."""
    runtime = {name_of(requirement) for requirement in read_lock("runtime")}
    assert dependencies("options.extras_require", "page") <= runtime

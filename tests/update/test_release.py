"""``scripts/release`` from a tag to a gateway that takes it, with keys of the moment."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from edge_agent.update.journal import Journal
from edge_agent.update.procedure import Outcome, Procedure
from edge_agent.update.repository import Repository
from package.environment import tracked
from tests.support.fakes import FakeClock
from tests.update.world import KIND, FakeMachine, serve

ROOT = Path(__file__).parents[2]
KEYS = ("root-1", "root-2", "root-3", "targets-1", "targets-2", "targets-3", "online")


def release(tree: Path, *words: object) -> str:
    # Only `build` needs more than the tests have: the script brings it.
    start = [str(tree / "scripts/release")] if words[0] == "build" else [sys.executable, "-P", "-m", "package.release"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [*start, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def tagged_tree(folder: Path, version: str) -> Path:
    """Clone this tree as it is, with a commit and a tag of that version."""
    tree = folder / "tree"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(tree)], check=True, timeout=60)
    for part in ("edge_agent", "package", "scripts", "systemd", "config", "requirements"):
        shutil.copytree(ROOT / part, tree / part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "setup.cfg", tree / "setup.cfg")
    init = tree / "edge_agent/__init__.py"
    init.write_text(init.read_text().replace("0.1.0", version))
    who = ("-c", "user.name=release", "-c", "user.email=release@example.invalid")
    for words in (("add", "-A"), ("commit", "-qm", "release"), ("tag", f"v{version}")):
        subprocess.run(["git", "-C", str(tree), *who, *words], check=True, timeout=60)
    return tree


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.needs("dpkg-deb")
def test_from_a_tag_to_a_gateway(tmp_path: Path) -> None:
    """The tag's own package arrives, with the root of trust in it and the list of its parts beside it."""
    if not (ROOT / ".git").exists():
        pytest.skip("a tag is git's")
    tree, web = tagged_tree(tmp_path, "0.2.0"), tmp_path / "web"
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery\n")
    said = ("--passphrase-file", passphrase)
    for name in KEYS:
        release(tree, "new-key", tmp_path / name, *said)
    options = [f"--{name[:-2]}-key={tmp_path / name}.pub" for name in KEYS[:6]]
    draft = release(tree, "root", web, *options, f"--online-key={tmp_path / 'online.pub'}")
    for name in KEYS[:2]:
        release(tree, "sign", draft, tmp_path / name, *said)
    root = Path(draft).read_bytes()
    words = ("--minimum", "0.1.0", "--url", "http://127.0.0.1/x", "--only", KIND, "--level", "0")
    draft = release(tree, "build", web, "v0.2.0", *words)
    for name in KEYS[4:6]:
        release(tree, "sign", draft, tmp_path / name, *said)
    release(tree, "publish", web, tmp_path / "online", *said)

    machine, notes = FakeMachine("0.1.0"), []
    machine.install = lambda package: setattr(machine, "version", "0.2.0")  # type: ignore[method-assign]
    with serve(web) as (url, _):
        folder = tmp_path / "update"
        gateway = Procedure(
            lambda: Repository(folder, url, root), Journal(folder), machine, FakeClock(), notes.append, KIND
        )
        step = gateway.look()
        assert step is not None
        package = Repository(folder, url, root)
        package.read_list()
        deb = package.fetch(step.package)
        contents = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True, check=True, timeout=60)
        (tmp_path / "files.tar").write_bytes(contents.stdout)
        with tarfile.open(tmp_path / "files.tar") as files:
            kept = files.extractfile("./opt/edge-agent/share/edge-agent/update/root.json")
            assert kept is not None
            assert kept.read() == root
            packed = {name.partition("/site-packages/")[2] for name in files.getnames()}
            assert {str(path) for path in tracked(tree) if path.parts[0] == "edge_agent"} <= packed
        parts = json.loads(package.fetch(step.package.replace(".deb", ".cdx.json")).read_bytes())
        assert {"av", "tuf", "cryptography"} <= {each["name"] for each in parts["components"]}
        assert gateway.carry_out(without_way_back=True) == Outcome("installed", "0.1.0", "0.2.0")

"""The release before reads what this one has written: that is what an update's way back leads to."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.protocol.answer import Status
from tests.end_to_end.conftest import World, passphrase

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def find_release_before() -> str:
    """Return the newest release's tag; before the first release the commit that is changed here stands for it.

    ``EDGE_AGENT_BEFORE`` names another revision.
    """
    if named := os.environ.get("EDGE_AGENT_BEFORE"):
        return named
    words = ["git", "-C", str(ROOT), "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return found.stdout.strip() or "HEAD"


def install(revision: str, folder: Path) -> str:
    """Lay a revision down with an environment of its own, and return its interpreter; it has today's packages."""
    tree, environment = folder / "tree", folder / "environment"
    tree.mkdir(parents=True)
    archive = subprocess.Popen(["git", "-C", str(ROOT), "archive", revision], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(tree)], stdin=archive.stdout, check=True, timeout=120)
    assert archive.wait(60) == 0
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=120)
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # The tree comes first, and this tree's own .pth file is not followed.
    (site / "before.pth").write_text(f"{tree}\n{sysconfig.get_path('purelib')}\n")
    python = str(environment / "bin/python")
    words = [python, "-c", "import edge_agent; print(edge_agent.__file__)"]
    said = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout
    assert Path(said.strip()).is_relative_to(tree)
    return python


def look(world: World) -> None:
    """Everything that is kept opens and verifies, and one more clip gets out."""
    world.wait_recorded(6)
    world.home.run("ring", "check")
    assert "ledger is whole" in world.home.run("ledger", "verify")
    signed = world.send(world.draft(5, 2))
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    assert world.open(signed.jti).ok


@pytest.mark.timeout(300)
def test_the_release_before_goes_on_with_what_this_one_wrote(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, and back again: rings, ledger, store, consents and clocks of either are the other's."""
    if not (ROOT / ".git").exists():
        pytest.skip("the release before is git's")
    now, before = sys.executable, install(find_release_before(), tmp_path / "before")
    monkeypatch.chdir(tmp_path)  # `python -m` looks in the working folder first
    monkeypatch.setattr(sys, "executable", before)
    world = make_world()
    look(world)
    for python in (now, before):
        world.home.stop()
        monkeypatch.setattr(sys, "executable", python)
        world.home.start()
        world.home.wait_ready()
        look(world)
        out = tmp_path / f"{Path(python).parents[1].name}.mp4"
        world.home.run("export", "front-door", "--from", "5m-ago", "--to", "now", "--out", str(out), *passphrase(world))
        assert out.stat().st_size > 0
    assert len(world.entries("delivery")) == 3

"""The owner's bundle, from the camera to the court: real processes, stock age, and a verifier that knows nobody."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyrage
import pytest

from edge_agent.custody.owner_identity import identity_path
from edge_agent.protocol.manifest import EXPORT_TYP
from edge_agent.units import SECOND_NS, encode_rfc3339, parse_rfc3339
from tests.end_to_end.conftest import World, read_pictures
from tests.peers import age

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def words(world: World, out: Path, *more: str, cameras=("front-door",), back_s: float = 6) -> list[str]:
    window = world.draft(back_s, 1).window
    return [
        "export", *cameras, "--from", encode_rfc3339(window.start), "--to", encode_rfc3339(window.end),
        "--out", str(out), "--passphrase-file", str(world.home.passphrase_path), *more,
    ]  # fmt: skip


def rtcc_open(folder: Path, *more: str) -> dict:
    """Run ``rtcc open`` as somebody who has no home."""
    environment = {name: value for name, value in os.environ.items() if name != "RTCC_HOME"}
    program = "import sys; from edge_agent.rtcc.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "open", *more, "--json"],
        cwd=folder, env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_a_bundle_goes_from_the_owner_to_a_court(world, tmp_path):
    """Two cameras, one passphrase; stock age opens it for owner and court; a court with three thumbprints is sure."""
    court = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"{court}\n")
    world.wait_recorded(8)
    out = tmp_path / "out"
    out.mkdir()
    more = ("--bundle", "--recipient", str(court.to_public()), "--json")
    told = json.loads(world.home.run(*words(world, out / "case.age", *more, cameras=("front-door", "back-yard"))))
    assert sorted(path.name for path in out.iterdir()) == ["case-back-yard.age", "case-front-door.age"]
    # Whatever the owner's terms are: back-yard is never released.
    for file in told["files"]:
        path = Path(file["path"])
        assert path.stat().st_mode & 0o777 == 0o600
        opened = tmp_path / f"{file['camera']}-stranger"
        found = rtcc_open(tmp_path, "--file", str(path), "--identity", "key.txt", "--out", str(opened))
        assert (found["ok"], found["kind"]) == (True, "export")
        assert len(found["unpinned"]) == 3
        pins = [f"--pin={print_of}" for print_of in told["thumbprints"].values()]
        found = rtcc_open(tmp_path, "--file", str(path), "--identity", "key.txt", "--out", str(opened), *pins)
        assert (found["ok"], found["unpinned"]) == (True, [])
        pictures = read_pictures(opened, typ=EXPORT_TYP)
        start, end = delivered_span(file)
        assert len(pictures) > 30
        assert all(start <= picture.ring < end for picture in pictures)
        late = [picture.ring - picture.pixels for picture in pictures]
        assert min(late) >= 0
        assert max(late) < SECOND_NS
    owners = identity_path(world.home.config.state_dir)
    plain = age.decrypt(out / "case-front-door.age", identity=owners, passphrase=world.home.passphrase_path.read_text())
    assert plain.startswith(b"PK")
    home = ("--home", str(world.city.home.path), "--gateway", world.home.gateway)
    known = rtcc_open(tmp_path, "--file", str(out / "case-back-yard.age"), "--identity", "key.txt", *home)
    assert (known["ok"], known["kind"], known["unpinned"]) == (True, "export", [])
    entries = [each["entry"] for each in world.entries("export")]
    assert [(each["what"], each["camera"]) for each in entries] == [
        (what, camera)
        for camera in ("front-door", "back-yard")
        for what in ("local export as a bundle", "bundle written")
    ]
    assert [each["sha256"] for each in entries if "sha256" in each] == [file["sha256"] for file in told["files"]]
    world.home.run("ledger", "verify")


def delivered_span(file: dict) -> tuple[int, int]:
    return parse_rfc3339(file["delivered"][0]["start"]), parse_rfc3339(file["delivered"][-1]["end"])


def find_children(pid: int, name: bytes) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in map(int, (tasks / "children").read_text().split()):
                if name in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(child)
    return found


def test_the_releaser_killed_in_mid_export_leaves_nothing(world, tmp_path):
    """The owner is told, has no file, and can begin again; a restart knows of the order, and of no bundle."""
    world.wait_recorded(8)
    releaser = world.home.processes["release"]
    command = [sys.executable, "-m", "edge_agent", *words(world, tmp_path / "case.age", "--bundle"),
               "--config", str(world.home.config_path)]  # fmt: skip
    client = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (children := find_children(releaser.pid, b"cutter_child")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(children[0], signal.SIGSTOP)
    assert list(tmp_path.iterdir()) == []
    world.home.stop("release", how=signal.SIGKILL)
    os.kill(children[0], signal.SIGCONT)
    while Path(f"/proc/{children[0]}").exists():  # it ends by itself: nobody is there for whom it would work
        assert time.monotonic() < deadline
        time.sleep(0.02)
    _, said = client.communicate(timeout=60)
    assert client.returncode == os.EX_UNAVAILABLE
    assert b"no answer" in said
    assert list(tmp_path.iterdir()) == []
    world.home.start("release")
    world.home.wait_ready()
    assert [each["entry"]["what"] for each in world.entries("export")] == ["local export as a bundle"]
    world.home.run(*words(world, tmp_path / "case.age", "--bundle"))
    assert (tmp_path / "case.age").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_fills_up_leaves_nothing(world, tmp_path):
    """It is said in words, with an exit code of its own; the disk has nothing of it."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        world.wait_recorded(8)
        command = [sys.executable, "-m", "edge_agent", *words(world, small / "case.age", "--bundle"),
                   "--config", str(world.home.config_path)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == os.EX_IOERR, done.stderr
        assert b"the disk is full" in done.stderr
        assert list(small.iterdir()) == []
        free = os.statvfs(small)
        assert free.f_bavail == free.f_blocks
    finally:
        subprocess.run(["umount", str(small)], check=True)

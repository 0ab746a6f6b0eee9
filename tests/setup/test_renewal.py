"""Everything erased: keys, rings, holds, staging; again after a kill at any point; never beside a running recorder."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.custody.keys import KeyStore, custody_note_path
from edge_agent.errors import CustodyError, RingBusyError
from edge_agent.settings.gateway import Config, parse_config
from edge_agent.setup import renewal
from edge_agent.setup.provision import create_state, erasure_note_path
from edge_agent.setup.renewal import Renewal, renew_vault

NAMES = ("rings/door.main.ring", "rings/gone.main.ring", "rings/door.main.ring.moving", "holds/x.ring", "holds/y.part",
         "releaser/staging/z.age-payload")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("made") / "state"
    create_state(state, "a passphrase for a test")
    return state


@pytest.fixture
def config(tmp_path: Path, made: Path) -> Iterator[Config]:
    state = tmp_path / "state"
    shutil.copytree(made, state)
    for name in NAMES:
        (state / name).write_bytes(os.urandom(300_000))
    (state / "recorder" / "rings.json").write_text("{}")
    (state / "recorder" / "lock").touch()
    text = f"gateway: {{state_dir: {state}, run_dir: {tmp_path}}}\ncameras: [{{id: door, url: 'rtsp://127.0.0.1/'}}]\n"
    yield parse_config(text, "test", tmp_path)
    # No tree is too deep for it, as one is for `shutil`, if a test fails.
    subprocess.run(["rm", "-rf", str(state)], check=True, timeout=60)


def vault(config: Config) -> bytes:
    return KeyStore(config.state_dir, "releaser").load_private("vault").private_bytes_raw()


def renew(config: Config, sealed: Path = Path("/nonexistent")) -> Renewal:
    return renew_vault(config, has_services=False, sealed=sealed)


def test_nothing_is_left_but_a_new_key(config: Config) -> None:
    """Rings of cameras long gone, half-moved rings, holds and staged bytes go; the other keys stay."""
    old = vault(config)
    others = {path: path.read_bytes() for path in config.state_dir.rglob("*.pem") if path.name != "vault.pem"}
    report = renew(config)
    assert len(report.destroyed) == len(NAMES) + 1
    assert not any((config.state_dir / name).exists() for name in NAMES)
    assert not (config.state_dir / "recorder" / "rings.json").exists()
    assert vault(config) != old
    public = KeyStore(config.state_dir, "recorder").load_public("vault")
    assert public == KeyStore(config.state_dir, "releaser").load_private("vault").public_key()
    assert {path: path.read_bytes() for path in others} == others


def deep(path: Path) -> None:
    """Make a tree deeper than any stack, whose folders are closed to their own owner."""
    folder = os.open(path.parent, os.O_RDONLY)
    name = path.name
    for _ in range(1500):
        os.mkdir(name, 0o700, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder, name = inner, "x" * 200
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.fchmod(folder, 0)
    os.close(folder)


PLANTS: dict[str, Callable[[Path], None]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "link to a folder": lambda path: path.symlink_to("../../foreign"),
    "link to a file": lambda path: path.symlink_to("../../foreign/precious"),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
}
PLACES = ("rings/a.ring", "holds/folder", "releaser/staging/a", "releaser/staging", "recorder/rings.json",
          "recorder/lock", "releaser/lock", "keys/releaser/vault.pem", "releaser/state.sqlite",
          "releaser/state.sqlite-wal", "recorder/lock.new", "keys/releaser/vault.pem.new")  # fmt: skip


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "precious").write_bytes(b"another's")
    return tmp_path / "foreign" / "precious"


CASES = {f"{name} as {place}": (place, plant) for place in PLACES for name, plant in PLANTS.items()}
CASES |= {f"deep tree as {place}": (place, deep) for place in ("rings/a.ring", "keys/releaser/vault.pem")}


@pytest.mark.parametrize(("place", "plant"), CASES.values(), ids=CASES.keys())
def test_what_is_planted_stops_nothing_and_leads_nowhere(
    config: Config, foreign: Path, place: str, plant: Callable[[Path], None]
) -> None:
    """For any thing in any place that a service may write: the erasure ends, and what a link names stays as it is."""
    old, path = vault(config), config.state_dir / place
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    plant(path)
    before = foreign.stat()
    report = renew(config)
    assert vault(config) != old
    assert not any((config.state_dir / each).exists() for each in NAMES)
    assert foreign.read_bytes() == b"another's"
    after = foreign.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert not erasure_note_path(config.state_dir).exists()
    # What is no memory of the releaser has no ledger to be entered in: that is told.
    is_told = place == "releaser/state.sqlite" and path.exists()
    assert [Path(each).name for each in report.failed] == (["state.sqlite"] if is_told else [])


def killed_after(config: Config, calls: int) -> bool:
    """Erase in a process that dies at its n-th call that removes or renames; tell whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def die(event: str, _arguments: object) -> None:
            nonlocal seen
            if event in ("os.remove", "os.rename", "os.rmdir"):
                seen += 1
                if seen > calls:
                    os._exit(9)

        sys.addaudithook(die)
        try:
            renew(config)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9)
    return code == 0


def test_killed_at_any_point_it_goes_on_when_it_is_called_again(config: Config) -> None:
    """From its beginning to its end nobody makes a key or starts with one; a second call ends it."""
    shutil.copytree(config.state_dir, config.state_dir.with_name("kept"), symlinks=True)
    key = config.state_dir / "keys/releaser/vault.pem"
    old = key.read_bytes()
    for calls in range(100):
        shutil.rmtree(config.state_dir)
        shutil.copytree(config.state_dir.with_name("kept"), config.state_dir, symlinks=True)
        if killed_after(config, calls):
            break
        if not key.exists() or key.read_bytes() != old:
            with pytest.raises(CustodyError, match="not finished"):
                create_state(config.state_dir, None)
        renew(config)
        assert key.read_bytes() != old
        assert not any((config.state_dir / each).exists() for each in NAMES)
        assert create_state(config.state_dir, None) == ()
    assert calls > len(NAMES)


def test_running_recorder_is_left_alone(config: Config) -> None:
    """While a recorder holds its lock nothing is touched, whether its socket answers or not."""
    old = vault(config)
    with (config.recorder_state_dir / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RingBusyError):
            renew(config)
    assert vault(config) == old
    assert all((config.state_dir / name).exists() for name in NAMES)


def test_key_that_cannot_be_sealed_again_destroys_nothing(config: Config, tmp_path: Path) -> None:
    """If the keys were bound to a TPM, the new one is too, and that is tried before anything is gone."""
    sealed = tmp_path / "nowhere" / "edge-agent.vault"
    custody_note_path(config.state_dir).write_text("tpm\n")
    with pytest.raises(CustodyError, match="nothing was destroyed"):
        renew(config, sealed)
    assert all((config.state_dir / name).exists() for name in NAMES)


SYSTEMCTL = {
    "times out": (subprocess.TimeoutExpired("systemctl", 300), False),
    "fails": (subprocess.CalledProcessError(1, "systemctl"), False),
    "is not there": (FileNotFoundError(2, "No such file or directory"), False),
    "works": (None, True),
}


@pytest.mark.parametrize(("error", "restarted"), SYSTEMCTL.values(), ids=SYSTEMCTL)
def test_services_that_do_not_start_lose_no_report(
    config: Config, monkeypatch: pytest.MonkeyPatch, error: Exception | None, restarted: bool
) -> None:
    """What was destroyed is told whatever systemd says, and it has longer than the recorder may take to be ready."""
    monkeypatch.setattr(renewal, "is_systemd_running", lambda: True)

    def run(words: list[str], *, timeout: float, **_options: object) -> None:
        assert timeout > 180
        if error is not None and words[1] == "start":
            raise error

    monkeypatch.setattr(renewal.subprocess, "run", run)
    report = renew_vault(config, has_services=True, sealed=Path("/nonexistent"))
    assert report.restarted is restarted
    assert len(report.destroyed) == len(NAMES) + 1


def test_services_that_do_not_stop_destroy_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ring is wiped under a recorder that still runs."""
    monkeypatch.setattr(renewal, "is_systemd_running", lambda: True)

    def run(_words: list[str], **_options: object) -> None:
        raise subprocess.TimeoutExpired("systemctl", 300)

    monkeypatch.setattr(renewal.subprocess, "run", run)
    with pytest.raises(RingBusyError, match="do not stop"):
        renew_vault(config, has_services=True, sealed=Path("/nonexistent"))
    assert all((config.state_dir / name).exists() for name in NAMES)


def test_a_second_disk_that_hangs_keeps_nobody_from_the_new_key(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirrors come last: until they are listed the gateway has its new key and its services run."""
    mirror, done = tmp_path / "mirror", []
    mirror.mkdir()
    for name in ("door.main.ring", f"door.main.ring.{'0' * 32}", "somebody-elses"):
        (mirror / name).write_bytes(os.urandom(10_000))
    config = config.model_copy(update={"buffer": config.buffer.model_copy(update={"mirror_dir": mirror})})
    monkeypatch.setattr(renewal, "is_systemd_running", lambda: True)
    monkeypatch.setattr(renewal.subprocess, "run", lambda words, **_: done.append(words[1]))
    old, listdir = vault(config), os.listdir

    def hang(path: Path) -> list[str]:
        if path == mirror:
            assert vault(config) != old
            assert not erasure_note_path(config.state_dir).exists()
            assert done == ["stop", "start"]
        return listdir(path)

    monkeypatch.setattr(os, "listdir", hang)
    report = renew_vault(config, has_services=True, sealed=Path("/nonexistent"))
    assert report.failed == {}
    assert [path.name for path in mirror.iterdir()] == ["somebody-elses"]


def test_a_copy_that_is_set_aside_meanwhile_goes_too(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder runs again by then, and takes an old copy for that of a ring which was replaced."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "door.main.ring").write_bytes(os.urandom(10_000))
    config = config.model_copy(update={"buffer": config.buffer.model_copy(update={"mirror_dir": mirror})})
    wipe = renewal.wipe_ring

    def set_aside(path: Path) -> None:
        if path == mirror / "door.main.ring" and not list(mirror.glob("*.0*")):
            path.rename(mirror / f"door.main.ring.{'0' * 32}")
        wipe(path)

    monkeypatch.setattr(renewal, "wipe_ring", set_aside)
    assert renew(config).failed == {}
    assert list(mirror.iterdir()) == []

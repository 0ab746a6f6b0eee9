"""As root, in folders of the services' users: what a taken-over service plants there gives it nothing of root's."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.custody.keys import locate_private
from edge_agent.errors import CustodyError
from edge_agent.host.service_user import acting_as_owner
from edge_agent.settings.gateway import Config, parse_config
from edge_agent.setup.provision import TREE, ServiceUsers, create_state
from edge_agent.setup.renewal import renew_vault
from edge_agent.uplink.store.database import Database

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as the installer has it")

PASSPHRASE = "a passphrase for a test"
USERS = ServiceUsers(recorder=61234, releaser=61235, page=61237, desk=61238, group=61236)
"""Numbers of no user."""


@pytest.fixture
def root() -> Iterator[Path]:
    # Not pytest's own, which lets nobody but us in.
    folder = Path(tempfile.mkdtemp(prefix="edge-agent-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def shadow(root: Path) -> Path:
    """Stand for a file of root's in a folder of root's."""
    (root / "etc").mkdir()
    path = root / "etc" / "shadow"
    path.write_bytes(b"root:secret")
    path.chmod(0o600)
    return path


@pytest.fixture
def config(root: Path) -> Config:
    create_state(root / "state", PASSPHRASE, USERS)
    text = f"gateway: {{state_dir: {root}/state, run_dir: {root}/run}}\n"
    config = parse_config(text, "test", root)
    with acting_as_owner(config.store_path.parent), Database(config.store_path):
        pass
    return config


def facts(path: Path) -> tuple[bytes, int, int, int]:
    status = path.stat()
    return path.read_bytes(), status.st_uid, status.st_gid, status.st_mode


def test_everything_belongs_to_whom_it_should(config: Config) -> None:
    """Folders and keys are the holders' from their making on, and a second run changes nothing."""
    for _ in range(2):
        for folder in TREE:
            status = (config.state_dir / folder.path).stat()
            owner = (USERS.holder(folder.holder), USERS.group, folder.mode)
            assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == owner
        for name, user in {"vault": USERS.releaser, "recorder": USERS.recorder, "owner": 0}.items():
            status = locate_private(config.state_dir, name).stat()
            assert (status.st_uid, status.st_mode & 0o777) == (user, 0o600)
        create_state(config.state_dir, None, USERS)


@pytest.mark.parametrize("place", ["releaser/staging", "holds", "recorder"])
def test_init_gives_no_folder_away_through_a_link(config: Config, shadow: Path, place: str) -> None:
    """A link in place of a folder of the tree is refused: what it names keeps its owner and its mode."""
    path, before = config.state_dir / place, shadow.parent.stat()
    shutil.rmtree(path)
    path.symlink_to(shadow.parent)
    with pytest.raises(CustodyError, match="not a folder"):
        create_state(config.state_dir, None, USERS)
    after = shadow.parent.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


@pytest.mark.parametrize("plant", [os.link, os.symlink, lambda _, path: os.mkfifo(path)], ids=["hard", "soft", "fifo"])
def test_init_gives_no_file_away(config: Config, shadow: Path, plant) -> None:
    """A file in a key's place that is no key of this gateway is refused and keeps its owner."""
    path, before = locate_private(config.state_dir, "tls"), facts(shadow)
    path.unlink()
    plant(shadow, path)
    with pytest.raises(CustodyError):
        create_state(config.state_dir, None, USERS)
    assert facts(shadow) == before


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", "-x"])
def test_erasure_gives_no_file_away(config: Config, shadow: Path, end: str) -> None:
    """A link beside the database does not make its target the releaser's."""
    path, before = Path(f"{config.store_path}{end}"), facts(shadow)
    path.unlink(missing_ok=True)
    path.symlink_to(shadow)
    renew_vault(config, has_services=False, sealed=Path("/nonexistent"))
    assert facts(shadow) == before
    assert locate_private(config.state_dir, "vault").stat().st_uid == USERS.releaser


@pytest.mark.parametrize("plant", [os.link, os.symlink], ids=["hard", "soft"])
def test_erasure_overwrites_no_file_but_the_key(config: Config, shadow: Path, plant) -> None:
    """A link in place of the vault's key goes; what it names does not."""
    path, before = locate_private(config.state_dir, "vault"), facts(shadow)
    path.unlink()
    plant(shadow, path)
    renew_vault(config, has_services=False, sealed=Path("/nonexistent"))
    assert facts(shadow) == before
    assert locate_private(config.state_dir, "vault").stat().st_nlink == 1


@pytest.mark.parametrize("place", ["releaser/staging", "holds", "rings"])
def test_erasure_empties_no_foreign_folder(config: Config, shadow: Path, place: str) -> None:
    """A link in place of a folder is followed at most with the service's own rights."""
    path, before = config.state_dir / place, facts(shadow)
    os.link(shadow, shadow.with_name("door.main.ring"))
    shutil.rmtree(path)
    path.symlink_to(shadow.parent)
    renew_vault(config, has_services=False, sealed=Path("/nonexistent"))
    assert facts(shadow) == before
    assert shadow.with_name("door.main.ring").exists()


def test_rights_come_back_after_an_error(config: Config) -> None:
    """Inside, root's rights are gone; whatever happens there, they are back afterwards."""
    groups = os.getgroups()
    with pytest.raises(PermissionError), acting_as_owner(config.store_path.parent):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (USERS.releaser, USERS.group, [])
        (config.recorder_state_dir / "x").touch()
    assert (os.geteuid(), os.getgroups()) == (0, groups)


def test_memory_that_is_locked_does_not_end_a_services_rights(root: Path) -> None:
    """Root's command locks its memory, then opens the store with the releaser's rights: no allocation fails."""
    code = (
        "import sys; from pathlib import Path; "
        "from edge_agent.host.hardening import keep_memory_from_swap; "
        "from edge_agent.host.service_user import acting_as_owner; "
        "from edge_agent.uplink.store.database import Database; "
        "keep_memory_from_swap(); folder = Path(sys.argv[1])\n"
        "with acting_as_owner(folder), Database(folder / 'state.sqlite'): bytearray(64 << 20)"
    )
    folder = root / "releaser"
    folder.mkdir()
    os.chown(folder, USERS.releaser, USERS.group)
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=60)

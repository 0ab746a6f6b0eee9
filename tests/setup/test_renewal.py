"""Everything erased: keys, rings, holds, staging; again after a kill at any point; never beside a running recorder."""

import fcntl
import os
from pathlib import Path

import pytest

from edge_agent.config import Config, parse_config
from edge_agent.errors import CustodyError, RingBusyError, RingError
from edge_agent.keys import KeyStore, custody_note_path
from edge_agent.setup.provision import create_state
from edge_agent.setup.renewal import Renewal, renew_vault

NAMES = ("rings/door.main.ring", "rings/gone.main.ring", "rings/door.main.ring.moving", "holds/x.ring", "holds/y.part",
         "releaser/staging/z.age-payload")  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    state = tmp_path / "state"
    create_state(state, "a passphrase for a test")
    for name in NAMES:
        (state / name).write_bytes(os.urandom(300_000))
    (state / "recorder" / "rings.json").write_text("{}")
    (state / "recorder" / "lock").touch()
    text = f"gateway: {{state_dir: {state}, run_dir: {tmp_path}}}\ncameras: [{{id: door, url: 'rtsp://127.0.0.1/'}}]\n"
    return parse_config(text, "test", tmp_path)


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


@pytest.mark.parametrize("name", ["rings/a.ring", "rings/z.ring", "holds/folder", "releaser/staging/folder"])
def test_what_was_interrupted_has_destroyed_the_key_and_is_ended_by_the_next_one(config: Config, name: str) -> None:
    """Whatever stops it on the way (here, something that is no file), the key is gone first; a second call ends it."""
    key = config.state_dir / "keys" / "releaser" / "vault.pem"
    old = key.read_bytes()
    (config.state_dir / name).mkdir()
    with pytest.raises((RingError, OSError)):
        renew(config)
    assert not any(old in path.read_bytes() for path in config.state_dir.rglob("*") if path.is_file())
    (config.state_dir / name).rmdir()
    renew(config)
    assert key.read_bytes() != old
    assert not any((config.state_dir / each).exists() for each in NAMES)


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
    """Where the keys were bound to a TPM, the new one is too, and that is tried before anything is gone."""
    sealed = tmp_path / "nowhere" / "edge-agent.vault"
    custody_note_path(config.state_dir).write_text("tpm\n")
    with pytest.raises(CustodyError, match="nothing was destroyed"):
        renew(config, sealed)
    assert all((config.state_dir / name).exists() for name in NAMES)

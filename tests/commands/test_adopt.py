"""``edge-agent adopt``: what the owner signed at the desk comes into its file, by the command as it is typed."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import sign_order
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import EdgeAgentError
from edge_agent.protocol.enrolment import name_unenrolled
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup.provision import create_state
from edge_agent.units import UtcNs
from edge_agent.uplink.owner import adoption
from tests.commands import typed

PASSPHRASE = "correct horse battery staple"
TEXT, BEFORE = "version: 1\nhouse: {agencies: [rtcc.example-city]}\n", "version: 1\n"
SOMEBODY = 61236


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A gateway whose owner has terms that ask for nothing."""
    create_state(tmp_path / "state", PASSPHRASE)
    path = tmp_path / "edge-agent.yaml"
    path.write_text(f"gateway: {{state_dir: {json.dumps(str(tmp_path / 'state'))}}}\n")
    (tmp_path / "consent.yaml").write_text(BEFORE)
    return load_config(path)


def digest(text: str) -> str:
    return encode_b64url(hashlib.sha256(text.encode()).digest())


def leave_signed(config: Config) -> None:
    """Leave the new terms as the releaser does, signed by the owner just now."""
    keys = KeyStore(config.state_dir, "owner")
    members = {"file": "consent", "sha256": digest(TEXT), "was": digest(BEFORE)}
    order = sign_order(
        "adopt",
        members,
        name_unenrolled(keys.load_public("gateway")),
        encode_b64url(os.urandom(16)),
        UtcNs(time.time_ns()),
        keys.load_private("owner", PASSPHRASE.encode()),
    )
    adoption.expect(config, config.consent.file, TEXT)
    adoption.leave(config, order, TEXT)


def adopt(config: Config) -> int:
    return typed.run("adopt", "--config", str(config.consent.file.with_name("edge-agent.yaml")))


def test_signed_text_comes_into_its_file(config: Config, capsys: pytest.CaptureFixture[str]):
    """And the command says which file it was."""
    leave_signed(config)
    assert adopt(config) == 0
    assert config.consent.file.read_text() == TEXT
    assert str(config.consent.file) in capsys.readouterr().out


def test_nothing_left_is_nothing_done(config: Config):
    """A unit that is started twice finds the place empty, and the terms stay."""
    with pytest.raises(EdgeAgentError):
        adopt(config)
    assert config.consent.file.read_text() == BEFORE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's rights")
def test_text_is_taken_with_the_rights_of_the_releaser(config: Config, tmp_path: Path):
    """A folder of the releaser's that leads to what root alone may read shows root nothing of it."""
    leave_signed(config)
    folder, secret = adoption.adoption_path(config).parent, tmp_path / "of-root"
    secret.mkdir(mode=0o700)
    folder.rename(secret / folder.name)
    folder.symlink_to(secret / folder.name)
    os.chown(folder, SOMEBODY, SOMEBODY, follow_symlinks=False)
    with pytest.raises(EdgeAgentError):
        adopt(config)
    assert config.consent.file.read_text() == BEFORE
    assert (secret / folder.name / adoption.adoption_path(config).name).exists()

"""Terms from the desk: root takes the one text that the owner has just signed for, and nothing else."""

import hashlib
import json
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import sign_order
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, DenialError, EdgeAgentError, UsageError
from edge_agent.protocol.enrolment import name_unenrolled
from edge_agent.settings.gateway import load_config
from edge_agent.setup.provision import create_state
from edge_agent.units import MINUTE_NS, UtcNs, parse_rfc3339
from edge_agent.uplink.owner import adoption

NOW = parse_rfc3339("2026-11-28T12:00:00Z")
PASSPHRASE = "correct horse battery staple"
TEXT = "version: 1\nhouse: {agencies: [rtcc.example-city]}\n"
BEFORE = "version: 1\n"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    create_state(folder, PASSPHRASE)
    return folder


@pytest.fixture
def config(tmp_path, state):
    path = tmp_path / "edge-agent.yaml"
    path.write_text(f"gateway: {{state_dir: {json.dumps(str(state))}}}\n")
    (tmp_path / "consent.yaml").write_text(BEFORE)
    config = load_config(path)
    yield config
    for left in adoption.adoption_path(config).parent.glob("adopt*"):
        left.unlink()


def digest(text) -> str:
    return encode_b64url(hashlib.sha256(text.encode()).digest())


def order(config, text=TEXT, now=NOW, kind="adopt", key=None, gateway=None, **more):
    keys = KeyStore(config.state_dir, "owner")
    key = key or keys.load_private("owner", PASSPHRASE.encode())
    gateway = gateway or name_unenrolled(keys.load_public("gateway"))
    members = more or {"file": "consent", "sha256": digest(text), "was": digest(BEFORE)}
    return sign_order(kind, members, gateway, encode_b64url(os.urandom(16)), now, key)


def leave(config, order: bytes, text: str) -> None:
    """Leave a text as the desk does."""
    adoption.demand_free(config)
    adoption.expect(config, config.consent.file, text)
    adoption.leave(config, order, text)


def test_text_that_the_owner_signed_for_takes_the_place_of_the_file(config):
    """With its mode and its group, by which the releaser reads it; what was left is gone."""
    config.consent.file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(config.consent.file, 0, 61236)
    leave(config, order(config), TEXT)
    adoption.put(config, *adoption.take(config), NOW)
    assert config.consent.file.read_text() == TEXT
    status = config.consent.file.stat()
    assert status.st_mode & 0o777 == 0o640
    assert os.geteuid() != 0 or status.st_gid == 61236
    assert not adoption.adoption_path(config).exists()


HOSTILE = {
    "another text": lambda config: (order(config), TEXT + "# more\n"),
    "another owner": lambda config: (order(config, key=Ed25519PrivateKey.generate()), TEXT),
    "another gateway": lambda config: (order(config, gateway="B" * 22), TEXT),
    "an old order": lambda config: (order(config, now=UtcNs(NOW - 6 * MINUTE_NS)), TEXT),
    "an order for something else": lambda config: (order(config, kind="confirm-clock", **{}), TEXT),
    "terms that are none": lambda config: (order(config, text="version: 7\n"), "version: 7\n"),
    "an order for the other file": lambda config: (
        order(config, file="enrolment", sha256=digest(TEXT), was=digest("")),
        TEXT,
    ),
    "an edit meanwhile": lambda config: (
        order(config, file="consent", sha256=digest(TEXT), was=digest("# edited\n")),
        TEXT,
    ),
    "no order": lambda _: (b"{}", TEXT),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_releaser_in_wrong_hands_has_root_write_nothing(config, case):
    """Whatever it leaves, the file stays as it is, and what was left is not looked at again."""
    before = config.consent.file.read_text()
    try:
        signed, text = HOSTILE[case](config)
    except EdgeAgentError:
        signed, text = b"{}", TEXT
    leave(config, signed, text)
    with pytest.raises((DenialError, ConfigError)):
        adoption.put(config, *adoption.take(config), NOW)
    assert config.consent.file.read_text() == before
    assert not adoption.adoption_path(config).exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"order": 1}', b'{"order": "x", "text": "%"}', b"\xff"])
def test_what_cannot_be_read_is_removed(config, content):
    """A unit that watches for the file must not start indefinitely."""
    adoption.adoption_path(config).write_bytes(content)
    with pytest.raises(ConfigError):
        adoption.take(config)
    assert not adoption.adoption_path(config).exists()


def test_nothing_that_lies_there_is_lost_to_what_comes_next(config):
    """A second signature waits until root has taken the first; what is left while root takes it stays."""
    leave(config, order(config), TEXT)
    with pytest.raises(UsageError, match="not in its file yet"):
        leave(config, order(config, text="other"), "other")
    assert adoption.take(config)[1] == TEXT
    leave(config, order(config, text="other"), "other")
    assert adoption.take(config)[1] == "other"
    assert [each.name for each in adoption.adoption_path(config).parent.glob("adopt*")] == ["adopt-left.json"]


AFTERWARDS = {
    "root wrote it": (lambda config: adoption.put(config, *adoption.take(config), NOW), False),
    "the owner edited the file": (lambda config: config.consent.file.write_text("version: 1\n# mine\n"), False),
    "the unit did not start": (lambda _: None, True),
    "somebody removed it": (lambda config: adoption.adoption_path(config).unlink(), True),
    "root refused it": (adoption.take, True),
}


@pytest.mark.parametrize("case", AFTERWARDS)
def test_what_did_not_come_into_its_file_is_known(config, case):
    """Whatever kept it: the file is as it was, and that is a fault until it is not."""
    assert adoption.find_missing(config) is None
    leave(config, order(config), TEXT)
    change, is_missing = AFTERWARDS[case]
    change(config)
    for _ in range(2):
        assert adoption.find_missing(config) == (config.consent.file if is_missing else None)


def test_a_text_that_lies_there_is_never_written_over(config):
    """Whoever comes between the look and the write: the second text is refused, the first one stays."""
    leave(config, order(config), TEXT)
    with pytest.raises(UsageError, match="not in its file yet"):
        adoption.leave(config, order(config, text="other"), "other")
    assert adoption.take(config)[1] == TEXT


def test_what_was_expected_and_refused_is_no_fault(config):
    """The note is made before anything counts, and taken back if nothing came of it."""
    adoption.expect(config, config.consent.file, TEXT)
    assert adoption.find_missing(config) == config.consent.file
    adoption.forget(config, None)
    assert adoption.find_missing(config) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"path": 1}', b"\xff"])
def test_a_note_that_cannot_be_read_is_no_fault(config, content):
    """It is removed: nobody can say what it waited for."""
    adoption.left_path(config).write_bytes(content)
    assert adoption.find_missing(config) is None
    assert not adoption.left_path(config).exists()

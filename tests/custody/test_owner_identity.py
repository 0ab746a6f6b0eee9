"""The owner's age identity: made once, opened by the passphrase, readable by the stock program."""

import io
import stat
from pathlib import Path

import pytest

from edge_agent.custody.owner_identity import identity_path, load_recipient, open_identity, recipient_path
from edge_agent.errors import CustodyError
from edge_agent.protocol.age_stream import seal_stream
from edge_agent.setup.provision import create_state, is_complete
from tests.peers import age

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state_dir = tmp_path_factory.mktemp("state")
    assert create_state(state_dir, PASSPHRASE)[-1] == "owner.age"
    return state_dir


def test_the_pair_fits_and_the_secret_is_the_owners_alone(made: Path) -> None:
    """The passphrase opens the half that bundles are sealed to."""
    assert open_identity(made, PASSPHRASE) == load_recipient(made)
    assert stat.S_IMODE(identity_path(made).stat().st_mode) == 0o600
    with pytest.raises(CustodyError, match="passphrase does not open"):
        open_identity(made, "wrong horse battery")


@pytest.mark.peer
def test_stock_age_opens_what_is_sealed_to_the_owner(made: Path, tmp_path: Path) -> None:
    """Header and payload put together, the identity's file and the passphrase are all that the owner needs."""
    payload = io.BytesIO()
    header = seal_stream(iter([b"a bundle"]), [load_recipient(made)], payload)
    (tmp_path / "bundle.age").write_bytes(header + payload.getvalue())
    plain = age.decrypt(tmp_path / "bundle.age", identity=identity_path(made), passphrase=PASSPHRASE)
    assert plain == b"a bundle"


@pytest.mark.peer
def test_stock_age_decrypts_the_identity_itself(made: Path, tmp_path: Path) -> None:
    """The file is one that age-keygen and a passphrase could have made."""
    (tmp_path / "owner.age").write_bytes(identity_path(made).read_bytes())
    comment, secret = age.decrypt(tmp_path / "owner.age", passphrase=PASSPHRASE).decode().splitlines()
    assert comment == f"# public key: {load_recipient(made)}"
    assert secret.startswith("AGE-SECRET-KEY-1")


def test_a_gateway_of_before_gets_an_identity_under_the_same_passphrase(tmp_path: Path) -> None:
    """`init` adds it; another passphrase than that of the owner's key is refused."""
    create_state(tmp_path, PASSPHRASE)
    for path in (identity_path(tmp_path), recipient_path(tmp_path)):
        path.unlink()
    assert not is_complete(tmp_path)
    with pytest.raises(CustodyError, match="does not open the key"):
        create_state(tmp_path, "another good passphrase")
    assert create_state(tmp_path, PASSPHRASE) == ("owner.age",)
    assert is_complete(tmp_path)


def test_a_kept_identity_gets_its_public_half_back(made: Path, tmp_path: Path) -> None:
    """A copy laid down before `init` opens old bundles and new ones."""
    (tmp_path / "keys").mkdir()
    identity_path(tmp_path).write_bytes(identity_path(made).read_bytes())
    identity_path(tmp_path).chmod(0o600)
    assert "owner.age" not in create_state(tmp_path, PASSPHRASE)
    assert load_recipient(tmp_path) == load_recipient(made)


def test_a_lost_identity_is_never_replaced_silently(tmp_path: Path) -> None:
    """A thief of the disk must not become the one to whom everything is sealed."""
    create_state(tmp_path, PASSPHRASE)
    identity_path(tmp_path).unlink()
    with pytest.raises(CustodyError, match="public half is not"):
        create_state(tmp_path, PASSPHRASE)


BAD_RECIPIENTS = {"empty": "", "another kind": "ssh-ed25519 AAAA", "a secret": "AGE-SECRET-KEY-1QQ"}


@pytest.mark.parametrize("text", BAD_RECIPIENTS.values(), ids=BAD_RECIPIENTS.keys())
def test_load_recipient_refuses(tmp_path: Path, text: str) -> None:
    """A pin that is none is said as such."""
    (tmp_path / "keys/public").mkdir(parents=True)
    recipient_path(tmp_path).write_text(text)
    recipient_path(tmp_path).chmod(0o644)
    with pytest.raises(CustodyError, match="not an age public key"):
        load_recipient(tmp_path)
    recipient_path(tmp_path).chmod(0o664)
    with pytest.raises(CustodyError, match="open to others"):
        load_recipient(tmp_path)

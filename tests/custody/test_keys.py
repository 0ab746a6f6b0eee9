"""Key files: what is read, what is refused, and what a key is called."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.custody.keys import KEY_HOLDER, KeyStore, encode_private, generate, locate_private
from edge_agent.custody.passphrase import check_strength, encode_encrypted
from edge_agent.errors import CustodyError
from edge_agent.protocol.public_keys import encode_public, load_jwk, public_jwk, thumbprint
from edge_agent.setup.provision import PUBLIC_KEYS, create_state, is_complete

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state_dir = tmp_path_factory.mktemp("state")
    create_state(state_dir, PASSPHRASE)
    return state_dir


def test_thumbprint_is_that_of_rfc_8037() -> None:
    """RFC 8037, appendix A.3."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(load_jwk(jwk)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("name", list(KEY_HOLDER))
def test_jwk_round_trip(name: str) -> None:
    """A public key survives its JWK, and two keys never share a name."""
    public, other = generate(name).public_key(), generate(name).public_key()
    assert encode_public(load_jwk(public_jwk(public))) == encode_public(public)
    assert thumbprint(public) != thumbprint(other)


GOOD = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
BAD_JWKS: dict[str, dict[str, object]] = {
    "private member": GOOD | {"d": GOOD["x"]},
    "use": GOOD | {"use": "sig"},
    "another curve": GOOD | {"crv": "Ed448"},
    "no x": {"kty": "OKP", "crv": "Ed25519"},
    "short x": GOOD | {"x": "11qY"},
    "padding": GOOD | {"x": GOOD["x"] + "="},
    "spare bits set": GOOD | {"x": GOOD["x"][:-1] + "p"},
    "x is a number": GOOD | {"x": 5},
    "not on P-256": {"kty": "EC", "crv": "P-256", "x": GOOD["x"], "y": GOOD["x"]},
    "oct": {"kty": "oct", "crv": "Ed25519", "x": GOOD["x"]},
}


@pytest.mark.parametrize("jwk", BAD_JWKS.values(), ids=BAD_JWKS.keys())
def test_load_jwk_refuses(jwk: dict[str, object]) -> None:
    """Exactly the required members, canonical, of a known kind."""
    with pytest.raises(CustodyError, match=r"^jwk "):
        load_jwk(jwk)


def test_create_state_makes_every_key_once(made: Path) -> None:
    """A second run makes nothing and changes nothing."""
    before = {path: path.read_bytes() for path in (made / "keys").rglob("*.pem")}
    assert create_state(made, None) == ()
    assert is_complete(made)
    assert before == {path: path.read_bytes() for path in (made / "keys").rglob("*.pem")}
    assert len(before) == len(KEY_HOLDER) + len(PUBLIC_KEYS)


def test_private_keys_fit_their_public_halves(made: Path) -> None:
    """Each role loads its own keys, and the pins are theirs."""
    recorder, releaser = KeyStore(made, "recorder"), KeyStore(made, "releaser")
    owner = KeyStore(made, "owner").load_private("owner", PASSPHRASE.encode())
    pairs = [
        (recorder.load_private("recorder"), recorder.load_public("recorder")),
        (releaser.load_private("vault"), recorder.load_public("vault")),
        (releaser.load_private("gateway"), recorder.load_public("gateway")),
        (owner, recorder.load_public("owner")),
    ]
    for private, public in pairs:
        assert thumbprint(private.public_key()) == thumbprint(public)


def test_recorder_cannot_ask_for_the_vault_key(made: Path) -> None:
    """A role loads its own keys only."""
    with pytest.raises(CustodyError, match="vault does not belong to the recorder"):
        KeyStore(made, "recorder").load_private("vault")


def test_owner_key_needs_its_passphrase(made: Path) -> None:
    """A wrong or missing passphrase is said as such."""
    store = KeyStore(made, "owner")
    with pytest.raises(CustodyError, match="does not open"):
        store.load_private("owner", b"wrong horse battery")
    with pytest.raises(CustodyError, match="no passphrase"):
        store.load_private("owner", None)


@pytest.mark.needs("openssl")
def test_owner_key_opens_with_openssl(made: Path) -> None:
    """The encrypted key is a standard file."""
    command = ["openssl", "pkey", "-in", str(locate_private(made, "owner")), "-passin", "stdin", "-noout"]
    assert subprocess.run(command, input=PASSPHRASE.encode(), capture_output=True).returncode == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644], ids=oct)
def test_load_private_refuses_an_open_file(tmp_path: Path, mode: int) -> None:
    """A key that others may read is no key; the hint repairs it."""
    create_state(tmp_path, PASSPHRASE)
    path = locate_private(tmp_path, "vault")
    path.chmod(mode)
    with pytest.raises(CustodyError, match=f"open to others: .*mode={mode:04o}") as refused:
        KeyStore(tmp_path, "releaser").load_private("vault")
    assert refused.value.hint == f"chmod 0600 {path}"


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def _replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


DAMAGE = {
    "missing": (Path.unlink, "missing"),
    "symbolic link": (_replace_by_link, "cannot be opened"),
    "fifo": (_replace_by_fifo, "not a regular file"),
    "empty": (lambda path: path.write_bytes(b""), "not a private key"),
    "garbage": (lambda path: path.write_bytes(b"\0" * 500), "not a private key"),
    "huge": (lambda path: path.write_bytes(b"a" * 20_000), "too large"),
    "another kind": (lambda path: path.write_bytes(encode_private(Ed25519PrivateKey.generate())), "wrong kind"),
}


@pytest.mark.parametrize("case", DAMAGE.values(), ids=DAMAGE.keys())
def test_load_private_reports_damage(tmp_path: Path, case: tuple) -> None:
    """Anything else in the key's place is named, never a traceback."""
    create_state(tmp_path, PASSPHRASE)
    path = locate_private(tmp_path, "vault")
    case[0](path)
    with pytest.raises(CustodyError, match=case[1]):
        KeyStore(tmp_path, "releaser").load_private("vault")


def test_load_public_refuses_a_writable_pin(tmp_path: Path) -> None:
    """A public key that others may replace pins nothing."""
    create_state(tmp_path, PASSPHRASE)
    (tmp_path / "keys/public/owner.pem").chmod(0o664)
    with pytest.raises(CustodyError, match="open to others"):
        KeyStore(tmp_path, "releaser").load_public("owner")


def test_a_lost_private_key_is_never_replaced(tmp_path: Path) -> None:
    """Making a new vault key silently would orphan every ring."""
    create_state(tmp_path, PASSPHRASE)
    locate_private(tmp_path, "vault").unlink()
    with pytest.raises(CustodyError, match="public half is not"):
        create_state(tmp_path, PASSPHRASE)


def test_a_credential_wins_over_the_file(made: Path, tmp_path: Path) -> None:
    """systemd's credential is read first; its custody is what the installer noted."""
    other = X25519PrivateKey.generate()
    for name in ("vault", "gateway", "tls"):
        (tmp_path / name).write_bytes(encode_private(other if name == "vault" else generate(name)))
        (tmp_path / name).chmod(0o440)
    store = KeyStore(made, "releaser", credentials_dir=tmp_path)
    assert store.load_private("vault").private_bytes_raw() == other.private_bytes_raw()
    assert store.custody_level() == "bare"
    note = made / "keys/public/custody"
    note.write_text("tpm\n")
    try:
        assert store.custody_level() == "tpm"
    finally:
        note.unlink()


def test_custody_is_that_of_the_weakest_key(tmp_path: Path) -> None:
    """One plain key among encrypted ones is bare custody."""
    create_state(tmp_path, PASSPHRASE)
    assert KeyStore(tmp_path, "releaser").custody_level() == "bare"
    assert KeyStore(tmp_path, "owner").custody_level() == "passphrase"


WEAK = {"empty": "", "short": "hunter2", "one letter": "a" * 40, "five letters": "abcde" * 8}


@pytest.mark.parametrize("passphrase", WEAK.values(), ids=WEAK.keys())
def test_check_strength_refuses(passphrase: str) -> None:
    """Length and variety, and nothing else, are asked for."""
    with pytest.raises(CustodyError, match="too weak"):
        check_strength(passphrase)
    with pytest.raises(CustodyError, match="too weak"):
        encode_encrypted(Ed25519PrivateKey.generate(), passphrase)


def test_jwk_is_json_of_strings() -> None:
    """A JWK goes into bundles as it is."""
    assert json.loads(json.dumps(public_jwk(generate("tls").public_key()))).keys() == {"kty", "crv", "x", "y"}

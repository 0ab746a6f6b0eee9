"""An RTCC's home: every key is made, none is readable by others, and none is ever overwritten."""

import dataclasses
import subprocess

import pyrage
import pytest

from edge_agent.errors import ConfigError, CustodyError
from edge_agent.protocol.request import Role
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import load_signing_key, read_passphrase
from tests.rtcc.conftest import NOW, SETTINGS


def test_a_new_home_has_every_key_that_the_rtcc_needs(home):
    """Three roots of which two sign, one person per role, an authority, evidence and escrow."""
    (roots,) = home.roots.sets()
    assert (len(roots.jwks), roots.threshold) == (3, 2)
    assert {person.role for person in home.people.present()} == set(Role)
    assert home.load_ca()[0].subject == home.load_ca()[0].issuer
    assert set(home.recipients()) == {"evidence", "escrow"}


def test_nothing_in_a_home_is_open_to_others(home):
    """Files are 0600, folders 0700."""
    for path in [home.path, *home.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_home_comes_back_as_it_was_written(home):
    """Load finds what create wrote."""
    again = RtccHome.load(home.path)
    assert again.settings == home.settings
    assert again.people.present() == home.people.present()


def test_a_home_is_never_made_twice(home):
    """Keys are not overwritten by a second init."""
    with pytest.raises(CustodyError, match="already"):
        RtccHome.create(home.path, SETTINGS, NOW)


@pytest.mark.needs("age")
def test_stock_age_opens_what_is_encrypted_to_the_evidence_key(home, tmp_path):
    """The identity file is one that the `age` program reads."""
    recipient = pyrage.x25519.Recipient.from_str(home.recipients()["evidence"])
    (tmp_path / "note.age").write_bytes(pyrage.encrypt(b"hello", [recipient]))
    opened = subprocess.run(
        ["age", "--decrypt", "--identity", home.path / "age" / "evidence", tmp_path / "note.age"],
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert opened.stdout == b"hello"
    assert str(pyrage.x25519.Identity.from_str(home.load_identity()).to_public()) == str(recipient)


def test_a_passphrase_guards_every_private_key(tmp_path):
    """Without it, or with another, no person's key, no root, no authority and no identity opens."""
    home = RtccHome.create(tmp_path / "home", SETTINGS, NOW, passphrase=b"correct horse battery")
    home.people.load_key("operator-1", Role.OPERATOR)
    home.load_identity("escrow")
    for passphrase in (None, b"another horse battery"):
        locked = RtccHome.load(home.path, passphrase)
        roots = locked.roots.sets()[0]
        for load, *arguments in (
            (locked.people.load_key, "operator-1", Role.OPERATOR),
            (locked.roots.load, roots),
            (locked.load_ca,),
        ):
            with pytest.raises(CustodyError):
                load(*arguments)
    # age stretches passphrases for a second and more: one attempt is enough.
    with pytest.raises(CustodyError, match="encrypted"):
        RtccHome.load(home.path).load_identity()


def test_a_person_signs_in_their_own_role_only(home):
    """A supervisor's key does not come out as an operator's."""
    with pytest.raises(CustodyError, match="operator"):
        home.people.load_key("supervisor-1", Role.OPERATOR)
    with pytest.raises(CustodyError):
        home.people.load_key("nobody", Role.OPERATOR)


def test_a_person_who_lost_a_key_gets_another(home):
    """Revoking puts the old key aside permanently and frees the name."""
    old = home.people.find("operator-1")
    assert home.people.revoke("operator-1") == old.kid
    assert home.people.find("operator-1") is None
    new = home.people.add("operator-1", Role.OPERATOR, NOW)
    assert new.kid != old.kid
    assert home.people.revoked() == (old.kid,)
    assert home.people.former() == (old,)
    with pytest.raises(CustodyError):
        home.people.revoke(old.kid)


def test_a_key_file_that_others_can_read_is_not_used(home):
    """Mode 0644 on a root is an error, not a warning."""
    path = home.roots.path(1, 1)
    path.chmod(0o644)
    with pytest.raises(CustodyError, match="open to others"):
        load_signing_key(path, None)


def test_roots_that_are_offline_are_read_from_where_they_are(home, tmp_path):
    """With two of three root files taken away, the threshold is met from other media only."""
    roots = home.roots.sets()[0]
    away = []
    for index in (1, 2):
        away.append(tmp_path / f"root-{index}.pem")
        home.roots.path(1, index).rename(away[-1])
    with pytest.raises(CustodyError, match="too few root keys"):
        home.roots.load(roots)
    assert len(home.roots.load(roots, away)) == 2
    # The same root twice is one root.
    with pytest.raises(CustodyError, match="too few root keys"):
        home.roots.load(roots, [home.roots.path(1, 3), home.roots.path(1, 3)])


BAD_NAMES = {"empty": "", "a path": "../ada", "a space": "ada l", "capitals": "Ada", "too long": "a" * 65}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_name_that_no_gateway_would_take_is_refused_here(home, name):
    """A person's and an RTCC's name have the form that PROTOCOL gives them."""
    with pytest.raises(CustodyError):
        home.people.add(name, Role.OPERATOR, NOW)
    with pytest.raises(ConfigError):
        RtccHome.create(home.path / "other", dataclasses.replace(SETTINGS, iss=name), NOW)


def test_a_folder_that_is_no_home_is_named(tmp_path):
    """Load of an empty, a broken and a newer home ends in words."""
    with pytest.raises(ConfigError, match="not an RTCC's home"):
        RtccHome.load(tmp_path)
    (tmp_path / "rtcc.json").write_text("{}")
    with pytest.raises(ConfigError, match="lacks a member"):
        RtccHome.load(tmp_path)
    (tmp_path / "rtcc.json").write_text('{"edge_agent_rtcc": 2}')
    with pytest.raises(ConfigError, match="another version"):
        RtccHome.load(tmp_path)


def test_a_short_passphrase_is_refused(tmp_path):
    """A passphrase that can be guessed is worse than an honest plain file."""
    path = tmp_path / "passphrase"
    path.write_text("short\n")
    path.chmod(0o600)
    with pytest.raises(CustodyError, match="shorter"):
        read_passphrase(path)
    path.write_text("long enough a text\n")
    assert read_passphrase(path) == b"long enough a text"
    assert read_passphrase(None) is None

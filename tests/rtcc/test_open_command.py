"""``rtcc open --file`` as a court types it: a file, a key, perhaps thumbprints, and nothing of a crime center."""

import json
import os

import pyrage
import pytest

from edge_agent.custody.owner_identity import make_identity
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.rtcc.cli import main
from edge_agent.rtcc.office.enrol import enrol
from tests.support.footage import encode, records, window
from tests.support.release import House

from .conftest import NOW

COURT = pyrage.x25519.Identity.generate()
SECRET = "a passphrase that is long enough"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    house = House(folder)
    house.record(records(encode(30)))
    _, whole = house.export(house.order(window(0, 2), recipients=[str(COURT.to_public())]))
    return house, whole


@pytest.fixture
def court(made, tmp_path, monkeypatch, capsys):
    """Run ``rtcc open`` in a folder with the file and the key alone; return code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RTCC_HOME", raising=False)
    (tmp_path / "case.age").write_bytes(made[1])
    (tmp_path / "key.txt").write_text(f"# created: today\n# public key: {COURT.to_public()}\n{COURT}\n")

    def run(*words):
        code = main(["open", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


FILE = ("--file", "case.age", "--identity", "key.txt")


def test_a_stranger_needs_a_file_and_a_key(court, tmp_path):
    """It opens into a folder beside it, is found whole, and nothing of it is said to be proved to be that house's."""
    code, out, _ = court(*FILE)
    assert code == os.EX_OK
    assert "ATTESTED BY THE KEYS IN THE BUNDLE ONLY" in out
    assert "the owner's own export" in out
    assert (tmp_path / "case-opened/clips/001.mp4").exists()
    assert (tmp_path / "case-opened/progressive/001.mp4").exists()


def test_pinned_thumbprints_prove(court, made):
    """With all three told over another way, nothing rests on the bundle's word for its own keys."""
    prints = [thumbprint(getattr(made[0], name).public_key()) for name in ("gateway", "recorder", "owner")]
    code, out, _ = court(*FILE, *(f"--pin={each}" for each in prints), "--json", "--out", "opened")
    told = json.loads(out)
    assert (code, told["ok"], told["kind"], told["unpinned"]) == (os.EX_OK, True, "export", [])
    assert {"order", "pictures"} <= {each["part"] for each in told["findings"] if each["verdict"] == "proved"}


def test_another_thumbprint_fails(court):
    """Another house's bundle is not this one's."""
    code, out, _ = court(*FILE, "--pin=" + "x" * 43)
    assert code == os.EX_DATAERR
    assert "FAILED" in out


def test_an_identity_under_a_passphrase_is_asked_for_it(court, made, tmp_path):
    """As an owner's identity is; a wrong passphrase is told."""
    content, recipient = make_identity(SECRET)
    _, whole = made[0].export(made[0].order(window(0, 1), recipients=[recipient]))
    (tmp_path / "own.age").write_bytes(whole)
    (tmp_path / "owner.age").write_bytes(content)
    for name, secret in (("right", SECRET), ("wrong", SECRET + "!")):
        (tmp_path / name).write_text(secret + "\n")
        (tmp_path / name).chmod(0o600)
    words = ("--file", "own.age", "--identity", "owner.age", "--passphrase-file")
    assert court(*words, "right")[0] == os.EX_OK
    code, _, err = court(*words, "wrong")
    assert code == os.EX_NOPERM
    assert "does not open" in err


def test_what_age_decrypted_needs_no_key(court, made, tmp_path):
    """A ZIP is checked as it is."""
    (tmp_path / "case.zip").write_bytes(pyrage.decrypt(made[1], [COURT]))
    code, out, _ = court("--file", "case.zip")
    assert code == os.EX_OK
    assert "decrypted before it came here" in out


def test_an_enrolled_gateways_export_is_verified_with_its_pins(court, home, made, applicant):
    """If the crime center knows the house, its own pins count, and another house's export fails by them."""
    house, _ = made
    gateway = enrol(home, applicant.csr, NOW).gateway
    words = ("--file", "case.age", "--identity", "key.txt", "--home", str(home.path), "--gateway", gateway, "--json")
    code, out, _ = court(*words)
    assert code == os.EX_DATAERR
    assert [each["part"] for each in json.loads(out)["findings"] if each["verdict"] == "failed"] == ["keys"]
    assert house.gateway.public_key() != applicant.gateway.public_key()


WORDS = {
    "no key and no home": (("--file", "case.age"), "which home?"),
    "no such file": (("--file", "nothing.age", "--identity", "key.txt"), "no such file"),
    "no thumbprint": ((*FILE, "--pin=door"), "not a thumbprint"),
    "pins beside a gateway": ((*FILE, "--pin=" + "x" * 43, "--gateway", "g" * 22), "from the home"),
    "a pin without a file": (("--pin=" + "x" * 43,), "go with --file"),
}


@pytest.mark.parametrize(("words", "says"), WORDS.values(), ids=WORDS.keys())
def test_words_that_do_not_fit_are_told(court, words, says):
    """A missing part is named."""
    code, _, err = court(*words)
    assert code == os.EX_USAGE
    assert says in err

"""What is taken for an age file: what the format says, to the letter, whatever the library would take."""

import subprocess
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.errors import EvidenceError
from edge_agent.verifier.open import decrypt
from tests.support import age_files
from tests.support.age_files import BAD, GOOD, Draft

LENIENT = {"stanza_missing_body", "stanza_missing_final_line"}
"""What the library takes, and must not."""


def write(made: Draft | bytes, folder: Path) -> tuple[Path, str]:
    """Write a file; return it, and the identity that it is said to be for."""
    key = made.key if isinstance(made, Draft) else X25519PrivateKey.generate()
    path = folder / "file.age"
    path.write_bytes(made.encode() if isinstance(made, Draft) else made)
    return path, age_files.identity_of(key)


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_what_the_format_allows_is_taken(tmp_path, make):
    """Unknown stanzas and empty bodies belong to the format."""
    made = make()
    path, identity = write(made, tmp_path)
    decrypt(path, b"", identity, tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == made.plain


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_what_the_format_forbids_is_refused(tmp_path, make):
    """Each of them is a finding, never another error, and leaves nothing behind."""
    path, identity = write(make(), tmp_path)
    with pytest.raises(EvidenceError):
        decrypt(path, b"", identity, tmp_path / "plain")
    assert {each.name for each in tmp_path.iterdir()} == {"file.age"}


@pytest.mark.parametrize("name", sorted(LENIENT))
def test_the_library_alone_would_take_it(tmp_path, name):
    """Why the header is read here first: when this fails, the library became strict."""
    made = BAD[name]()
    assert pyrage.decrypt(made.encode(), [pyrage.x25519.Identity.from_str(age_files.identity_of(made.key))])


@pytest.mark.peer
@pytest.mark.needs("age")
@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_age_itself_is_of_the_same_mind(tmp_path, name):
    """The Go program takes and refuses the very same files."""
    path, identity = write((GOOD | BAD)[name](), tmp_path)
    key = tmp_path / "key.txt"
    key.write_text(identity + "\n")
    done = subprocess.run(["age", "-d", "-i", key, path], capture_output=True, timeout=30, check=False)
    assert (done.returncode == 0) == (name in GOOD), done.stderr

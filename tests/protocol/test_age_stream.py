"""What is written is an age file like any other: for every length, in pieces of any size, to every recipient."""

import io
import os
from pathlib import Path

import pyrage
import pytest

from edge_agent.errors import EvidenceError
from edge_agent.protocol.age_stream import find_header_end, seal_stream
from tests.peers import age as stock

CHUNK = 64 << 10
"""Of age's payload."""
LENGTHS = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK, 4 * CHUNK + 1, 9 * CHUNK, 9 * CHUNK + 77]


def cut(data: bytes, size: int) -> list[memoryview]:
    """The same bytes in pieces."""
    return [memoryview(data)[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1000, CHUNK, 3 * CHUNK + 5], ids=["small", "a chunk", "odd"])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_recipient_opens_it(length, size):
    """No length, and no place where two pieces meet, makes another file of it."""
    identities = [pyrage.x25519.Identity.generate() for _ in range(3)]
    data, out = os.urandom(length), io.BytesIO()
    header = seal_stream(cut(data, size), [str(each.to_public()) for each in identities], out)
    assert find_header_end(header) == len(header)
    for identity in identities:
        assert pyrage.decrypt(header + out.getvalue(), [identity]) == data


@pytest.mark.peer
@pytest.mark.parametrize("length", [1, CHUNK, 9 * CHUNK + 77])
def test_the_stock_program_opens_it(tmp_path: Path, length):
    """A court's office will open it with Debian's ``age``."""
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(str(identity))
    data = os.urandom(length)
    with (tmp_path / "whole.age").open("wb") as out:
        seal_stream(cut(data, 5000), [str(identity.to_public())], out, header_inside=True)
    assert stock.decrypt(tmp_path / "whole.age", passphrase="", identity=tmp_path / "key") == data


def test_header_and_payload_are_of_one_file():
    """A header opens its own payload and no other, though both were made for the same recipient."""
    identity = pyrage.x25519.Identity.generate()
    files = []
    for _ in range(2):
        out = io.BytesIO()
        header = seal_stream([b"the same"], [str(identity.to_public())], out)
        files.append((header, out.getvalue()))
    (header, payload), (other_header, other_payload) = files
    assert payload[16:] != other_payload[16:]
    assert header != other_header
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(header + other_payload, [identity])


ALTERATIONS = {"a chunk away": lambda raw: raw[: -CHUNK - 16], "a byte": lambda raw: raw[:99] + b"\0" + raw[100:]}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_an_altered_payload_does_not_open(alter):
    """Cutting at the end of a chunk is seen as well: the last one says that it is."""
    identity, out = pyrage.x25519.Identity.generate(), io.BytesIO()
    header = seal_stream([bytes(3 * CHUNK)], [str(identity.to_public())], out)
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(header + alter(out.getvalue()), [identity])


def test_a_recipient_that_is_none_is_refused():
    """Nothing is sealed to a key of another kind, with a typing error, or that everybody has."""
    good = str(pyrage.x25519.Identity.generate().to_public())
    typing_error = good[:-1] + ("q" if good[-1] != "q" else "p")
    # Bech32 of 32 zero bytes: a point of low order, with which the shared secret is zero whoever multiplies.
    low_order = "age1" + "q" * 52 + "5cu47z"
    for recipient in ("", "ssh-ed25519 AAAA", typing_error, low_order):
        with pytest.raises(EvidenceError, match="no age public key"):
            seal_stream([b"x"], [recipient], io.BytesIO())

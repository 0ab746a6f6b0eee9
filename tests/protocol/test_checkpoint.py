"""Leaves, C2SP signed notes and proofs, against their specifications and against forgers."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import EvidenceError
from edge_agent.protocol import merkle
from edge_agent.protocol.checkpoint import (
    MAX_LEAF_BYTES,
    Checkpoint,
    encode_growth,
    encode_leaf,
    encode_proof,
    find_note,
    ledger_origin,
    note_key_id,
    parse_leaf,
    sign_checkpoint,
    verify_checkpoint,
    verify_growth,
    verify_proof,
)
from edge_agent.units import UtcNs

ORIGIN = ledger_origin("gw-1")
KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
SALT = b"\x01" * 16
AT = UtcNs(1_790_000_000_123_000_000)
SIZE = 256

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def tree(leaf: bytes, index: int, size: int = SIZE) -> tuple[list[bytes], bytes]:
    """Return the path and root of a tree in which one leaf is ours."""
    nodes: dict[merkle.Node, bytes] = {}
    for number in range(size):
        hashed = merkle.leaf_hash(leaf if number == index else b"%d" % number)
        nodes.update(merkle.append(number, hashed, lambda level, at: nodes[level, at]))

    def read(level: int, at: int) -> bytes:
        return nodes[level, at]

    return merkle.inclusion_proof(index, size, read), merkle.root(size, read)


LEAF = encode_leaf("decision", AT, {"jti": "x", "reasons": ["hours"]}, SALT)
PATH, ROOT = tree(LEAF, 77)
NOTE = sign_checkpoint(Checkpoint(ORIGIN, SIZE, ROOT), KEY)
PROOF = encode_proof(77, LEAF, PATH, NOTE)


def test_a_leaf_is_canonical_json() -> None:
    """The bytes of a leaf are those of the example in docs/ledger.md."""
    assert LEAF == (
        b'{"at":"2026-09-21T14:13:20.123Z","entry":{"jti":"x","reasons":["hours"]},"kind":"decision",'
        b'"salt":"AQEBAQEBAQEBAQEBAQEBAQ==","v":1}'
    )


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_any_plain_entry_comes_back(entry: dict[str, object]) -> None:
    """A reader gets the entered members back, for any JSON without floats."""
    assert parse_leaf(encode_leaf("decision", AT, entry, SALT)).entry == entry


WRONG_ENTRIES: dict[str, Any] = {
    "a float": ("decision", {"x": 0.5}),
    "a float deep inside": ("decision", {"x": [{"y": (1.0,)}]}),
    "bytes": ("decision", {"x": b""}),
    "a number as a name": ("decision", {1: 2}),
    "a kind in capitals": ("Decision", {}),
    "no kind": ("", {}),
    "too large": ("decision", {"x": "x" * MAX_LEAF_BYTES}),
    "half a surrogate": ("decision", {"x": "\ud800"}),
}


@pytest.mark.parametrize(("kind", "entry"), WRONG_ENTRIES.values(), ids=WRONG_ENTRIES)
def test_an_entry_without_one_spelling_is_refused(kind: str, entry: dict[str, object]) -> None:
    """Only what has exactly one canonical form is entered."""
    with pytest.raises(ValueError):
        encode_leaf(kind, AT, entry, SALT)


WRONG_LEAVES: dict[str, Any] = {
    "not JSON": b"{",
    "a space": LEAF.replace(b'":"', b'": "', 1),
    "another order": b'{"v":1,' + LEAF[1:].replace(b',"v":1', b""),
    "a member twice": LEAF.replace(b'"kind":', b'"kind":"x","kind":'),
    "a member more": LEAF.replace(b'"v":1', b'"v":1,"w":1'),
    "a newer version": LEAF.replace(b'"v":1', b'"v":2'),
    "a float": LEAF.replace(b'"x"', b"1.0"),
    "no salt": LEAF.replace(b"AQEBAQEBAQEBAQEBAQEBAQ==", b""),
    "an entry that is a list": LEAF.replace(b'{"jti":"x","reasons":["hours"]}', b"[]"),
    "deep nesting": b"[" * 100_000,
    "not UTF-8": LEAF.replace(b"hours", b"\xff"),
    "too large": b" " * (MAX_LEAF_BYTES + 1),
}


@pytest.mark.parametrize("raw", WRONG_LEAVES.values(), ids=WRONG_LEAVES)
def test_a_leaf_in_another_spelling_is_refused(raw: bytes) -> None:
    """There is one byte string per entry; every other is an error, not an equivalent."""
    with pytest.raises(EvidenceError):
        parse_leaf(raw)


def test_the_published_note_verifies() -> None:
    """The example of C2SP's signed-note specification verifies with its key."""
    # Published with golang.org/x/mod/sumdb/note, with the verifier key "PeterNeumann+c74f20a3+ARpc2QcU…".
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:])
    assert note_key_id("PeterNeumann", public).hex() == "c74f20a3"
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    signature = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    assert signature[:4].hex() == "c74f20a3"
    public.verify(signature[4:], text.encode())


def test_a_note_has_the_c2sp_form() -> None:
    """Origin, size and root, an empty line, one signature line that begins with an em dash."""
    lines = NOTE.split("\n")
    assert lines[:2] == [ORIGIN, "256"]
    assert base64.b64decode(lines[2]) == ROOT
    assert lines[3] == ""
    assert lines[4].startswith(f"— {ORIGIN} ")
    assert lines[5:] == [""]
    assert verify_checkpoint(NOTE, ORIGIN, KEY.public_key()) == Checkpoint(ORIGIN, SIZE, ROOT)


def test_a_witness_signature_is_passed_over() -> None:
    """A note that others have signed as well still verifies by the gateway's key, before or behind theirs."""
    witness = sign_checkpoint(Checkpoint("example.com/witness", SIZE, ROOT), OTHER_KEY).split("\n")[4]
    head, _, own = NOTE.partition("\n\n")
    for note in (f"{head}\n\n{witness}\n{own}", f"{head}\n\n{own}{witness}\n"):
        assert verify_checkpoint(note, ORIGIN, KEY.public_key()).size == SIZE


WRONG_NOTES: dict[str, Any] = {
    "another size": NOTE.replace("\n256\n", "\n512\n"),
    "leading zero": NOTE.replace("\n256\n", "\n0256\n"),
    "an extension line": NOTE.replace("\n\n", "\nmore\n\n"),
    "no signature": NOTE.split("\n\n")[0] + "\n\n",
    "signature cut": NOTE[:-9] + "\n",
    "no last newline": NOTE[:-1],
    "plain dash": NOTE.replace("—", "-"),
    "another key": sign_checkpoint(Checkpoint(ORIGIN, SIZE, ROOT), OTHER_KEY),
    "another ledger": sign_checkpoint(Checkpoint("edge-agent/gw-2", SIZE, ROOT), KEY),
    "root too short": sign_checkpoint(Checkpoint(ORIGIN, SIZE, ROOT[1:]), KEY),
    "too many leaves": sign_checkpoint(Checkpoint(ORIGIN, 1 << 62 | 256, ROOT), KEY),
    "too large": NOTE + "x" * 5000,
    "empty": "",
}


@pytest.mark.parametrize("note", WRONG_NOTES.values(), ids=WRONG_NOTES)
def test_a_wrong_note_is_refused(note: str) -> None:
    """A note with any change is refused with a plain error."""
    with pytest.raises(EvidenceError):
        verify_checkpoint(note, ORIGIN, KEY.public_key())


def test_a_proof_survives_json_and_verifies() -> None:
    """A proof carries the entry, its place and the head, and needs only the gateway's public key."""
    proved = verify_proof(json.loads(json.dumps(PROOF)), ORIGIN, KEY.public_key())
    assert (proved.index, proved.leaf.kind, proved.leaf.at) == (77, "decision", AT)
    assert proved.leaf.entry == {"jti": "x", "reasons": ["hours"]}
    assert proved.checkpoint.size == SIZE


WRONG_PROOFS: dict[str, Any] = {
    "another index": {"index": 78},
    "index true": {"index": True},
    "another leaf": {"leaf": LEAF.decode().replace("hours", "houra")},
    "leaf of bytes": {"leaf": None},
    "a path cut": {"path": encode_proof(77, LEAF, PATH[:-1], NOTE)["path"]},
    "a path of numbers": {"path": [1]},
    "a path of other text": {"path": ["*"]},
    "a path too long": {"path": ["AA=="] * 99},
    "a member more": {"more": 1},
    "half a surrogate": {"leaf": "\ud800"},
    "a checkpoint that is not padded": {
        "checkpoint": sign_checkpoint(Checkpoint(ORIGIN, 78, tree(LEAF, 77, 78)[1]), KEY),
        "path": encode_proof(77, LEAF, tree(LEAF, 77, 78)[0], "")["path"],
    },
}


@pytest.mark.parametrize("change", WRONG_PROOFS.values(), ids=WRONG_PROOFS)
def test_a_changed_proof_is_refused(change: dict[str, object]) -> None:
    """Any member changed, missing, more, or of another kind: refused, never a traceback."""
    with pytest.raises(EvidenceError):
        verify_proof(PROOF | change, ORIGIN, KEY.public_key())


@pytest.mark.parametrize("value", [None, [], {}, "x", {"index": 1}])
def test_what_is_no_proof_is_refused(value: object) -> None:
    """Any JSON value may come; only a proof is taken."""
    with pytest.raises(EvidenceError):
        verify_proof(value, ORIGIN, KEY.public_key())


GROWTH = encode_growth(SIZE, [], NOTE)
WRONG_GROWTHS: dict[str, Any] = {
    "from another size": {"from_size": 512},
    "from size true": {"from_size": True},
    "a hash more": {"path": encode_growth(SIZE, [ROOT], "")["path"]},
    "a path of numbers": {"path": [1]},
    "a path of other text": {"path": ["*"]},
    "a path too long": {"path": ["AA=="] * 200},
    "a member more": {"more": 1},
    "a note of another key": {"checkpoint": sign_checkpoint(Checkpoint(ORIGIN, SIZE, ROOT), OTHER_KEY)},
    "a note that is not padded": {"checkpoint": sign_checkpoint(Checkpoint(ORIGIN, SIZE + 1, ROOT), KEY)},
    "another root": {"checkpoint": sign_checkpoint(Checkpoint(ORIGIN, SIZE, PATH[0]), KEY)},
}


def test_a_ledger_that_has_not_grown_proves_it() -> None:
    """The same checkpoint twice needs no path, and nothing else passes for it."""
    assert verify_growth(json.loads(json.dumps(GROWTH)), NOTE, ORIGIN, KEY.public_key())[1].root == ROOT


@pytest.mark.parametrize("change", WRONG_GROWTHS.values(), ids=WRONG_GROWTHS)
def test_a_changed_growth_proof_is_refused(change: dict[str, object]) -> None:
    """Any member changed, more, or of another kind: refused, never a traceback."""
    with pytest.raises(EvidenceError):
        verify_growth(GROWTH | change, NOTE, ORIGIN, KEY.public_key())


def test_a_checkpoint_is_found_in_what_people_keep() -> None:
    """The note itself or a proof, which holds one; anything else is refused in words."""
    assert find_note(NOTE) == find_note(json.dumps(PROOF)) == find_note(json.dumps(GROWTH)) == NOTE
    for text in ("{", "{}", '{"a":' * 100_000):
        with pytest.raises(EvidenceError):
            find_note(text)


def test_a_gateway_id_that_would_break_the_note_is_refused() -> None:
    """No line break, space or plus sign gets into an origin."""
    for gateway in ("", "a b", "a\nb", "a+b"):
        with pytest.raises(ValueError):
            ledger_origin(gateway)

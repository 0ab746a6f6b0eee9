"""Signed messages, notes and proofs as other implementations read and write them: jose, go-jose, Go's note and tlog."""

import json
import random
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.base64url import encode_b64, encode_b64url, parse_b64url
from edge_agent.errors import DenialError, EvidenceError
from edge_agent.ledger import table as ledger
from edge_agent.protocol import checkpoint, jws
from edge_agent.protocol.public_keys import public_jwk, thumbprint
from edge_agent.units import UtcNs

JOSE = Path(__file__).parents[1] / "peers" / "jose"
TYP = "rtcc-request+jws"
PAYLOAD = {"jti": "x" * 22, "purpose": "Überfall an der Ecke", "lat": 40.7128}
KEYS = {
    "an operator's": Ed25519PrivateKey.generate(),
    "a supervisor's": ec.generate_private_key(ec.SECP256R1()),
    "a dispatcher's": Ed25519PrivateKey.generate(),
}
PUBLIC = {thumbprint(key.public_key()): key.public_key() for key in KEYS.values()}
JWKS = {kid: public_jwk(key) for kid, key in PUBLIC.items()}


def accept(raw: bytes) -> bool:
    """Tell whether we take a message, every signature of it."""
    try:
        jws.verify(jws.parse(raw, TYP), PUBLIC)
    except DenialError:
        return False
    return True


def run_jose(cases: list) -> list:
    """Run cases through node's jose."""
    if not shutil.which("node") or not (JOSE / "node_modules/jose").exists():
        pytest.skip("npm's packages are not installed: scripts/test installs them")
    done = subprocess.run(
        ["node", JOSE / "verify.js"], input=json.dumps(cases), capture_output=True, text=True, timeout=60, check=True
    )
    return list(json.loads(done.stdout))


def as_cases(messages) -> list:
    return [{"message": raw.decode(), "keys": JWKS} for raw in messages]


def forge(raw: bytes, index: int) -> bytes:
    """Change one bit in one signature."""
    general = json.loads(raw)
    signature = bytearray(parse_b64url(general["signatures"][index]["signature"]))
    signature[7] ^= 1
    general["signatures"][index]["signature"] = encode_b64url(bytes(signature))
    return json.dumps(general).encode()


WHOLE = jws.sign(TYP, PAYLOAD, list(KEYS.values()))
FORGED = {
    "the operator's signature": (forge(WHOLE, 0), [False, True, True]),
    "the supervisor's signature": (forge(WHOLE, 1), [True, False, True]),
    "the dispatcher's signature": (forge(WHOLE, 2), [True, True, False]),
    "another payload": (
        WHOLE.replace(encode_b64url(jws.encode_json(PAYLOAD)).encode(), encode_b64url(b'{"jti":"y"}').encode()),
        [False, False, False],
    ),
}


@pytest.mark.peer
def test_jose_verifies_every_signature_of_ours():
    """Each by itself, Ed25519 by its name of RFC 9864 and ES256."""
    assert accept(WHOLE)
    assert run_jose(as_cases([WHOLE])) == [{"each": [True, True, True], "general": True}]


@pytest.mark.peer
def test_jose_finds_each_forged_signature_if_each_is_asked_for():
    """And generalVerify takes a request of which one signature alone holds: docs/evidence.md says so."""
    found = run_jose(as_cases(raw for raw, _ in FORGED.values()))
    assert [each["each"] for each in found] == [expected for _, expected in FORGED.values()]
    assert [each["general"] for each in found] == [True, True, True, False]
    assert not any(accept(raw) for raw, _ in FORGED.values())


@pytest.mark.peer
def test_we_take_what_jose_signs():
    """The same headers, the same bytes under the signature."""
    headers = [{"alg": jws.alg_of(key), "kid": thumbprint(key.public_key()), "typ": TYP} for key in KEYS.values()]
    private = {
        thumbprint(key.public_key()): public_jwk(key.public_key()) | {"d": encode_b64url(private_bytes(key))}
        for key in KEYS.values()
    }
    made = run_jose([{"payload": json.dumps(PAYLOAD), "headers": headers, "keys": private}])[0].encode()
    assert accept(made)
    assert jws.parse(made, TYP).payload == PAYLOAD


def private_bytes(key) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.private_bytes_raw()
    return key.private_numbers().private_value.to_bytes(32, "big")


def alter_many(raw: bytes, count: int) -> list[bytes]:
    """Change letters at random, such that the message stays text."""
    chosen, letters = random.Random(20), b'ABCabc019_-{}[]",: '
    made = []
    for _ in range(count):
        altered = bytearray(raw)
        for _ in range(chosen.choice((1, 1, 2))):
            altered[chosen.randrange(len(altered))] = chosen.choice(letters)
        made.append(bytes(altered))
    return made


@pytest.mark.peer
def test_what_we_take_jose_takes():
    """Of a thousand altered messages, none that we take fails there."""
    altered = [WHOLE, *alter_many(WHOLE, 1000)]
    taken = [raw for raw in altered if accept(raw)]
    assert len(taken) < 100
    assert all(all(each["each"]) for each in run_jose(as_cases(taken)))


@pytest.mark.city
def test_go_jose_is_of_the_same_mind(go_programs):
    """Every signature of ours holds, each forged one is found, and what we take of altered messages holds there."""
    run = go_programs("jose")
    taken = [raw for raw in alter_many(WHOLE, 1000) if accept(raw)]
    messages = [WHOLE, *taken, *(raw for raw, _ in FORGED.values())]
    found = json.loads(run(stdin=as_cases(messages)))
    assert found[: 1 + len(taken)] == [[True, True, True]] * (1 + len(taken))
    assert found[1 + len(taken) :] == [expected for _, expected in FORGED.values()]


# Checkpoints and proofs (C2SP signed-note and tlog-checkpoint, RFC 6962).

GATEWAY = "AAAAAAAAAAAAAAAAAAAAAA"
ORIGIN = checkpoint.ledger_origin(GATEWAY)
KEY = Ed25519PrivateKey.generate()


def vkey(key) -> str:
    """Write a verifier's key as C2SP signed-note has it: name, key id, algorithm and key."""
    return f"{ORIGIN}+{checkpoint.note_key_id(ORIGIN, key).hex()}+{encode_b64(bytes([1]) + key.public_bytes_raw())}"


@pytest.fixture(scope="module")
def cases():
    """A ledger that grew, and what its proofs look like to another program."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    ledger.create_tables(connection)
    connection.execute("BEGIN")
    notes, proofs = [], []
    for number in range(600):
        index = ledger.append(connection, "note", {"n": number, "text": "Straße"}, UtcNs(10**18 + number))
        if number % 190 == 77:
            notes.append(ledger.checkpoint(connection, ORIGIN, KEY, UtcNs(10**18 + number)))
            proofs.append(ledger.prove(connection, index))
    made = [
        {"note": each["checkpoint"], "vkey": vkey(KEY.public_key()), "index": each["index"], "leaf": each["leaf"],
         "path": each["path"]}
        for each in proofs
    ]  # fmt: skip
    for note in notes:
        known = checkpoint.verify_checkpoint(note, ORIGIN, KEY.public_key())
        growth = ledger.prove_growth(connection, known.size)
        made.append(
            {"note": growth["checkpoint"], "vkey": vkey(KEY.public_key()), "old_size": known.size,
             "old_root": encode_b64(known.root), "path": growth["path"]}
        )  # fmt: skip
    return made


@pytest.mark.city
def test_gos_note_and_tlog_verify_our_ledger(go_programs, cases):
    """Signatures, proofs of entries and proofs of growth; and each of them altered is refused."""
    run = go_programs("checkpoint")
    assert json.loads(run(stdin=cases)) == [""] * len(cases)
    other = vkey(Ed25519PrivateKey.generate().public_key())
    altered = [
        *({**each, "vkey": other} for each in cases),
        *({**each, "note": each["note"].replace("\n", "\n1", 1)} for each in cases),
        *({**each, "path": each["path"][::-1]} for each in cases if len(set(each["path"])) > 1),
        *({**each, "path": [encode_b64(bytes(32)), *each["path"][1:]]} for each in cases if each["path"]),
        *({**each, "leaf": each["leaf"].replace("text", "test")} for each in cases if "leaf" in each),
    ]
    assert all(json.loads(run(stdin=altered)))


def test_we_are_of_the_same_mind(cases):
    """What the test above hands over holds here, too."""
    for each in cases:
        if "leaf" in each:
            proof = {name: each[name] for name in ("index", "leaf", "path")} | {"checkpoint": each["note"]}
            checkpoint.verify_proof(proof, ORIGIN, KEY.public_key())
            with pytest.raises(EvidenceError):
                checkpoint.verify_proof(
                    proof | {"leaf": each["leaf"].replace("text", "test")}, ORIGIN, KEY.public_key()
                )

"""PROTOCOL 7 and 8 are true: the worked example is made here again, and every table has the members of the code."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.protocol import jws
from edge_agent.protocol.answer import MAX_ANSWER_BYTES, MEMBERS, STEP_BYTES, TYP, Answer, Status, encode_answer
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import parse_rfc3339

PROTOCOL = Path(__file__).parents[2] / "docs" / "PROTOCOL.md"
# RFC 8032, 7.1, test 1.
KEY = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)


@pytest.fixture
def text():
    return PROTOCOL.read_text()


def test_the_worked_answer_is_what_the_code_makes(text):
    """Payload, digest, header, signature and size stand in the specification as they are."""
    at = parse_rfc3339("2026-05-04T21:40:00Z")
    raw = encode_answer(
        Answer("EXAMPLEgatewayEXAMPLE0", "rtcc.example-city", "EXAMPLErequestEXAMPLE0", 0, at, Status.DECLINED), KEY
    )
    payload = jws.parse(raw, TYP).payload_bytes
    assert thumbprint(KEY.public_key()) in text
    assert re.sub(r'"0+"', '"000…"', payload.decode()) in text
    assert f"{len(payload)} bytes, SHA-256 `{hashlib.sha256(payload).hexdigest()}`" in text
    assert f"`{json.loads(raw)['signatures'][0]['signature']}`" in text
    assert f"{len(raw)} bytes, as every refusal" in text


def test_the_tables_have_the_members_of_the_code(text):
    """Statuses, their details and the limits are those that are enforced."""
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ?(?:yes)? ?\| (.*) \|$", text, re.MULTILINE))
    for status in Status:
        named = set(re.findall(r"`([a-z_]+)`", rows[status.value]))
        assert named == set(MEMBERS[status]), status
        assert bool(re.search(rf"^\| `{status.value}` \| yes ", text, re.MULTILINE)) == status.is_final
    assert f"At most {MAX_ANSWER_BYTES >> 10} KiB as a JWS" in text
    assert f"multiple of {STEP_BYTES} bytes" in text

"""The manifest's published form, and that other programs agree with ours about signature and envelope."""

import base64
import json
import subprocess
import zipfile
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge_agent.protocol import manifest as names
from tests.support.footage import encode, records, window
from tests.support.release import House

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle as a stock age file, and its house."""
    folder = tmp_path_factory.mktemp("made")
    house = House(folder)
    house.record(records(encode(20)))
    info, payload = house.build(house.grant(window(0, 2)))
    path = folder / "bundle.age"
    path.write_bytes(info.age_header + payload)
    return house, path


@pytest.mark.parametrize("typ", names.SCHEMAS)
def test_published_schemas_are_ours(typ):
    """docs/*manifest.schema.json are what the program reads and writes; ``encode_schema`` renews them."""
    assert (DOCS / names.SCHEMAS[typ][0]).read_text() == names.encode_schema(typ)


@pytest.mark.peer
@pytest.mark.needs("age")
def test_stock_age_opens_a_bundle(made, tmp_path):
    """Header ‖ payload is an ordinary age file, and what is in it an ordinary ZIP."""
    house, path = made
    identity = tmp_path / "identity"
    identity.write_text(str(house.evidence))
    target = tmp_path / "bundle.zip"
    subprocess.run(["age", "--decrypt", "-i", identity, "-o", target, path], check=True, timeout=30)
    assert zipfile.ZipFile(target).testzip() is None


@pytest.mark.peer
@pytest.mark.needs("openssl")
def test_openssl_verifies_the_manifest(made, tmp_path):
    """The gateway's signature is plain Ed25519 over the JWS signing input (RFC 7515, 5.1; RFC 8037, 3.1)."""
    house, path = made
    (tmp_path / "zip").write_bytes(pyrage.decrypt(path.read_bytes(), [house.evidence]))
    signed = json.loads(zipfile.ZipFile(tmp_path / "zip").read(names.MANIFEST))
    (signature,) = signed["signatures"]
    (tmp_path / "input").write_text(f"{signature['protected']}.{signed['payload']}")
    (tmp_path / "signature").write_bytes(base64.urlsafe_b64decode(signature["signature"] + "=="))
    public = house.gateway.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(public)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "input", "-sigfile"]
    done = subprocess.run([*command, "signature"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert "Signature Verified Successfully" in done.stdout, done.stderr

"""The primitives as this program uses them, against the test vectors of Wycheproof."""

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edge_agent.base64url import encode_b64url
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import load_jwk

pytestmark = pytest.mark.city

MODULE = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
SUM = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Read a file of vectors: what Go's proxy sends, if it is the very module that is named here."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", MODULE],
        cwd=tmp_path_factory.mktemp("empty"), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    module = json.loads(done.stdout)
    assert module["Sum"] == SUM

    def read(name):
        content = json.loads((Path(module["Dir"]) / "testvectors_v1" / f"{name}.json").read_text())
        return [(group, test) for group in content["testGroups"] for test in group["tests"]]

    return read


def judge(read, name, holds):
    """Compare every verdict; return how many held and how many did not."""
    found = [(test["tcId"], holds(group, test), test["result"] == "valid") for group, test in read(name)]
    assert [each for each in found if each[1] != each[2]] == []
    return sum(each[2] for each in found), sum(not each[2] for each in found)


def verifies(name, jwk, message, signature):
    """Verify a signature as ``jws.verify`` does: by joserfc, with the registry and the keys of ours."""
    algorithm = jws._registry(1 << 16).get_alg(name)
    return algorithm.verify(message, signature, jws._jose_key(load_jwk(jwk)))


def test_ed25519(vectors):
    """Of JWS; and as notes and pages are verified, by the library's key itself."""

    def holds(group, test):
        jwk = {name: group["publicKeyJwk"][name] for name in ("kty", "crv", "x")}
        message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
        by_jose = verifies("Ed25519", jwk, message, signature)
        try:
            load_jwk(jwk).verify(signature, message)
        except InvalidSignature:
            assert not by_jose
        else:
            assert by_jose
        return by_jose

    assert min(judge(vectors, "ed25519_test", holds)) > 50


def test_es256(vectors):
    """Signatures of 64 bytes, as JWS has them."""

    def holds(group, test):
        point = bytes.fromhex(group["publicKey"]["uncompressed"])
        jwk = {"kty": "EC", "crv": "P-256", "x": encode_b64url(point[1:33]), "y": encode_b64url(point[33:])}
        return verifies("ES256", jwk, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))

    assert min(judge(vectors, "ecdsa_secp256r1_sha256_p1363_test", holds)) > 50


def test_ecdsa_of_certificates(vectors):
    """Signatures in DER, as certificates and applications have them."""

    def holds(group, test):
        key = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        try:
            key.verify(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    assert min(judge(vectors, "ecdsa_secp256r1_sha256_test", holds)) > 100


def test_chacha20_poly1305(vectors):
    """What encrypts the ring: other keys, nonces and tags than the right ones open nothing."""

    def holds(_group, test):
        key, nonce, aad, message, ciphertext, tag = (
            bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        try:
            opened = ChaCha20Poly1305(key).decrypt(nonce, ciphertext + tag, aad)
        except (InvalidTag, ValueError):
            return False
        assert ChaCha20Poly1305(key).encrypt(nonce, message, aad) == ciphertext + tag
        return opened == message

    assert min(judge(vectors, "chacha20_poly1305_test", holds)) > 50


def test_x25519(vectors):
    """What seals block keys; a point that gives zero is refused, and every other one that others call odd is right."""
    for _group, test in vectors("x25519_test"):
        private = X25519PrivateKey.from_private_bytes(bytes.fromhex(test["private"]))
        public = X25519PublicKey.from_public_bytes(bytes.fromhex(test["public"]))
        if not int(test["shared"], 16):
            with pytest.raises(ValueError, match="shared key"):
                private.exchange(public)
        else:
            assert private.exchange(public).hex() == test["shared"]

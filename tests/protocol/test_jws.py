"""Signed messages: public vectors, strict JSON, and what joserfc alone would let through."""

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as jose

from edge_agent.errors import DenialError
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import load_jwk, public_jwk, thumbprint

# RFC 8032, 7.1: seed, public key, message, signature.
RFC8032 = {
    "test 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bb"
        "e24655141438e7a100b",
    ),
    "test 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302"
        "aeeb00d291612bb0c00",
    ),
}
RFC8037_JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC7515_A3_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC7515_A3_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC8032.values(), ids=RFC8032.keys())
def test_rfc8032_vectors(seed, public, message, signature):
    """Ed25519 as this program uses it signs and verifies the RFC's examples."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    assert key.public_key().public_bytes_raw().hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    key.public_key().verify(bytes.fromhex(signature), bytes.fromhex(message))
    with pytest.raises(InvalidSignature):
        key.public_key().verify(bytes.fromhex(signature), bytes.fromhex(message) + b"!")


def test_rfc8037_key_and_thumbprint():
    """RFC 8037, A.2 and A.3: the JWK is the key of RFC 8032's first test, and this is its name."""
    key = load_jwk(RFC8037_JWK)
    assert key.public_bytes_raw().hex() == RFC8032["test 1"][1]
    assert thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert public_jwk(key) == RFC8037_JWK


def test_rfc8037_signature():
    """RFC 8037, A.4 and A.5: the signature over the JWS signing input verifies."""
    key = load_jwk(RFC8037_JWK)
    assert isinstance(key, Ed25519PublicKey)
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    key.verify(unb64(signature), b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")


def test_rfc7515_es256_example():
    """RFC 7515, A.3 verifies with the library as it is set up here, and with one letter changed it does not."""
    key = jws._jose_key(load_jwk(RFC7515_A3_JWK))
    message = {
        "payload": RFC7515_PAYLOAD,
        "signatures": [{"protected": "eyJhbGciOiJFUzI1NiJ9", "signature": RFC7515_A3_SIGNATURE}],
    }
    verified = jose.deserialize_json(message, key, registry=jws._registry(1000))
    assert json.loads(verified.payload)["iss"] == "joe"
    message["payload"] = message["payload"].replace("eyJpc3M", "eyJpc3N")
    with pytest.raises(jose.BadSignatureError):
        jose.deserialize_json(message, key, registry=jws._registry(1000))


def test_rfc7515_general_example_is_refused():
    """RFC 7515, A.6 names its keys in unprotected headers: well formed, and not for us."""
    message = {
        "payload": RFC7515_PAYLOAD,
        "signatures": [
            {
                "protected": "eyJhbGciOiJFUzI1NiJ9",
                "header": {"kid": "e9bc097a-ce51-4036-9562-d2ade882db0d"},
                "signature": RFC7515_A3_SIGNATURE,
            }
        ],
    }
    with pytest.raises(DenialError) as caught:
        jws.parse(json.dumps(message).encode(), "x+jws")
    assert caught.value.reason == "jws-unprotected-header"


def test_the_library_alone_accepts_what_the_gate_refuses():
    """Why checks 3 and 6 are ours: should one of these begin to fail here, the library has become stricter."""
    key = Ed25519PrivateKey.generate()
    jose_key = jws._jose_key(key)
    registry = jws._registry(1000)
    signed = jose.serialize_json([{"protected": {"alg": "Ed25519"}}], b"{}", jose_key, registry=registry)
    twice = {**signed, "signatures": signed["signatures"] * 2}
    assert jose.deserialize_json(twice, jose_key, registry=registry)
    unprotected = jose.serialize_json([{"header": {"alg": "Ed25519", "kid": "x"}}], b"{}", jose_key, registry=registry)
    assert jose.deserialize_json(unprotected, jose_key, registry=registry)


def test_one_key_under_two_names_is_one_key():
    """A map that names one key twice does not make two signers of it."""
    key = Ed25519PrivateKey.generate()
    other = Ed25519PrivateKey.generate()
    message = jws.parse(jws.sign("x+jws", {}, [key, other]), "x+jws")
    kids = [header.kid for header in message.signatures]
    names = {kids[0]: key.public_key(), kids[1]: key.public_key()}
    with pytest.raises(DenialError) as caught:
        jws.verify(message, names)
    assert caught.value.reason == "signature-invalid"
    alias = json.loads(message.raw)
    header = json.dumps({"alg": "Ed25519", "kid": "B" * 43, "typ": "x+jws"}).encode()
    protected = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    signature = key.sign(f"{protected}.{alias['payload']}".encode())
    alias["signatures"][1] = {
        "protected": protected,
        "signature": base64.urlsafe_b64encode(signature).rstrip(b"=").decode(),
    }
    renamed = jws.parse(json.dumps(alias).encode(), "x+jws")
    with pytest.raises(DenialError) as caught:
        jws.verify(renamed, {kids[0]: key.public_key(), "B" * 43: key.public_key()})
    assert caught.value.reason == "same-key"


def test_a_key_that_was_not_given_verifies_nothing():
    """Every signature needs its key, also beside one that verifies."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    message = jws.parse(jws.sign("x+jws", {}, [key, other]), "x+jws")
    with pytest.raises(DenialError) as caught:
        jws.verify(message, {thumbprint(key.public_key()): key.public_key()})
    assert caught.value.reason == "key-unknown"


def test_only_ed25519_and_p256_sign():
    """Another curve is refused before it is used."""
    with pytest.raises(ValueError, match="P-256"):
        jws.sign("x+jws", {}, [generate_private_key(SECP384R1())])


def test_countersigning_keeps_the_payloads_bytes():
    """The second signer signs what the first one signed, to the byte."""
    first, second = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    odd = b'{ "a" : 1 }'
    raw = jws.countersign(jws.sign_with("x+jws", odd, [first]), "x+jws", second)
    message = jws.parse(raw, "x+jws")
    keys = {thumbprint(key.public_key()): key.public_key() for key in (first, second)}
    assert jws.verify(message, keys) == tuple(keys)
    assert message.payload_bytes == odd


HARMLESS = {
    "blanks": b' { "a" : [ 1 , 2.5 ] } ',
    "escapes": b'"\\u00e9\\n\\"\\ud83d\\ude00"',
    "brackets in text": b'"[[[[[[[[[[[[{{{{{{{{{{{{{"',
    "an escaped quote before brackets": b'"\\"[[[[[[[[[[[[["',
    "eight levels": b"[" * 8 + b"]" * 8,
}


@pytest.mark.parametrize("raw", HARMLESS.values(), ids=HARMLESS.keys())
def test_strict_json_is_still_json(raw):
    """What the bounds look at does not change what is read."""
    assert jws.parse_strict_json(raw, 1000) == json.loads(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_every_json_value_survives(value):
    """Writing and strictly reading gives the value back, or says that it is too deep."""
    try:
        text = jws.encode_json(value)
    except UnicodeEncodeError:
        return
    try:
        read = jws.parse_strict_json(text, 100_000)
    except DenialError as error:
        read = error.reason
    assert read in (value, "json-too-deep")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_with_a_reason(raw):
    """Nothing that arrives makes anything but a denial."""
    with pytest.raises(DenialError):
        jws.parse(raw, "x+jws")


NASTY = {
    "escaped quotes": b'"' + b'\\"' * 32767,
    "quotes": b'"' * 65536,
    "open brackets": b"[" * 65536,
    "open objects": b'{"a":' * 13000,
    "strings that never end": b'"\\' * 32768,
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("raw", NASTY.values(), ids=NASTY.keys())
def test_the_look_at_strings_and_depth_is_linear(raw):
    """A pattern that goes back would need minutes for these 64 KiB."""
    with pytest.raises(DenialError):
        jws.parse(raw, "x+jws")

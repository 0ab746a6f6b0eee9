"""The application of a gateway: four keys, proven or refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from edge_agent.errors import EvidenceError
from edge_agent.protocol.application import COMMON_NAME, MAX_CSR_BYTES, encode_csr, verify_csr

TLS = ec.generate_private_key(ec.SECP256R1())
KEYS = {name: Ed25519PrivateKey.generate().public_key() for name in ("gateway", "recorder", "owner")}


def uri(name, key):
    return next(
        str(n.value)
        for n in x509.load_pem_x509_csr(encode_csr(TLS, **KEYS))
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
        if f":{name}:" in str(n.value)
    )


def make_csr(names, key=TLS, subject=COMMON_NAME):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def all_uris():
    return [x509.UniformResourceIdentifier(uri(name, KEYS[name])) for name in KEYS]


def test_an_application_gives_back_its_four_keys():
    """The RTCC pins the keys that the gateway wrote."""
    application = verify_csr(encode_csr(TLS, **KEYS))
    assert application.tls == TLS.public_key()
    assert (application.gateway, application.recorder, application.owner) == tuple(KEYS.values())


BAD = {
    "empty": lambda: b"",
    "not PEM": lambda: b"hello",
    "too long": lambda: b"x" * (MAX_CSR_BYTES + 1),
    "no names at all": lambda: make_csr([]),
    "a key missing": lambda: make_csr(all_uris()[:2]),
    "a key twice": lambda: make_csr([*all_uris(), all_uris()[0]]),
    "a foreign name": lambda: make_csr([*all_uris(), x509.DNSName("example.org")]),
    "a subject that names somebody": lambda: make_csr(all_uris(), subject="12 Elm Street"),
    "a P-384 key": lambda: make_csr(all_uris(), ec.generate_private_key(ec.SECP384R1())),
    "an Ed25519 TLS key": lambda: (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(all_uris()), critical=False)
        .sign(Ed25519PrivateKey.generate(), None)
        .public_bytes(serialization.Encoding.PEM)
    ),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_an_application_that_is_not_whole_is_refused(make):
    """Anything but one P-256 request with the three keys, once each, is an error in words."""
    with pytest.raises(EvidenceError):
        verify_csr(make())


def test_a_request_made_by_hand_is_accepted_as_well():
    """The cases above fail for what they name, not for how they are made."""
    assert verify_csr(make_csr(all_uris())) == verify_csr(encode_csr(TLS, **KEYS))


def test_a_key_exchanged_on_the_way_is_caught():
    """The request's own signature covers the other keys."""
    der = bytearray(x509.load_pem_x509_csr(encode_csr(TLS, **KEYS)).public_bytes(serialization.Encoding.DER))
    at = der.index(b"urn:edge-agent:key:owner:") + len(b"urn:edge-agent:key:owner:")
    der[at] = ord("A") if der[at] != ord("A") else ord("B")
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(EvidenceError, match="signature"):
        verify_csr(forged)

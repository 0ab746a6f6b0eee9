"""The gateway's application to an RTCC: a certificate signing request that names its other keys (PROTOCOL 7).

Owns the form of ``gateway.csr``, for both ends. The request proves possession of the TLS key; the public halves of
the gateway's, the recorder's and the owner's signing keys travel in it as URIs, so that the RTCC can pin them. It
carries no name, no address and no place. Opens nothing, reads no clock.
"""

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from edge_agent.base64url import encode_b64url, parse_b64url
from edge_agent.errors import EvidenceError

# PROTOCOL 7.1.
MAX_CSR_BYTES = 16 * 1024
COMMON_NAME = "edge-agent gateway"
"""The same in every application: the RTCC chooses the gateway's id, and nothing here names its owner."""
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
KEY_NAMES = ("gateway", "recorder", "owner")
# PROTOCOL 7.1, E3: 32 raw bytes are 43 letters of base64url.
_KEY_URI = re.compile(r"urn:edge-agent:key:(gateway|recorder|owner):([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Application:
    """The facts of a verified ``gateway.csr``: four public keys and nothing else."""

    tls: ec.EllipticCurvePublicKey
    """P-256; its possession is proved by the request's own signature."""
    gateway: Ed25519PublicKey
    """Signs answers, manifests and checkpoints."""
    recorder: Ed25519PublicKey
    """Signs superblocks and header pages."""
    owner: Ed25519PublicKey
    """Signs consents and orders."""


def encode_csr(
    tls_key: ec.EllipticCurvePrivateKey,
    *,
    gateway: Ed25519PublicKey,
    recorder: Ed25519PublicKey,
    owner: Ed25519PublicKey,
) -> bytes:
    """Write the application as PEM, signed by the TLS key (P-256)."""
    uris = [
        x509.UniformResourceIdentifier(f"urn:edge-agent:key:{name}:{encode_b64url(key.public_bytes_raw())}")
        for name, key in zip(KEY_NAMES, (gateway, recorder, owner), strict=True)
    ]
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_SUBJECT)
        .add_extension(x509.SubjectAlternativeName(uris), critical=False)
        .sign(tls_key, hashes.SHA256())
    )
    return csr.public_bytes(serialization.Encoding.PEM)


def verify_csr(pem: bytes) -> Application:
    """Parse an application and verify its signature.

    Raises:
        EvidenceError: Too long, not a request for P-256, a bad signature, or a key missing or named twice.
    """
    if len(pem) > MAX_CSR_BYTES:
        raise EvidenceError(f"certificate request too long: bytes={len(pem)} most={MAX_CSR_BYTES}")
    try:
        csr = x509.load_pem_x509_csr(pem)
        tls = csr.public_key()
        # E2: P-256 and no other curve.
        if not isinstance(tls, ec.EllipticCurvePublicKey) or not isinstance(tls.curve, ec.SECP256R1):
            raise EvidenceError("certificate request is not for a P-256 key")
        signed = csr.is_signature_valid
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise EvidenceError(f"not a gateway's certificate request: {error}") from error
    # E1: an application that names its owner must not reach a city's files.
    if csr.subject != _SUBJECT:
        raise EvidenceError(f"certificate request: its subject is not CN={COMMON_NAME}")
    # E2: proves that the applicant has the TLS key.
    if not signed:
        raise EvidenceError("certificate request: its signature does not verify")
    keys = _parse_keys(names)
    return Application(tls, keys["gateway"], keys["recorder"], keys["owner"])


def _parse_keys(names: x509.SubjectAlternativeName) -> dict[str, Ed25519PublicKey]:
    keys: dict[str, Ed25519PublicKey] = {}
    for name in names:
        match = _KEY_URI.fullmatch(str(name.value)) if isinstance(name, x509.UniformResourceIdentifier) else None
        # E3: nothing else, and none twice. The last one would count otherwise.
        if match is None or match[1] in keys:
            raise EvidenceError("certificate request: a name that is not one key of a gateway")
        try:
            keys[match[1]] = Ed25519PublicKey.from_public_bytes(parse_b64url(match[2]))
        except ValueError as error:
            raise EvidenceError(f"certificate request: not an Ed25519 key: key={match[1]}") from error
    missing = [name for name in KEY_NAMES if name not in keys]
    if missing:
        raise EvidenceError(f"certificate request lacks a key: key={missing[0]}")
    return keys

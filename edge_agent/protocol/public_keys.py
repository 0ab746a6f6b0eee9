"""Public keys as values: how they are written as JWK and PEM, and their names (RFC 7638 thumbprints).

Pure. Private keys, and every key that lies in a file, are ``custody.keys``.
"""

import hashlib
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge_agent.base64url import encode_b64url, parse_b64url
from edge_agent.errors import CustodyError

PublicKey = Ed25519PublicKey | X25519PublicKey | EllipticCurvePublicKey


def public_jwk(key: PublicKey) -> dict[str, str]:
    """Return the key as a JWK (RFC 7517, RFC 8037) with its required members only."""
    if isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise CustodyError(f"key is on {key.curve.name}: only P-256 is used")
        # SEC 1, 2.3.3: 0x04 ‖ x (32) ‖ y (32).
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"kty": "EC", "crv": "P-256", "x": encode_b64url(point[1:33]), "y": encode_b64url(point[33:])}
    curve = "X25519" if isinstance(key, X25519PublicKey) else "Ed25519"
    return {"kty": "OKP", "crv": curve, "x": encode_b64url(key.public_bytes_raw())}


def load_jwk(jwk: Mapping[str, object]) -> PublicKey:
    """Read a public key from a JWK that has its required members and no other.

    Raises:
        CustodyError: Another member (a private one above all), another curve, a wrong length, not a point.
    """
    kind = (jwk.get("kty"), jwk.get("crv"))
    expected = {"kty", "crv", "x", "y"} if kind[0] == "EC" else {"kty", "crv", "x"}
    # RFC 7638, 3.2, and a guard: a private member ("d") must not travel as a public key.
    if set(jwk) != expected:
        raise CustodyError(f"jwk has the members {', '.join(sorted(map(str, jwk)))}: needs exactly kty, crv, x (EC: y)")
    x = _coordinate(jwk["x"])
    try:
        if kind == ("OKP", "Ed25519"):
            return Ed25519PublicKey.from_public_bytes(x)
        if kind == ("OKP", "X25519"):
            return X25519PublicKey.from_public_bytes(x)
        if kind == ("EC", "P-256"):
            y = _coordinate(jwk["y"])
            return EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), SECP256R1()).public_key()
    except ValueError as error:
        raise CustodyError("jwk holds no valid public key") from error
    raise CustodyError("jwk is of another kind: Ed25519, X25519 and P-256 are known")


def thumbprint(key: PublicKey) -> str:
    """Return the RFC 7638 thumbprint (SHA-256, base64url, 43 letters): the ``kid`` everywhere."""
    jwk = public_jwk(key)
    # RFC 7638, 3: required members alone, sorted, no blanks.
    members = ",".join(f'"{name}":"{jwk[name]}"' for name in sorted(jwk))
    return encode_b64url(hashlib.sha256(f"{{{members}}}".encode()).digest())


def _coordinate(text: object) -> bytes:
    try:
        raw = parse_b64url(text)
    except ValueError:
        raw = b""
    # Full length (RFC 7518, 6.2.1.2): a short coordinate would give one key two spellings.
    if len(raw) != 32:
        raise CustodyError("jwk coordinate is not 32 bytes of base64url")
    return raw


def encode_public(key: PublicKey) -> bytes:
    """Write a public key as SubjectPublicKeyInfo PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

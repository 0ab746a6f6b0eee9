"""Signed messages: JWS General JSON Serialization (RFC 7515, 7.2.1), read strictly (PROTOCOL 3).

Owns checks 1 to 3 of every signed message, the bare verification of its signatures, and strict JSON. joserfc makes and
verifies the signatures; a message that it accepts and that must not be accepted here (header members outside the
protected header, one signature twice, one key under two names, extensions, keys brought along) is refused before it is
asked. Pure: which keys count, and when, is the caller's.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar, overload

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws as jose
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from edge_agent.base64url import encode_b64url, parse_b64url
from edge_agent.errors import DenialError
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.reasons import say

PrivateSigningKey = Ed25519PrivateKey | EllipticCurvePrivateKey
VerifyingKey = Ed25519PublicKey | EllipticCurvePublicKey
PayloadT = TypeVar("PayloadT")

# PROTOCOL 3.1, J1: size and depth.
MAX_MESSAGE_BYTES = 64 * 1024
MAX_DEPTH = 8
# PROTOCOL 3.1: as many as a trust bundle may have roots (5).
MAX_SIGNATURES = 8
# PROTOCOL 3.1, J5: fully specified names (RFC 9864); "EdDSA" leaves the curve open.
ED25519 = "Ed25519"
ES256 = "ES256"

# PROTOCOL 3.1, J4: exactly these.
_HEADER = {"alg", "kid", "typ"}
# RFC 7515, 4.1.2 to 4.1.8: ways to bring a key along, each refused by its name.
_KEY_HEADERS = {"jwk", "jku", "x5c", "x5u", "x5t", "x5t#S256"}
# SHA-256 in base64url without padding: ceil(256 / 6) letters.
_KID = re.compile(r"[A-Za-z0-9_-]{43}")
# A string, closed or not: possessive, so that each byte is looked at once whatever the message holds.
_JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = re.compile(rb"[^\[\]{}]+")


class SignatureHeader(NamedTuple):
    """The protected header of one signature."""

    kid: str
    alg: str


@dataclass(frozen=True, slots=True)
class Jws(Generic[PayloadT]):
    """A message that passed checks 1 to 3; nothing in it is believed yet."""

    raw: bytes
    typ: str
    payload_bytes: bytes
    payload: PayloadT
    """The payload's strict JSON, or the value that ``read_payload`` made of it."""
    signatures: tuple[SignatureHeader, ...]
    _general: dict[str, Any]

    @property
    def payload_sha256(self) -> bytes:
        """Digest of the payload's bytes: it identifies the message, even if the message is signed again."""
        return hashlib.sha256(self.payload_bytes).digest()


def deny(code: str, **values: object) -> NoReturn:
    """Raise the ``DenialError`` of a reason code."""
    raise DenialError(code, say(code, **values))


def alg_of(key: PrivateSigningKey | VerifyingKey) -> str:
    """Return the one algorithm (RFC 9864 name) that goes with a key.

    Raises:
        ValueError: Neither Ed25519 nor P-256.
    """
    if isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        return ED25519
    if isinstance(key, EllipticCurvePrivateKey | EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return ES256
    raise ValueError("a signing key must be Ed25519 or P-256")


def sign(typ: str, payload: Mapping[str, object], keys: Sequence[PrivateSigningKey]) -> bytes:
    """Sign a payload with every key, in order; ``kid`` is the key's thumbprint."""
    return sign_with(typ, encode_json(payload), keys)


def sign_with(typ: str, payload_bytes: bytes, keys: Sequence[PrivateSigningKey]) -> bytes:
    """Sign a payload that is already bytes, so that two signers on two machines sign the same."""
    return encode_json({"payload": encode_b64url(payload_bytes), "signatures": _signatures(typ, payload_bytes, keys)})


def countersign(raw: bytes, typ: str, key: PrivateSigningKey) -> bytes:
    """Add one signature to a message, over the very payload that is in it.

    Raises:
        DenialError: The message fails checks 1 to 3; the earlier signatures are not verified.
    """
    message = parse(raw, typ)
    added = _signatures(typ, message.payload_bytes, [key])
    return encode_json(
        {"payload": message._general["payload"], "signatures": [*message._general["signatures"], *added]}
    )


def _signatures(typ: str, payload_bytes: bytes, keys: Sequence[PrivateSigningKey]) -> list[dict[str, Any]]:
    signatures: list[dict[str, Any]] = []
    for key in keys:
        alg = alg_of(key)
        protected = {"alg": alg, "kid": thumbprint(key.public_key()), "typ": typ}
        # Base64url is a third longer than its bytes; twice is above that.
        registry = _registry(len(payload_bytes) * 2)
        signed = jose.serialize_json([{"protected": protected}], payload_bytes, _jose_key(key), registry=registry)
        signatures.extend(dict(signature) for signature in signed["signatures"])
    return signatures


@overload
def parse(raw: bytes, typ: str, max_bytes: int = MAX_MESSAGE_BYTES) -> Jws[Any]: ...


@overload
def parse(
    raw: bytes, typ: str, max_bytes: int = MAX_MESSAGE_BYTES, *, read_payload: Callable[[object], PayloadT]
) -> Jws[PayloadT]: ...


def parse(
    raw: bytes, typ: str, max_bytes: int = MAX_MESSAGE_BYTES, *, read_payload: Callable[[object], Any] | None = None
) -> Jws[Any]:
    """Take a message apart: checks 1 (size), 2 (strict JSON) and 3 (protected headers) of PROTOCOL 4.

    Args:
        raw: As it arrived.
        typ: The one type that is expected.
        max_bytes: Tested before anything else.
        read_payload: Belongs to check 2: raises ``DenialError`` for a payload whose members are not as they must be.

    Raises:
        DenialError: With the first reason.
    """
    # PROTOCOL 4, check 1, is the first thing that parse_strict_json does.
    general = _members(parse_strict_json(raw, max_bytes), {"payload", "signatures"}, "message")
    payload_bytes = _unb64(general["payload"], "payload")
    payload = parse_strict_json(payload_bytes, max_bytes)
    signatures = general["signatures"]
    # Counted before any is parsed: a flood of signatures would cost a curve operation each.
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= MAX_SIGNATURES:
        deny("member-invalid", member="signatures", detail=f"a list of 1 to {MAX_SIGNATURES}")
    if read_payload is not None:
        payload = read_payload(payload)
    return Jws(raw, typ, payload_bytes, payload, tuple(_parse_header(item, typ) for item in signatures), general)


def _parse_header(signature: object, typ: str) -> SignatureHeader:
    # PROTOCOL 4, check 3: a header outside `protected` first, because joserfc would merge it.
    if isinstance(signature, dict) and "header" in signature:
        deny("jws-unprotected-header")
    members = _members(signature, {"protected", "signature"}, "signatures")
    _unb64(members["signature"], "signature")
    # Three short members (J4): 512 bytes leave room for a longer typ.
    header = parse_strict_json(_unb64(members["protected"], "protected"), 512)
    if not isinstance(header, dict):
        deny("json-malformed", detail="a protected header must be an object")
    # RFC 7515, 4.1.11: an extension that must be understood. None is.
    if "crit" in header:
        deny("jws-crit")
    for name in sorted(_KEY_HEADERS & set(header)):
        deny("jws-key-in-header", member=name)
    for name in sorted(set(header) - _HEADER):
        deny("jws-header-unknown", member=_short(name))
    for name in sorted(_HEADER - set(header)):
        deny("jws-header-missing", member=name)
    # PROTOCOL 3.1, J6: a signature for one purpose never serves another (RFC 8725, 3.11).
    if header["typ"] != typ:
        deny("jws-typ", expected=typ)
    if header["alg"] not in (ED25519, ES256):
        deny("jws-alg", alg=_short(header["alg"]))
    if not isinstance(header["kid"], str) or not _KID.fullmatch(header["kid"]):
        deny("member-invalid", member="kid", detail="a thumbprint of 43 letters")
    return SignatureHeader(header["kid"], header["alg"])


def verify(jws: Jws[Any], keys: Mapping[str, VerifyingKey]) -> tuple[str, ...]:
    """Verify every signature of a message: each key known, each algorithm its key's, no signature or key twice.

    Args:
        jws: From ``parse``.
        keys: By ``kid``; whether a key is valid now was the caller's to judge.

    Returns:
        The ``kid`` of each signature, in order, all different.

    Raises:
        DenialError: ``key-unknown``, ``key-alg-mismatch``, ``signature-invalid``, ``signature-repeated``, ``same-key``.
    """
    for header in jws.signatures:
        if header.kid not in keys:
            deny("key-unknown")
        # PROTOCOL 3.1, J5: the key decides the algorithm, never the message (RFC 8725, 3.1).
        if alg_of(keys[header.kid]) != header.alg:
            deny("key-alg-mismatch")
    jose_keys = {kid: _jose_key(keys[kid]) for kid, _alg in jws.signatures}
    try:
        # PROTOCOL 3.1, J7: one that fails makes the message worthless.
        jose.deserialize_json(
            jws._general,  # type: ignore[call-overload]
            lambda member: jose_keys[member.protected["kid"]],
            registry=_registry(len(jws.raw)),
        )
    except (JoseError, ValueError):
        deny("signature-invalid")
    texts = [signature["signature"] for signature in jws._general["signatures"]]
    # ECDSA signatures are malleable, so this finds copies only; thumbprints find the rest.
    if len(set(texts)) != len(texts):
        deny("signature-repeated")
    kids = tuple(header.kid for header in jws.signatures)
    # By thumbprint, not by name: one key under two names is one key.
    if len({thumbprint(keys[kid]) for kid in kids}) != len(kids):
        deny("same-key")
    return kids


def encode_json(value: object) -> bytes:
    """Write compact JSON in UTF-8; floats must be finite."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def parse_strict_json(raw: bytes, max_bytes: int) -> Any:
    """Read one JSON text in UTF-8, once its size and depth are known to be bounded.

    Duplicate members, non-finite numbers, lone surrogates and anything after the text are refused.

    Raises:
        DenialError: ``too-large``, ``json-too-deep``, ``json-duplicate-member`` or ``json-malformed``.
    """
    if len(raw) > max_bytes:
        deny("too-large", limit=max_bytes)
    # Before json.loads, which recurses: brackets inside strings are cut out first.
    depth = 0
    for bracket in _NOT_BRACKETS.sub(b"", _JSON_STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            deny("json-too-deep", limit=MAX_DEPTH)
    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
        # PROTOCOL 3.1, J1; only an escape can make one, since raw.decode() is strict.
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            deny("json-malformed", detail=f"at byte {error.pos}")
        deny("json-malformed", detail="a number or a letter that JSON does not allow")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # RFC 8259, 4, leaves it open which of two counts: two readers could differ.
    if len(members) != len(pairs):
        names = [name for name, _value in pairs]
        deny("json-duplicate-member", member=_short(next(name for name in names if names.count(name) > 1)))
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that no float can hold")
    return number


def _members(value: object, names: set[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        deny("json-malformed", detail=f"{where} must be an object")
    for name in sorted(set(value) - names):
        deny("member-unknown", member=_short(name))
    for name in sorted(names - set(value)):
        deny("member-missing", member=name)
    return value


def _unb64(text: object, member: str) -> bytes:
    try:
        return parse_b64url(text)
    except ValueError:
        deny("member-invalid", member=member, detail="base64url without padding")


def _short(value: object) -> str:
    """Quote something from outside: at most 40 letters, no control characters."""
    return repr(value if isinstance(value, str) else type(value).__name__)[:42]


def _jose_key(key: PrivateSigningKey | VerifyingKey) -> OKPKey | ECKey:
    if isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        return OKPKey.import_key(key)
    return ECKey.import_key(key)


class _Registry(jose.JWSRegistry):
    """Two algorithms, four header members; sizes were bounded before."""

    def __init__(self, max_payload_length: int) -> None:
        super().__init__(algorithms=(ED25519, ES256))
        self.max_payload_length = max_payload_length


def _registry(max_payload_length: int) -> _Registry:
    return _Registry(max_payload_length)

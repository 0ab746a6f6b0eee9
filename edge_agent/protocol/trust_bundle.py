"""The trust bundle: which keys of the RTCC may sign, and for how long (PROTOCOL 5).

Owns the rules of The Update Framework that apply here: a threshold of offline roots signs the bundle, versions only
rise, an expired bundle denies everything, and a new set of roots needs the old threshold and its own. Pure: where the
bundle is kept, and whom to warn before it ends, is the releaser's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edge_agent.errors import CustodyError
from edge_agent.protocol import jws
from edge_agent.protocol.jws import VerifyingKey, deny
from edge_agent.protocol.members import AgeRecipient, Issuer, Kid, Person, Time, Version, WireModel, parse_members
from edge_agent.protocol.public_keys import load_jwk, public_jwk, thumbprint
from edge_agent.protocol.request import REQUEST_SKEW_NS, Role
from edge_agent.units import DAY_NS, ClockState, UtcNs, Window, encode_rfc3339

TYP = "rtcc-trust+jws"
# PROTOCOL 5.2, T6: the longest time for which a broker can hide a revocation.
MAX_LIFETIME_NS = 30 * DAY_NS
# PROTOCOL 5, `keys`.
MAX_KEYS = 128


@dataclass(frozen=True, slots=True)
class Roots:
    """Offline keys of which ``threshold`` must sign a bundle; pinned at enrolment."""

    threshold: int
    """At least 2."""
    keys: Mapping[str, VerifyingKey]
    """By thumbprint, all different."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """One key of a person at the RTCC, in one role, with its validity."""

    kid: str
    """RFC 7638 thumbprint of the key (T8)."""
    key: VerifyingKey
    person: str
    """The RTCC's name for the person; the same for all keys of one person."""
    role: Role
    valid: Window
    """Half open, judged by the gateway's clock."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """An age recipient of bundles."""

    role: Literal["evidence", "escrow"]
    age: str
    """``age1…``, X25519."""


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """A bundle whose roots verified; whether it has expired is judged at every use."""

    raw: bytes
    """The JWS: stored, so that a restart verifies it again."""
    payload_sha256: bytes
    """The same bundle again changes nothing (T5)."""
    iss: str
    version: int
    """Rises with every bundle (T1, T5)."""
    issued_at: UtcNs
    """The floor of the gateway's clock (T6)."""
    expires: UtcNs
    """At most 30 days after; from then on everything is denied (T7)."""
    keys: Mapping[str, TrustedKey]
    """By ``kid``; ``revoked`` counts above it."""
    revoked: frozenset[str]
    """``kid`` of keys that sign nothing any more."""
    recipients: tuple[Recipient, ...]
    """One for evidence, and perhaps one for escrow."""
    roots: Roots
    """Those that must sign the next bundle (T3)."""

    def recipient(self, role: Literal["evidence", "escrow"]) -> str | None:
        """Return the age recipient of a role, if the bundle names one."""
        return next((recipient.age for recipient in self.recipients if recipient.role == role), None)


class _WireKey(WireModel):
    kid: Kid
    jwk: dict[str, str]
    person: Person
    role: Literal["operator", "supervisor", "dispatch"]
    valid_from: Time = Field(alias="from")
    until: Time


class _WireRecipient(WireModel):
    role: Literal["evidence", "escrow"]
    age: AgeRecipient


class _WireRoots(WireModel):
    threshold: Annotated[int, Field(ge=2, le=8)]
    keys: Annotated[list[dict[str, str]], Field(min_length=2, max_length=8)]


class _WireTrust(WireModel):
    iss: Issuer
    version: Version
    issued_at: Time
    expires: Time
    keys: Annotated[list[_WireKey], Field(max_length=MAX_KEYS)]
    revoked: Annotated[list[Kid], Field(max_length=1024)]
    recipients: Annotated[list[_WireRecipient], Field(min_length=1, max_length=2)]
    roots: _WireRoots


def make_roots(threshold: int, jwks: Sequence[Mapping[str, str]]) -> Roots:
    """Build a root set from JWKs, as the enrolment file and the trust bundle carry them.

    Raises:
        DenialError: ``trust-roots-invalid``: a threshold below 2 or above the keys, a key twice, no key at all.
    """
    keys = {thumbprint(key): key for key in (_load_key(jwk) for jwk in jwks)}
    # PROTOCOL 5: at least 2, so that one stolen root signs nothing; each key once.
    if len(keys) != len(jwks) or not 2 <= threshold <= len(keys):
        deny("trust-roots-invalid")
    return Roots(threshold, keys)


def encode_roots(roots: Roots) -> dict[str, object]:
    """Write a root set as ``make_roots`` reads it: ``{"threshold": …, "keys": [jwk, …]}``."""
    return {"threshold": roots.threshold, "keys": [public_jwk(key) for key in roots.keys.values()]}


def verify_trust(
    raw: bytes,
    roots: Roots,
    current: TrustBundle | None,
    now: UtcNs,
    clock_state: ClockState = ClockState.SYNCHRONISED,
) -> TrustBundle:
    """Verify a trust bundle and return the one to use from now on (PROTOCOL 5.2).

    An expired bundle is returned as well: it raises the version, and denies everything, which is the safe side. To read
    a stored bundle again after a restart, pass the roots that it was first verified with and ``current=None``.

    Args:
        raw: The JWS, from the retained message or from a file.
        roots: Pinned at enrolment; once a bundle is in use, its own roots count instead.
        current: The bundle in use.
        now: With a synchronised clock, a bundle from the future is refused: its issue time becomes the clock's floor.
        clock_state: Whether ``now`` can be believed.

    Returns:
        The new bundle, or ``current`` where the same one came again.

    Raises:
        DenialError: With the first reason; the bundle in use stays in use.
    """
    # T3: the roots of the bundle in use, or the pinned ones while there is none.
    trusted = current.roots if current is not None else roots
    message = jws.parse(raw, TYP, read_payload=_parse)
    wire = message.payload
    new_roots = make_roots(wire.roots.threshold, wire.roots.keys)
    # J7: a signature by any other key makes the bundle worthless.
    signed = set(jws.verify(message, {**new_roots.keys, **trusted.keys}))
    if len(signed & set(trusted.keys)) < trusted.threshold:
        deny("trust-threshold", threshold=trusted.threshold)
    # T4: it proves that the new roots have their keys, and can sign the next bundle.
    if len(signed & set(new_roots.keys)) < new_roots.threshold:
        deny("trust-new-roots-threshold", threshold=new_roots.threshold)
    if current is not None:
        # T5: the retained message comes at every connection.
        if message.payload_sha256 == current.payload_sha256:
            return current
        if wire.iss != current.iss:
            deny("trust-issuer-changed")
        # T5: an older bundle would bring a revoked key back.
        if wire.version <= current.version:
            deny("trust-rollback", version=current.version)
    if not 0 < wire.expires - wire.issued_at <= MAX_LIFETIME_NS:
        deny("trust-lifetime", limit="30 days")
    # T6: the clock's floor rises to it, and a floor of the future would stop every decision.
    if clock_state is ClockState.SYNCHRONISED and wire.issued_at > now + REQUEST_SKEW_NS:
        deny("trust-from-future")
    return _bundle(message, new_roots)


def find_key(trust: TrustBundle | None, kid: str, now: UtcNs) -> TrustedKey:
    """Return the key that ``kid`` names, if it may sign now (PROTOCOL 4, check 4).

    Raises:
        DenialError: No bundle, an expired one, or a key that is unknown, revoked, or not valid now.
    """
    if trust is None:
        deny("trust-missing")
    # T7, before the key: an expired bundle denies everything.
    if now >= trust.expires:
        deny("trust-expired", expires=encode_rfc3339(trust.expires))
    # Before `key-unknown`: the ledger counts uses of a revoked key apart.
    if kid in trust.revoked:
        deny("key-revoked")
    if kid not in trust.keys:
        deny("key-unknown")
    key = trust.keys[kid]
    if now < key.valid.start:
        deny("key-not-yet-valid")
    if now >= key.valid.end:
        deny("key-expired")
    return key


def list_recipients(trust: TrustBundle | None, *, escrow: bool) -> tuple[Recipient, ...]:
    """Return to whom a clip is sealed: the RTCC's evidence key, and escrow if the owner's terms have it."""
    if trust is None:
        return ()
    return tuple(each for each in trust.recipients if each.role == "evidence" or escrow)


def _parse(payload: object) -> _WireTrust:
    return parse_members(_WireTrust, payload)


def _bundle(message: jws.Jws[_WireTrust], roots: Roots) -> TrustBundle:
    wire = message.payload
    keys: dict[str, TrustedKey] = {}
    for entry in wire.keys:
        key = _load_key(entry.jwk)
        # The name is the thumbprint, so one key cannot stand there under two names.
        if thumbprint(key) != entry.kid or entry.kid in keys or entry.until <= entry.valid_from:
            deny("trust-key-invalid", kid=entry.kid)
        valid = Window(entry.valid_from, entry.until)
        keys[entry.kid] = TrustedKey(entry.kid, key, entry.person, Role(entry.role), valid)
    recipients = tuple(Recipient(recipient.role, recipient.age) for recipient in wire.recipients)
    # PROTOCOL 5: exactly one evidence recipient, at most one for escrow.
    if sorted(recipient.role for recipient in recipients) not in (["evidence"], ["escrow", "evidence"]):
        deny("trust-recipients")
    return TrustBundle(
        raw=message.raw,
        payload_sha256=message.payload_sha256,
        iss=wire.iss,
        version=wire.version,
        issued_at=wire.issued_at,
        expires=wire.expires,
        keys=keys,
        revoked=frozenset(wire.revoked),
        recipients=recipients,
        roots=roots,
    )


def _load_key(jwk: Mapping[str, str]) -> VerifyingKey:
    try:
        key = load_jwk(jwk)
        jws.alg_of(key)  # type: ignore[arg-type]
    except (CustodyError, ValueError):
        deny("trust-key-invalid", kid="in the bundle")
    return key  # type: ignore[return-value]

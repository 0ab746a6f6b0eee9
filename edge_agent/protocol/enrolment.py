"""The enrolment file: which RTCC this gateway belongs to, and the keys that it believes (PROTOCOL 7).

Owns the file's form at the gateway: strict JSON, every member needed and no other. It holds nothing secret; an attacker
who can replace it can choose another RTCC, so root installs it and a person compares its roots' thumbprints.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeGuard
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID
from pydantic import Field, StringConstraints

from edge_agent.errors import ConfigError, CustodyError, DenialError
from edge_agent.protocol.jws import VerifyingKey, parse_strict_json
from edge_agent.protocol.members import GatewayId, Issuer, TargetName, WireModel, parse_members
from edge_agent.protocol.public_keys import load_jwk, thumbprint

# PROTOCOL 7.3.
MAX_ENROLMENT_BYTES = 64 * 1024
MAX_ROOTS = 16
MAX_AUTHORITIES = 2
"""The one that issues, and the one before or after it."""
# PROTOCOL 7.3, `more_brokers`: a gateway tries them in turn.
MAX_BROKERS = 8


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One gateway's place at one RTCC."""

    gateway: str
    """Random id: CN of the certificate, MQTT client id, part of the topics."""
    iss: str
    """The RTCC's name."""
    broker_host: str
    broker_port: int
    ca_pem: str
    """One authority, or two while the RTCC rolls over."""
    certificate_pem: str
    """This gateway's, for client authentication alone."""
    uploads: Mapping[str, str]
    """Upload targets: name → URL (https)."""
    roots: tuple[VerifyingKey, ...]
    """Root keys that sign trust bundles: 2 to 16, all different."""
    threshold: int
    """So many of them must sign; at least 2."""
    not_after_s: int
    """When the certificate ends, in seconds of Unix time."""
    tls_thumbprint: str
    """Of the certificate's public key: that of this gateway's TLS key, or the file is another's."""
    not_before_s: int = 0
    """When the certificate begins."""
    more_brokers: tuple[tuple[str, int], ...] = ()
    """Hosts and ports to try after the first, in this order."""

    @property
    def root_thumbprints(self) -> tuple[str, ...]:
        """The thumbprints that a person compares with the RTCC's own list, sorted."""
        return tuple(sorted(thumbprint(root) for root in self.roots))


class _Broker(WireModel):
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)]


class _Upload(WireModel):
    url: Annotated[str, StringConstraints(max_length=1024)]


class _EnrolmentFile(WireModel):
    edge_agent_enrolment: int
    gateway: GatewayId
    iss: Issuer
    broker: _Broker
    more_brokers: Annotated[list[_Broker], Field(max_length=MAX_BROKERS)] = Field(default_factory=list)
    ca: str
    certificate: str
    uploads: dict[TargetName, _Upload]
    roots: list[dict[str, str]]
    threshold: int


def name_unenrolled(gateway: Ed25519PublicKey) -> str:
    """Return what a gateway calls itself before an RTCC has given it an id: 132 bits of its key's thumbprint.

    In the owner's orders, in exports and in the ledger's checkpoints. Of the form of an id, so that every signed
    document stays as it is.
    """
    return thumbprint(gateway)[:22]


def parse_enrolment(raw: bytes, source: str) -> Enrolment:
    """Check an enrolment file's bytes.

    Raises:
        ConfigError: Anything else than PROTOCOL 7 describes; names ``source`` and the member.
    """
    try:
        members = parse_members(_EnrolmentFile, parse_strict_json(raw, MAX_ENROLMENT_BYTES))
        roots = tuple(load_jwk(jwk) for jwk in members.roots)
    except (DenialError, CustodyError) as error:
        raise ConfigError(f"{source}: {error}") from error
    # Behind the members: a later version may have others, and is refused by their names.
    if members.edge_agent_enrolment != 1:
        raise ConfigError(f"{source}: version {members.edge_agent_enrolment} is not supported, only 1")
    _check_roots(source, roots, members.threshold)
    for name, upload in members.uploads.items():
        _check_upload(source, name, upload.url)
    (certificate,) = _load_certificates(source, "certificate", members.certificate)
    authorities = _load_certificates(source, "ca", members.ca, MAX_AUTHORITIES)
    tls_key = _check_certificate(source, certificate, authorities, members.gateway)
    return Enrolment(
        gateway=members.gateway,
        iss=members.iss,
        broker_host=members.broker.host,
        broker_port=members.broker.port,
        ca_pem=members.ca,
        certificate_pem=members.certificate,
        uploads={name: upload.url for name, upload in members.uploads.items()},
        roots=tuple(root for root in roots if _is_signing(root)),
        threshold=members.threshold,
        not_after_s=int(certificate.not_valid_after_utc.timestamp()),
        tls_thumbprint=thumbprint(tls_key),
        not_before_s=int(certificate.not_valid_before_utc.timestamp()),
        more_brokers=tuple((each.host, each.port) for each in members.more_brokers),
    )


def renew_enrolment(enrolment: Enrolment, certificate_pem: str, source: str) -> Enrolment:
    """Return an enrolment with another certificate (PROTOCOL 7.5): nothing else of it can be renewed.

    Raises:
        ConfigError: Not one certificate, of another gateway or key, not of an authority of the enrolment, or one that
            ends no later than the one before.
    """
    (certificate,) = _load_certificates(source, "certificate", certificate_pem)
    authorities = _load_certificates(source, "ca", enrolment.ca_pem, MAX_AUTHORITIES)
    key = _check_certificate(source, certificate, authorities, enrolment.gateway)
    # PROTOCOL 7.5, E10, in this order: own key, and an end that is later.
    if thumbprint(key) != enrolment.tls_thumbprint:
        raise ConfigError(f"{source}: certificate: is for another TLS key than this gateway's")
    not_after_s = int(certificate.not_valid_after_utc.timestamp())
    if not_after_s <= enrolment.not_after_s:
        raise ConfigError(f"{source}: certificate: ends no later than the one before")
    not_before_s = int(certificate.not_valid_before_utc.timestamp())
    return replace(
        enrolment, certificate_pem=certificate_pem, not_before_s=not_before_s, not_after_s=not_after_s
    )  # fmt: skip


def _check_roots(source: str, roots: tuple[object, ...], threshold: int) -> None:
    prints = [thumbprint(root) for root in roots if _is_signing(root)]
    if len(prints) != len(roots) or not 2 <= len(roots) <= MAX_ROOTS:
        raise ConfigError(f"{source}: roots: should be 2 to {MAX_ROOTS} signing keys (Ed25519 or P-256)")
    if len(set(prints)) != len(prints):
        raise ConfigError(f"{source}: roots: the same key twice")
    # PROTOCOL 5: one root alone signs nothing.
    if not 2 <= threshold <= len(roots):
        raise ConfigError(f"{source}: threshold: {threshold} is outside 2 to {len(roots)}, the number of roots")


def _is_signing(key: object) -> TypeGuard[VerifyingKey]:
    return isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey)


_URL = re.compile(r"[A-Za-z0-9._~:/%@!$&'*+=\-\[\]]+")
"""RFC 3986 without what separates things in a sentence: a person reads the URL beside others."""


def _check_upload(source: str, name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        # parts.port raises ValueError beyond 65535: for that reason it is read inside.
        usable = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or _URL.fullmatch(url) is None:
        raise ConfigError(f"{source}: uploads.{name}.url: should be https://HOST[:PORT]/PATH without credentials")


def _load_certificates(source: str, member: str, pem: str, most: int = 1) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise ConfigError(f"{source}: {member}: is no certificate in PEM") from error
    if not 1 <= len(certificates) <= most:
        wanted = "one" if most == 1 else f"one to {most}"
        raise ConfigError(f"{source}: {member}: holds {len(certificates)} certificates, should hold {wanted}")
    return certificates


def _check_certificate(
    source: str, certificate: x509.Certificate, authorities: list[x509.Certificate], gateway: str
) -> EllipticCurvePublicKey:
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    # PROTOCOL 7.3, E6, with 7.2, E4: one CN, the id; the broker takes it as the user name.
    if names != [gateway]:
        raise ConfigError(f"{source}: certificate: its CN is not the gateway's id")
    # Two authorities while the RTCC rolls over (PROTOCOL 7.6, E12).
    if not any(_is_issued_by(certificate, authority) for authority in authorities):
        raise ConfigError(f"{source}: certificate: was not issued by the file's own ca")
    key = certificate.public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        raise ConfigError(f"{source}: certificate: its key is not P-256")
    return key


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True

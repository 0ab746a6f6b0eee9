"""The RTCC's certificate authority: certificates for gateways, for the broker and the receiver, and for itself.

Owns the contents of each certificate. Pure but for the random serial numbers: keys and times are passed in, files are
the caller's. A gateway's certificate names its random id, and nothing about its owner or place.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.units import SECOND_NS, UtcNs

CA_DAYS = 3650
CERTIFICATE_DAYS = 397
_BACKDATED = timedelta(minutes=10)
"""A gateway without a battery-backed clock may be a little behind."""


def make_ca(key: ec.EllipticCurvePrivateKey, name: str, now: UtcNs) -> x509.Certificate:
    """Sign the authority's own certificate."""
    subject = _name(name)
    builder = _builder(subject, subject, key.public_key(), now, CA_DAYS)
    # RFC 5280, section 4.2.1.9: path length 0 allows no further authority below this one.
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def issue_client(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    name: str,
    now: UtcNs,
    *,
    days: float = CERTIFICATE_DAYS,
) -> x509.Certificate:
    """Sign a client's certificate; ``name`` becomes its CN, which the broker takes as the user name."""
    return _issue(ca, ca_key, _Holder(key, name, ExtendedKeyUsageOID.CLIENT_AUTH), now, days)


def issue_server(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    names: tuple[str, ...],
    now: UtcNs,
) -> x509.Certificate:
    """Sign a server's certificate for host names and IP addresses; the first becomes its CN."""
    return _issue(ca, ca_key, _Holder(key, names[0], ExtendedKeyUsageOID.SERVER_AUTH, names), now)


def make_list(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    revoked: Sequence[tuple[int, UtcNs]],
    number: int,
    now: UtcNs,
) -> x509.CertificateRevocationList:
    """Sign the list of revoked certificates (RFC 5280, section 5).

    It ends with the authority: once a list has ended, OpenSSL refuses every client, and no broker fetches the next one.

    Args:
        ca: The authority.
        ca_key: Its key.
        revoked: Serial number and time of each.
        number: Rises with every list (RFC 5280, section 5.2.3).
        now: At least a second later than that of the list before.
    """
    start = datetime.fromtimestamp(now // SECOND_NS, UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(start - _BACKDATED)
        .next_update(ca.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    for serial, at in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(datetime.fromtimestamp(at // SECOND_NS, UTC)).build()
        )
    return builder.sign(ca_key, hashes.SHA256())


def end_of(certificate: x509.Certificate) -> int:
    """Return when a certificate ends, in ns of UTC."""
    return int(certificate.not_valid_after_utc.timestamp()) * SECOND_NS


@dataclass(frozen=True, slots=True)
class _Holder:
    """The client or server to which a certificate is issued."""

    key: ec.EllipticCurvePublicKey
    name: str
    """Becomes the CN."""
    usage: x509.ObjectIdentifier
    """The one extended key usage (RFC 5280, section 4.2.1.12)."""
    hosts: tuple[str, ...] = ()
    """Host names and IP addresses of a server."""


def _issue(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    holder: _Holder,
    now: UtcNs,
    days: float = CERTIFICATE_DAYS,
) -> x509.Certificate:
    builder = (
        _builder(_name(holder.name), ca.subject, holder.key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([holder.usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(holder.key), critical=False)
        # Python 3.13 verifies strictly (RFC 5280): without this extension its default context refuses the chain.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if holder.hosts:
        # Clients match a server's name here, and the CN no longer (RFC 9525).
        names = x509.SubjectAlternativeName([_host(host) for host in holder.hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: UtcNs, days: float
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now // SECOND_NS, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATED)
        .not_valid_after(start + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    # RFC 5280, appendix A.1, ub-common-name: 64 characters. A gateway's id is far shorter.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

"""The authority behind the page's certificate: made by root, constrained to this gateway's own names and addresses.

Owns the CA and its certificates (RFC 5280). A phone that trusts it trusts it for these names and no other (name
constraints, 4.2.1.10): a thief of its key cannot stand in for a bank. The page's process never reads that key.
"""

import datetime
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.units import SECOND_NS, UtcNs

# Ten years: each renewal has every device of the home trust anew.
CA_DAYS = 3650
LEAF_DAYS = 397
"""Browsers refuse more than 398 days (CA/Browser Forum, Baseline Requirements 6.3.2)."""
_BACK = datetime.timedelta(days=1)
"""A phone's clock may be behind."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA's key and certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate alone: the file that devices are given."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Key and certificate: root's."""
        return _encode_key(self.key) + self.pem

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate, in groups, as browsers show it."""
        return show_thumbprint(self.pem)


def make_authority(names: Sequence[str], addresses: Sequence[str], now: UtcNs) -> Authority:
    """Make a CA that may vouch for these names and addresses alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edge agent at home")])
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    permitted += [x509.IPAddress(ipaddress.ip_network(address)) for address in addresses]
    # A kind of name of which none is permitted is not constrained at all (RFC 5280, 4.2.1.10): exclude it whole.
    excluded: list[x509.GeneralName] = [] if names else [x509.DNSName("")]
    excluded += [
        x509.IPAddress(ipaddress.ip_network(everything))
        for everything, version in (("0.0.0.0/0", 4), ("::/0", 6))
        if not any(ipaddress.ip_address(each).version == version for each in addresses)
    ]
    builder = (
        _begin(subject, subject, key.public_key(), now, CA_DAYS)
        # 4.2.1.9: no authority below it, whose constraints would have to be checked too.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted, excluded or None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def load_authority(pem: bytes) -> Authority:
    """Read the text of ``key_pem``; ValueError for anything else."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is of another kind")
    return Authority(key, x509.load_pem_x509_certificate(pem))


def covers(authority: Authority, names: Sequence[str], addresses: Sequence[str]) -> bool:
    """Tell whether a CA may vouch for just these names and addresses."""
    constraints = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    permitted = {str(each.value) for each in constraints.permitted_subtrees or ()}
    # Equal, not a superset: an authority that may vouch for a name that is no longer ours is made
    # anew.
    return permitted == {*names, *(str(ipaddress.ip_network(each)) for each in addresses)}


def issue(authority: Authority, names: Sequence[str], addresses: Sequence[str], now: UtcNs) -> bytes:
    """Return a new key and its certificate for the page's process, with the CA's, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    # No host name here: without a DNS name beside it OpenSSL would hold it against the constraints as one.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The resident's page")])
    certificate = (
        _begin(subject, authority.certificate.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return _encode_key(key) + certificate.public_bytes(serialization.Encoding.PEM) + authority.pem


def show_thumbprint(pem: bytes) -> str:
    """Return the SHA-256 of a certificate in pairs of hex digits, as browsers and phones show it."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: UtcNs, days: int
) -> x509.CertificateBuilder:
    moment = datetime.datetime.fromtimestamp(now // SECOND_NS, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _BACK)
        .not_valid_after(moment - _BACK + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

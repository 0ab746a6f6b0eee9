"""Enrolling: a gateway's application becomes a certificate and an enrolment file (PROTOCOL 7); servers get theirs.

Owns the enrolment file's form on the RTCC's side, and the random id that a gateway is known by: nothing about its place
or its owner is in either.
"""

from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import CustodyError, EvidenceError
from edge_agent.protocol.application import verify_csr
from edge_agent.protocol.public_keys import public_jwk, thumbprint
from edge_agent.protocol.trust_bundle import encode_roots
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.home import AUTHORITIES, RtccHome
from edge_agent.rtcc.office.keys import encode_json, generate_tls_key, make_id, write_new, write_private_key
from edge_agent.rtcc.office.trust import roots_to_pin
from edge_agent.rtcc.pinned_keys import read_key
from edge_agent.units import UtcNs, encode_rfc3339

ENROLMENT_VERSION = 1


@dataclass(frozen=True, slots=True)
class IssuedEnrolment:
    """The files that the RTCC hands to a gateway."""

    gateway: str
    content: bytes
    """The enrolment file; ``edge-agent enrol FILE`` installs it."""


def enrol(home: RtccHome, csr_pem: bytes, now: UtcNs, *, renew: bool = False, note: str = "") -> IssuedEnrolment:
    """Verify a gateway's application, issue its certificate, and keep the keys that it named.

    Args:
        home: The RTCC's authority, roots, broker and upload servers.
        csr_pem: ``gateway.csr`` as ``edge-agent init`` wrote it.
        now: Start of the certificate.
        renew: Issue a further certificate to a gateway that is enrolled, under the id that it has.
        note: For the RTCC's own books, such as a case number; never sent.

    Raises:
        EvidenceError: Not a whole application; or, without ``renew``, of a gateway that is enrolled already; or, with
            it, of one that is not enrolled with exactly these keys.
    """
    application = verify_csr(csr_pem)
    keys = {name: public_jwk(getattr(application, name)) for name in ("gateway", "recorder", "owner", "tls")}
    known = home.find_gateway_by_key(thumbprint(application.gateway))
    if known and not renew:
        raise EvidenceError(f"this gateway is enrolled already: gateway={known}", "--renew issues it a new certificate")
    # The signature of the application proves the TLS key alone, so a renewal is for exactly the keys that are pinned.
    if renew and (known is None or home.load_gateway(known)["keys"] != keys):
        raise EvidenceError("no gateway is enrolled with exactly these keys", "enrol it anew, without --renew")
    if known and home.is_gateway_revoked(known):
        raise EvidenceError(f"this gateway was revoked: gateway={known}", "a gateway with new keys can be enrolled")
    gateway = known or make_id()
    ca, ca_key = home.load_ca()
    certificate = authority.issue_client(ca, ca_key, application.tls, gateway, now)
    # Before the file leaves us: only a recorded certificate can be revoked.
    home.certificates.record(gateway, certificate)
    if known and home.is_gateway_revoked(known):  # meanwhile: then this certificate is on the list, or never left us
        raise EvidenceError(f"this gateway was revoked: gateway={known}", "a gateway with new keys can be enrolled")
    if not known:
        home.write_gateway({"gateway": gateway, "enrolled_at": encode_rfc3339(now), "keys": keys, "note": note})
    return IssuedEnrolment(gateway, encode_json(_enrolment(home, gateway, certificate)))


def gateway_key(home: RtccHome, gateway: str, name: str = "gateway") -> Any:
    """Return a public key that a gateway was enrolled with: ``gateway``, ``recorder`` or ``owner``.

    Raises:
        ConfigError: No gateway of this id was enrolled here.
        CustodyError: Its row is damaged.
    """
    return read_key(gateway, home.load_gateway(gateway)["keys"], name)


def enrol_server(home: RtccHome, names: tuple[str, ...], now: UtcNs) -> tuple[str, str]:
    """Make key and certificate of a server (broker, receiver) for its host names and addresses.

    Servers read their key unattended, so it is written without a passphrase, mode 0600.

    Returns:
        Paths of the certificate and of the key; an earlier pair of that name is replaced.
    """
    if not names or any("/" in name or name in (*AUTHORITIES, "rtcc", "crl", "") for name in names):
        raise CustodyError("a server needs a host name or an address, other than ca, ca-other, crl and rtcc")
    ca, ca_key = home.load_ca()
    key = generate_tls_key()
    certificate_path, key_path = home.tls_paths(names[0])
    for path in (certificate_path, key_path):
        path.unlink(missing_ok=True)
    certificate = authority.issue_server(ca, ca_key, key.public_key(), names, now)
    write_private_key(key_path, key, None)
    if not home.certificates.list_path.exists():  # A home of an earlier version: no broker starts without the list.
        home.certificates.write_list(now)
    write_new(certificate_path, certificate.public_bytes(Encoding.PEM))
    return str(certificate_path), str(key_path)


def _enrolment(home: RtccHome, gateway: str, certificate: x509.Certificate) -> dict[str, Any]:
    roots = encode_roots(roots_to_pin(home))
    more = [{"host": host, "port": port} for host, port in home.settings.more_brokers]
    return ({"more_brokers": more} if more else {}) | {
        "edge_agent_enrolment": ENROLMENT_VERSION,
        "gateway": gateway,
        "iss": home.settings.iss,
        "broker": {"host": home.settings.broker_host, "port": home.settings.broker_port},
        "ca": home.ca_path.read_text(),
        "certificate": certificate.public_bytes(Encoding.PEM).decode(),
        "uploads": {name: {"url": url} for name, url in home.settings.uploads.items()},
        "roots": roots["keys"],
        "threshold": roots["threshold"],
    }

"""Renewing a gateway's certificate (PROTOCOL 7.5): under the id that it has, for the keys that are pinned.

Owns the decision: a gateway gets one if it is enrolled and not revoked, shows a certificate near
its end, and signs with both of its keys. Asking again brings the same certificate again, so a
gateway cannot make the authority issue many.
"""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.errors import EvidenceError
from edge_agent.protocol.public_keys import public_jwk
from edge_agent.protocol.renewal import due_at_s, verify_renewal
from edge_agent.rtcc.office import authority
from edge_agent.rtcc.office.enrol import gateway_key
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.units import SECOND_NS, UtcNs


def renew(home: RtccHome, gateway: str, presented: x509.Certificate, raw: bytes, now: UtcNs) -> bytes:
    """Return a further certificate, PEM.

    Args:
        home: Holds the authority and the record of its certificates.
        gateway: CN of the certificate that the connection showed.
        presented: That certificate.
        raw: The message.
        now: Start of the new certificate.

    Raises:
        EvidenceError: Not enrolled, revoked, too early, or the message is not this gateway's; nothing was issued.
        CustodyError: The authority's key is not here, or not to be read.
    """
    if not home.has_gateway(gateway):
        raise EvidenceError(f"no such gateway is enrolled: gateway={gateway}")
    if home.is_gateway_revoked(gateway) or home.certificates.is_revoked(presented):
        raise EvidenceError(f"gateway was revoked: gateway={gateway}")
    keys = home.load_gateway(gateway)["keys"]
    application = verify_renewal(raw, home.settings.iss, gateway, gateway_key(home, gateway))
    # A renewal renews: other keys would be another gateway under this one's id.
    if any(public_jwk(getattr(application, name)) != jwk for name, jwk in keys.items()):
        raise EvidenceError(f"application names other keys than the pinned ones: gateway={gateway}")
    certificate = _find_newer(home, gateway, presented, now)
    if certificate is None:
        if now // SECOND_NS < due_at_s(_start_s(presented), authority.end_of(presented) // SECOND_NS):
            raise EvidenceError(f"certificate is not near its end: gateway={gateway}")
        ca, ca_key = home.load_ca()
        certificate = authority.issue_client(ca, ca_key, application.tls, gateway, now)
        # Before the answer leaves us: only a recorded certificate can be revoked.
        home.certificates.record(gateway, certificate)
        if home.is_gateway_revoked(gateway):  # meanwhile: then this certificate is on the list, or never left us
            raise EvidenceError(f"gateway was revoked: gateway={gateway}")
    return certificate.public_bytes(Encoding.PEM)


def _find_newer(home: RtccHome, gateway: str, presented: x509.Certificate, now: UtcNs) -> x509.Certificate | None:
    """Return the certificate that an earlier answer brought, unless that is near its own end."""
    for each in home.certificates.issued(gateway):
        is_due = now // SECOND_NS >= due_at_s(_start_s(each), authority.end_of(each) // SECOND_NS)
        if authority.end_of(each) > authority.end_of(presented) and not is_due:
            return each
    return None


def _start_s(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_before_utc.timestamp())

"""A gateway's application for a further certificate, sent over the network (PROTOCOL 7.5), for both ends.

Owns the form of the message: the application of 7.1, which its TLS key signed, under the signature of the gateway's
own key. Pure.
"""

from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import StringConstraints

from edge_agent.errors import DenialError, EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.application import MAX_CSR_BYTES, Application, verify_csr
from edge_agent.protocol.members import GatewayId, Issuer, WireModel, parse_members
from edge_agent.protocol.public_keys import thumbprint

TYP = "certificate-renewal+jws"
# PROTOCOL 7.5.
MAX_RENEWAL_BYTES = 32 * 1024
MAX_CERTIFICATE_BYTES = 8 * 1024
PATH = "/certificates/"
"""Under it, at the host of an upload target, the gateway's id."""
MEDIA_TYPE = "application/pem-certificate-chain"


class _Renewal(WireModel):
    iss: Issuer
    gateway: GatewayId
    csr: Annotated[str, StringConstraints(max_length=MAX_CSR_BYTES)]


def due_at_s(not_before_s: int, not_after_s: int) -> int:
    """Return from when on a certificate is renewed: two thirds of its life."""
    # PROTOCOL 7.5 and E8: the RTCC refuses an earlier application.
    return not_before_s + (not_after_s - not_before_s) * 2 // 3


def sign_renewal(iss: str, gateway: str, csr: bytes, key: Ed25519PrivateKey) -> bytes:
    """Write the message. It says no time: its answer is of use to the holder of the TLS key alone."""
    return jws.sign(TYP, {"iss": iss, "gateway": gateway, "csr": csr.decode()}, [key])


def verify_renewal(raw: bytes, iss: str, gateway: str, key: Ed25519PublicKey) -> Application:
    """Verify both signatures, and the sender of the message.

    Raises:
        EvidenceError: Not such a message, another gateway's, for another RTCC, or a signature does not hold.
    """
    try:
        message = jws.parse(raw, TYP, MAX_RENEWAL_BYTES)
        jws.verify(message, {thumbprint(key): key})
        renewal = parse_members(_Renewal, message.payload)
    except DenialError as error:
        raise EvidenceError(f"not a gateway's application for a further certificate: {error}") from error
    # E8: a message of another gateway must not be sent on under this one's certificate.
    if (renewal.iss, renewal.gateway) != (iss, gateway):
        raise EvidenceError(f"application is another's: gateway={renewal.gateway} iss={renewal.iss}")
    return verify_csr(renewal.csr.encode())
